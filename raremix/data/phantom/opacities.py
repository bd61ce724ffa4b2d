"""Findings inside the lung: each a different arrangement of puffs, strands and solids."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from raremix.data.phantom.anatomy import LEFT, MIDDLE, RIGHT, ellipsoid
from raremix.data.phantom.chest import Box, Chest, extent, side_of
from raremix.data.phantom.frame import Image, path, strokes, tubes

Array = NDArray[np.float64]


def nodules(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """One nodule or a few, a shower of small ones, a lobulated mass, a ring around a cavity; some partly hidden."""
    kind = rng.choice(["nodule", "shower", "mass", "cavity"], p=[0.4, 0.25, 0.2, 0.15])
    count = {"nodule": rng.integers(1, 3), "shower": rng.integers(5, 10)}.get(kind, 1)
    size = {"nodule": 1.2, "shower": 1.0, "mass": 2.3, "cavity": 1.9}[kind] * (0.85 + 0.45 * severity)
    for _ in range(count):
        radius = size * rng.uniform(0.85, 1.15)
        x, y = chest.body.place(side_of(rng), rng.uniform(0.15, 0.92), rng.uniform(0.1, 0.85))
        density = (1.3 + 1.1 * severity) * rng.uniform(0.85, 1.15)
        px, py = chest.frame.at(MIDDLE)
        other = radius * rng.uniform(0.75, 1.1)
        mass = density * np.sqrt(ellipsoid(px, py, x, y, radius, other, radius, rng.uniform(0, 3)))
        for turn in rng.uniform(0, 2 * np.pi, 3):
            bud = rng.uniform(0.35, 0.6) * radius
            near = 0.75 * radius
            cx, cy = x + near * np.cos(turn), y + near * np.sin(turn)
            mass = np.maximum(mass, density * np.sqrt(ellipsoid(px, py, cx, cy, bud, bud, bud)))
        if kind == "cavity":
            hollow = 0.65 * radius
            mass = np.clip(mass - 1.2 * density * np.sqrt(ellipsoid(px, py, x, y, hollow, hollow, hollow)), 0, None)
        yield chest.add("fluid", mass)


def consolidation(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Confluent fluffy airspace shadow with a straight lobar edge and an air bronchogram."""
    side, down = side_of(rng, 0.6), rng.uniform(0.25, 0.9)
    cx, cy = chest.body.place(side, rng.uniform(0.25, 0.7), down)
    reach = 2.0 + 2.6 * severity
    cloud = _cloud(chest, cx, cy, reach, reach * rng.uniform(0.7, 1.1), 60, 0.9, rng)
    _, y = chest.frame.at(MIDDLE)
    edge = cy + (0.3 if down < 0.6 else -0.9) * reach
    lobar = 1 / (1 + np.exp(np.clip((y - edge) * (6 if down < 0.6 else -6), -30, 30)))
    solid = (3.0 + 6.0 * severity) * (1 - np.exp(-1.6 * cloud)) * (0.25 + 0.75 * lobar)
    ends = np.array([[side * 3.5, -1.0, 0], [cx, cy, 0], [cx + side * 1.5, cy + rng.normal(0, 1.5), 0]])
    yield chest.add("fluid", np.clip(solid - 1.6 * tubes(chest.frame, *path(ends), 0.32, 0.12), 0, None))


