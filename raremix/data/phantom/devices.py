"""Leads, tubes, a pacemaker, the side marker: centimetres of metal."""

import numpy as np

from raremix.data.phantom.anatomy import FRONT, Body
from raremix.data.phantom.frame import Frame, Image, path, strokes, tubes
from raremix.runtime.seeds import generator


def devices(frame: Frame, body: Body, attributes: dict[str, float], seed: int, patient: int, visit: int) -> Image:
    """What the attributes leads, tube and pacemaker put into the picture, and the lead marker beside the shoulder."""
    total = _marker(frame, generator("phantom", seed, patient, visit, "marker"))
    if attributes["leads"]:
        total += _leads(frame, body, generator("phantom", seed, patient, visit, "lead wires"))
    if attributes["tube"]:
        total += _tube(frame, body, generator("phantom", seed, patient, visit, "tube course"))
    if attributes["pacemaker"]:
        total += _pacemaker(frame, body, generator("phantom", seed, patient, "pacemaker pocket"))
    return total


def _leads(frame: Frame, body: Body, rng: np.random.Generator) -> Image:
    total = np.zeros((frame.height, frame.width), dtype=np.float32)
    ends = [(-9.5, -8.5), (9.5, -8.0), (-8.5, 9.0), (10.5, 8.0)]
    for x, y in ends[: rng.integers(3, 5)]:
        x, y = x + rng.normal(0, 1.0), y + rng.normal(0, 1.2)
        sway = rng.normal(0, 2.2, 4)
        bends = [(0.7 * x + sway[0], y + 4 + sway[1], 9), (0.3 * x + sway[2], 12 + sway[3], 9)]
        total += 0.5 * tubes(frame, *path([(x, y, 9), *bends, (sway[0] - 3, 24, 9)]), 0.11, 0.12)
        total += strokes(frame, [x], [y], [9.0], 0.10, 0.42)
    return total


def _tube(frame: Frame, body: Body, rng: np.random.Generator) -> Image:
    """A line from the neck to the cavo-atrial junction, or a gastric tube through the mediastinum."""
    if rng.random() < 0.5:
        points = [(-4.0 + rng.normal(), -22, 4), (-3.0, -11, 3), (-2.2, -5, 2), (-1.8, 1.0 + rng.normal(), 2)]
    else:
        tip = (7.0, 14 + rng.normal(), 1)
        points = [(0.3, -23, 0), (0.5, -10, -1), (1.0 + 0.4 * rng.normal(), 2, -2), (3.0, 10, -1), tip]
    return 0.34 * tubes(frame, *path(points), 0.20, 0.12)


def _pacemaker(frame: Frame, body: Body, rng: np.random.Generator) -> Image:
    side = 1 if rng.random() < 0.8 else -1
    cx, cy = side * (9.0 + 0.6 * rng.standard_normal()), -8.2 * body.stature + 0.6 * rng.standard_normal()
    x, y = frame.at(FRONT)
    shape = np.abs((x - cx) / 2.3) ** 3 + np.abs((y - cy) / 2.0) ** 3
    can = 0.55 * np.clip((1 - shape) * 6, 0, 1)
    tip = (5.0, 8.5 + rng.normal(), 5)
    wire = [(cx, cy - 1.2, 8), (side * 4.5, -11.5, 6), (-1.8, -7.5, 2), (-1.6, 1, 2), (1.5, 7.5, 4), tip]
    return np.asarray(can + 0.6 * tubes(frame, *path(wire), 0.13, 0.12), dtype=np.float32)


def _marker(frame: Frame, rng: np.random.Generator) -> Image:
    """The letter L, lying on the cassette."""
    x, y = rng.uniform(12.5, 15.0), rng.uniform(-18.5, -16.5)
    down, across = np.arange(0, 1.5, 0.12), np.arange(0, 0.9, 0.12)
    px = np.concatenate([np.full(len(down), x), x + across])
    py = np.concatenate([y + down, np.full(len(across), y + 1.5)])
    return 2.0 * tubes(frame, px, py, np.full(len(px), FRONT), 0.16, 0.12)
