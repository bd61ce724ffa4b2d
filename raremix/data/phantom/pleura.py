"""Findings between lung and chest wall: fluid, air, scar."""

from collections.abc import Iterator

import numpy as np

from raremix.data.phantom.anatomy import LEFT, MIDDLE, RIGHT, shell
from raremix.data.phantom.chest import Box, Chest, extent, side_of
from raremix.data.phantom.frame import Image


def effusion(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Free fluid that blunts the costophrenic angle and climbs the wall as a meniscus, fading upwards."""
    sides = (RIGHT, LEFT) if rng.random() < 0.3 else (side_of(rng, 0.55),)
    for side in sides:
        depth = (0.3 + 6.5 * severity**1.4) * rng.uniform(0.85, 1.1)
        x, y = chest.frame.at(MIDDLE)
        out = np.clip(side * x / chest.body.cage, 0, 1.1)
        angle = chest.body.domes[side] + 4.2
        level = angle - depth - (0.6 + 2.4 * severity) * out**4 + 1.2 * (1 - out) ** 2
        soft = 0.5 + 0.6 * severity + (1.5 if chest.attributes["ap"] else 0.0)
        full = _rise(y - level, soft) * (0.40 + 0.60 * severity)
        fluid = chest.lung * full * _rise(side * x - 1.2, 1.6)
        chest.fluid = chest.fluid + fluid
        yield extent(fluid, 0.08)


def pneumothorax(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """Air outside the visceral pleura: a thin line, no vessels and a darker lung beyond it, at apex or side."""
    side = side_of(rng)
    x, y = chest.frame.at(MIDDLE)
    share = (0.10 + 0.25 * severity) * rng.uniform(0.9, 1.1)
    inside = shell(chest.body, x, y)
    apical, lateral = rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.7)
    pull = inside + apical * 1.1 * chest.body.rise(y) ** 2 + lateral * 0.35 * np.clip(side * x / chest.body.cage, 0, 1)
    own = (side * x > 0) & (chest.lung > 0.5) & (y < chest.body.domes[side] + 3)
    if own.sum() < 20:
        return
    limit = np.quantile(pull[own], 1 - share)
    slope = np.hypot(*np.gradient(pull, chest.frame.pixel)) + 1e-3
    away = (pull - limit) / slope
    pocket = _rise(away, 0.35) * (side * x > 0.5) * np.clip(chest.lung, 0, 1) * (y < chest.body.domes[side] + 5)
    line = np.exp(-((away / 0.22) ** 2)) * own
    chest.vessels = chest.vessels * (1 - (0.6 + 0.4 * severity) * pocket) + (0.15 + 0.45 * severity) * line
    chest.air = chest.air + chest.lung * pocket * (0.04 + 0.12 * severity + 0.26 * severity**2)
    chest.fluid = chest.fluid + 0.12 * (0.3 + severity) * chest.lung * own * (1 - pocket) * share
    yield extent(pocket, 0.3)


def variants(chest: Chest, rng: np.random.Generator) -> None:
    """What healthy people have too: a blunt angle from fat or an old scar, airy apices, a fold of skin."""
    x, y = chest.frame.at(MIDDLE)
    inside = shell(chest.body, x, y)
    for side in (RIGHT, LEFT):
        blunt, airy, edge = rng.gamma(0.5, 1.0), rng.gamma(0.7, 0.06), rng.uniform(0.35, 0.75)
        level = chest.body.domes[side] + 4.4 - min(blunt, 2.5)
        own = _rise(side * x - 1.2, 1.6)
        chest.fluid = chest.fluid + 0.6 * chest.lung * _rise(y - level, 1.0) * own
        zone = _rise(inside + 0.8 * chest.body.rise(y) ** 2 - 2 * edge, 0.5)
        chest.air = chest.air + min(airy, 0.2) * chest.lung * zone * own
        if rng.random() < 0.15:
            lean, height = rng.normal(0, 0.25), rng.uniform(-6, 3)
            away = side * x - (edge + 0.15) * chest.body.cage - lean * (y - height)
            span = np.exp(-(((y - height) / 4.5) ** 4))
            fold = 0.55 * span * np.exp(np.minimum(away, 0) / 1.2) * (away < 0)
            chest.vessels = chest.vessels + fold * np.clip(chest.lung, 0, 1) * own


def thickening(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """A cap over the apex or a rind along the ribs, here and there lumpy."""
    sides = (RIGHT, LEFT) if rng.random() < 0.35 else (side_of(rng),)
    apical = rng.random() < 0.65
    x, y = chest.frame.at(MIDDLE)
    inside = shell(chest.body, x, y)
    slope = np.hypot(*np.gradient(inside, chest.frame.pixel)) + 1e-3
    depth = (1 - inside) / slope
    for side in sides:
        thick = (0.6 + 1.6 * severity) * (1 + 0.3 * np.sin(y * rng.uniform(0.8, 1.6) + rng.uniform(0, 6)))
        top = -16.0 if apical else rng.uniform(-6.0, 2.0)
        zone = _rise(y - top, 1.5) * _rise(top + (6.5 if apical else rng.uniform(6, 11)) - y, 1.5)
        rind = _rise(thick - depth, 0.4) * zone * (side * x > 2.0)
        yield chest.add("fluid", (1.2 + 3.6 * severity) * rind, 0.2)


def _rise(value: Image, width: float) -> Image:
    """0 to 1 around 0, over ``width`` cm."""
    return np.asarray(1 / (1 + np.exp(np.clip(-4 * value / width, -30, 30))), dtype=np.float32)