def infiltration(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Patchy streaks that follow the bronchi, ill-defined, often in both lungs."""
    sides = (RIGHT, LEFT) if rng.random() < 0.4 else (side_of(rng, 0.6),)
    for side in sides:
        cx, cy = chest.body.place(side, rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.9))
        n = 26
        puffs = _cloud(chest, cx, cy, 3.0, 2.8, n, 0.55, rng)
        streaks = np.zeros_like(puffs)
        for _ in range(6):
            tip = (cx + rng.normal(0, 2.2), cy + rng.normal(0, 2.2), 0.0)
            streaks += tubes(chest.frame, *path([(side * 3.6, -1.0 + rng.normal(), 0), (cx, cy, 0), tip]), 0.24, 0.12)
        near = np.clip(puffs * 2, 0, 1)
        yield chest.add("fluid", (0.5 + 1.8 * severity) * (0.8 * puffs + 1.2 * streaks * near), 0.1)


def haze(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """A single ground-glass area of any zone, vessels still seen through it."""
    cx, cy = chest.body.place(side_of(rng), rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.9))
    cloud = _cloud(chest, cx, cy, 2.6 + 1.6 * severity, 2.2 + 1.6 * severity, 26, 1.3, rng)
    yield chest.add("fluid", (1.2 + 3.6 * severity) * (1 - np.exp(-1.2 * cloud)), 0.2)


def interstitial(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """A fine net with small rings in the periphery of both bases, and a little ground glass."""
    for side in (RIGHT, LEFT):
        n = int(60 + 110 * severity)
        across, down = rng.beta(2.2, 1.2, n), 1 - 0.62 * rng.beta(1.1, 1.6, n)
        x, y = chest.body.place(side, across, down)
        net = _threads(chest, x, y, rng.uniform(0.8, 1.9, n), 0.16 + 0.06 * severity, rng)
        glass = strokes(chest.frame, x, y, np.zeros(n), 0.06, 1.1)
        yield chest.add("fluid", (0.75 + 0.9 * severity) * (net + glass), 0.15)


def fibrosis(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Coarse strands from hilum to apex (old tuberculosis) or in one zone, with small scars."""
    sides = (RIGHT, LEFT) if rng.random() < 0.35 else (side_of(rng, 0.55),)
    down = rng.uniform(0.08, 0.3) if rng.random() < 0.75 else rng.uniform(0.5, 0.85)
    for side in sides:
        scar = np.zeros_like(chest.lung)
        for _ in range(int(5 + 7 * severity)):
            ax, ay = chest.body.place(side, rng.uniform(0.2, 0.95), down + rng.normal(0, 0.09))
            bend = (0.5 * (ax + side * 3.8) + rng.normal(0, 0.9), 0.5 * (ay - 1.0) + rng.normal(0, 0.9), 0.0)
            line = path([(side * (3.8 + rng.uniform(0, 1.5)), -1.5 + rng.normal(), 0), bend, (ax, ay, 0)])
            far = np.linspace(0.25, 1, len(line[0]))
            scar += tubes(chest.frame, *line, (0.13 + 0.13 * severity) * far, 0.12)
        n = 14
        x, y = chest.body.place(side, rng.uniform(0.2, 0.9, n), np.clip(down + 0.07 * rng.standard_normal(n), 0.02, 1))
        scar += strokes(chest.frame, x, y, np.zeros(n), 0.3 + 0.5 * severity, rng.uniform(0.25, 0.7, n))
        yield chest.add("fluid", (1.0 + 1.3 * severity) * scar, 0.1)


def atelectasis(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Plates above the diaphragm, or a collapsed wedge against hilum and base."""
    side = side_of(rng)
    if rng.random() < 0.6:
        plates = np.zeros_like(chest.lung)
        for _ in range(rng.integers(1, 4)):
            x, y = chest.body.place(side, rng.uniform(0.1, 0.4), rng.uniform(0.68, 0.96))
            long, slope = rng.uniform(3.0, 6.0) + 2 * severity, rng.uniform(-0.45, 0.25)
            middle = (x + side * long / 2, y + slope * long / 2 + 0.2, 0)
            line = path([(x, y, 0), middle, (x + side * long, y + slope * long, 0)])
            plates += tubes(chest.frame, *line, 0.24 + 0.22 * severity, 0.12)
        yield chest.add("fluid", (1.5 + 2.2 * severity) * plates)
        return
    x, y = chest.frame.at(MIDDLE)
    tip, floor = rng.uniform(-1.5, 1.5), chest.body.domes[side] + 2.5
    reach = (2.0 + 5.0 * severity) * np.clip((y - tip) / (floor - tip), 0, 1)
    wedge = 1 / (1 + np.exp(np.clip((side * x - 3.0 - reach) * 4, -30, 30))) * (side * x > 1.0) * (y > tip)
    yield chest.add("fluid", (2.0 + 3.5 * severity) * wedge)


def calcification(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Dense granules in lung or hilum, or a shell in the aortic arch."""
    for _ in range(rng.integers(1, 4)):
        n = rng.integers(2, 8)
        cx, cy = chest.body.place(side_of(rng), rng.uniform(0.0, 0.8), rng.uniform(0.1, 0.75))
        x, y = cx + 0.7 * rng.standard_normal(n), cy + 0.7 * rng.standard_normal(n)
        size = rng.uniform(0.16, 0.3, n) * (0.8 + 0.6 * severity)
        yield chest.add("lime", strokes(chest.frame, x, y, np.zeros(n), (0.5 + 1.6 * severity), size), 0.1)


def other(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Hilar or mediastinal mass, thin-walled cavity, or hiatal hernia with its air."""
    kind, side = rng.choice(["hilum", "mediastinum", "cavity", "hernia"]), side_of(rng)
    x, y = chest.frame.at(MIDDLE)
    if kind == "cavity":
        cx, cy = chest.body.place(side, rng.uniform(0.3, 0.8), rng.uniform(0.12, 0.7))
        size = 1.3 + 1.4 * severity
        outer, inner = (np.sqrt(ellipsoid(x, y, cx, cy, s, s, s)) for s in (size, 0.72 * size))
        yield chest.add("fluid", (0.7 + 0.5 * severity) * (outer - inner))
    elif kind == "hilum":
        size, cy = 1.4 + 1.2 * severity, rng.uniform(-2.5, 0.5)
        out = side * (3.6 + 0.6 * size)
        lumps = [ellipsoid(x, y, out, cy + d, size, 0.85 * size, size) for d in (-0.6 * size, 0.6 * size)]
        yield chest.add("fluid", (0.6 + 0.5 * severity) * np.sqrt(np.maximum(*lumps)))
    elif kind == "mediastinum":
        high, wide = rng.uniform(-9.0, -5.0), 2.6 + 1.8 * severity
        yield chest.add("fluid", np.sqrt(ellipsoid(x, y, side * 1.8, high, wide, 3.4, 2.5 + 1.5 * severity)))
    else:
        cy, size = chest.body.domes[LEFT] - 0.5, 1.8 + 1.3 * severity
        sac = np.sqrt(ellipsoid(x, y, 1.2, cy, 1.2 * size, size, size))
        bubble = np.sqrt(ellipsoid(x, y, 1.2, cy - 0.3, 0.9 * size, 0.7 * size, 0.8 * size)) * (y < cy)
        chest.hollow = chest.hollow + bubble
        chest.fluid = chest.fluid + sac
        yield extent(sac + bubble, 0.05)


def _cloud(
    chest: Chest, cx: float, cy: float, wide: float, high: float, count: int, size: float, rng: np.random.Generator
) -> Image:
    """About 1 in the middle of an ellipse filled with overlapping puffs."""
    turn, out = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    x, y = cx + wide * out * np.cos(turn), cy + high * out * np.sin(turn)
    sigma = size * rng.uniform(0.6, 1.2, count)
    even = wide * high / (2 * size**2 * count)
    return strokes(chest.frame, x, y, np.zeros(count), even * rng.uniform(0.5, 1.5, count), sigma)


def _threads(chest: Chest, x: Array, y: Array, length: Array, radius: float, rng: np.random.Generator) -> Image:
    """Short straight strands in all directions."""
    along = np.linspace(-0.5, 0.5, 7)
    turn = rng.uniform(0, np.pi, len(x))[:, None]
    px = x[:, None] + along * length[:, None] * np.cos(turn)
    py = y[:, None] + along * length[:, None] * np.sin(turn)
    step = np.repeat(length / 7, 7)
    return tubes(chest.frame, px.ravel(), py.ravel(), np.zeros(px.size), np.full(px.size, radius), step)
