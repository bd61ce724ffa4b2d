"""Ribs, spine, clavicles, scapulae: centimetres of bone, cortex counted double."""

import numpy as np

from raremix.data.phantom.anatomy import BACK, FRONT, LEFT, MIDDLE, RIGHT, Body
from raremix.data.phantom.frame import Frame, Image, path, tubes
from raremix.runtime.seeds import generator

PAIRS = 11  # ribs that can be in the picture


def ribs(frame: Frame, body: Body, seed: int, patient: int) -> Image:
    """Posterior arcs slope down and outwards, anterior arcs down and inwards; both end at the chest wall."""
    rng = generator("phantom", seed, patient, "ribs")
    lift, spread = 0.13 * rng.standard_normal((2, PAIRS + 2)), 1 + 0.1 * rng.standard_normal((2, PAIRS + 2))
    drop = 1 + 0.08 * rng.standard_normal()
    total = _arcs(frame, body, BACK, lift, spread, 5.2 * drop, 0.0, 0.40)
    return total + _arcs(frame, body, FRONT - 2, lift, spread, 5.2 * drop, 5.6 * drop, 0.30)


def _arcs(
    frame: Frame, body: Body, z: float, lift: np.ndarray, spread: np.ndarray, drop: float, front: float, thick: float
) -> Image:
    x, y = frame.at(z)
    wide = np.abs(x)
    side = (x > 0).astype(np.int64)
    wall = body.lateral(np.clip(y - 1.5, -13.5 * body.stature, None)).astype(np.float32) + 0.7
    ratio = np.minimum(wide / wall, 1)
    bow = np.sqrt(1 - ratio * ratio)
    centre = drop * (1 - bow) if not front else drop + front * bow
    phase = (y - centre + 15.2 * body.stature) / (2.55 * body.stature)
    index = np.clip(np.rint(phase), 0, PAIRS).astype(np.int64)
    away = (phase - index - lift[side, index].astype(np.float32)) * (2.55 * body.stature)
    half = 0.58 * spread[side, index].astype(np.float32)
    t2 = (away / half) ** 2
    cross = np.sqrt(np.clip(1 - t2, 0, None)) + 0.5 * np.exp(-((np.sqrt(t2) - 0.8) ** 2) * 30)
    ends = np.clip((wall - wide) / 0.5, 0, 1) * np.clip(1.6 - 0.6 * bow, 1, 1.4)
    medial = np.clip((wide - (1.8 if not front else 5.2)) / (0.8 if not front else 2.2), 0, 1)
    real = (phase > -0.6) & (phase < PAIRS - 0.4 - (3.5 if front else 0))
    return np.asarray(thick * cross * ends * medial * real, dtype=np.float32)


def spine(frame: Frame, body: Body, seed: int, patient: int) -> Image:
    """Vertebral bodies, discs, pedicles and the row of spinous processes."""
    x, y = frame.at(BACK)
    height = 2.3 * body.stature
    start = generator("phantom", seed, patient, "spine").uniform(0, height)
    wide = 1.45 + 0.022 * (y + 16)
    turns = (y + np.float32(start)) / np.float32(height)
    phase = turns - np.floor(turns) - np.float32(0.5)
    discs = np.exp(-(((np.abs(phase) - 0.5) / 0.10) ** 2))
    column = np.sqrt(np.clip(1 - np.square(np.square(x / wide)), 0, None)) * (1.0 - 0.5 * discs)
    pedicles = np.exp(-(((np.abs(x) - 0.75 * wide) / 0.28) ** 2) - (phase / 0.17) ** 2)
    process = np.exp(-((x / 0.3) ** 2) - ((phase - 0.25) / 0.22) ** 2)
    transverse = np.exp(-(((phase + 0.05) / 0.12) ** 2)) * np.clip(1 - (np.abs(x) - 2.2) ** 2 / 1.2, 0, None)
    return np.asarray(column + 0.6 * pedicles + 0.6 * process + 0.4 * transverse, dtype=np.float32)


def girdle(frame: Frame, body: Body, seed: int, patient: int, overlap: float) -> Image:
    """Clavicles, scapulae and the heads of the humeri; ``overlap`` 0 to 1 draws the scapulae over the lungs."""
    rng = generator("phantom", seed, patient, "girdle")
    total = np.zeros((frame.height, frame.width), dtype=np.float32)
    arch = 0.5 * rng.standard_normal()
    for side in (RIGHT, LEFT):
        total += _clavicle(frame, body, side, arch + 0.2 * rng.standard_normal())
        total += _scapula(frame, body, side, overlap, rng)
    return total


def _clavicle(frame: Frame, body: Body, side: int, arch: float) -> Image:
    scale, top = body.stature, -11.3 * body.stature
    x = np.array([1.6, 5.0, 9.0, 13.0, 16.5]) * scale * side
    y = top + np.array([0.9, 0.1, -0.6, -1.9, -2.3]) - 0.6 * arch
    px, py, pz = path(np.stack([x, y, [7.0, 6.5, 4.5, 1.0, -1.0]], axis=1))
    shaft = 0.55 * tubes(frame, px, py, pz, 0.55, 0.12)
    return shaft + 2.0 * (tubes(frame, px, py - 0.42, pz, 0.18, 0.12) + tubes(frame, px, py + 0.42, pz, 0.18, 0.12))


def _scapula(frame: Frame, body: Body, side: int, overlap: float, rng: np.random.Generator) -> Image:
    edge = body.lateral(-4.0) + 0.6 - 4.0 * overlap + 0.4 * rng.standard_normal()
    top = -10.5 * body.stature
    glenoid, lower = (edge + 6.0, top + 1.5), (edge + 2.2, top + 11.5)
    x, y = frame.at(BACK)
    blade = _triangle(side * x, y, (edge, top), glenoid, lower) * 0.35
    ridge = ((edge + 0.3, top + 1.0), (glenoid[0] + 1, top - 1.0), 0.42)
    for (x0, y0), (x1, y1), radius in (((edge, top), lower, 0.2), (lower, glenoid, 0.34), ridge):
        middle = (side * (x0 + x1) / 2, (y0 + y1) / 2 + 0.2, -8.0)
        line = path([(side * x0, y0, -8.0), middle, (side * x1, y1, -8.0)])
        blade = blade + 1.1 * tubes(frame, *line, radius, 0.12)
    hx, hy = frame.at(MIDDLE)
    head = np.clip(1 - ((side * hx - glenoid[0] - 2.2) ** 2 + (hy - top - 1.2) ** 2) / 2.4**2, 0, None)
    return np.asarray(blade + 1.3 * np.sqrt(head), dtype=np.float32)


def _triangle(x: Image, y: Image, *corners: tuple[float, float]) -> Image:
    inside = np.ones_like(x)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = np.hypot(bx - ax, by - ay)
        inside = np.minimum(inside, np.clip(0.5 + ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length / 0.5, 0, 1))
    return inside
