"""Pulmonary vessels: trees that leave the hila, branch and taper; most of what a lung shows at low resolution."""

import numpy as np
from numpy.typing import NDArray

from raremix.data.phantom.anatomy import LEFT, RIGHT, Body
from raremix.data.phantom.frame import Frame, Image, tubes
from raremix.runtime.seeds import generator

Array = NDArray[np.float64]
STEP = 0.26  # cm between points
HILA = {RIGHT: (3.6, -0.9), LEFT: (3.6, -1.7)}


def vessels(frame: Frame, body: Body, seed: int, patient: int) -> Image:
    """Centimetres of blood, hila included, wherever the ray would cross lung."""
    points = [_tree(body, side, generator("phantom", seed, patient, "vessels", side)) for side in (RIGHT, LEFT)]
    x, y, z, radius, step = (np.concatenate(parts) for parts in zip(*points, strict=True))
    return tubes(frame, x, y, z, 1.2 * radius, step)


def _tree(body: Body, side: int, rng: np.random.Generator) -> tuple[Array, ...]:
    scale = body.stature
    hx, hy = HILA[side]
    count = 9
    fan = np.linspace(-1.35, 1.5, count) + 0.12 * rng.standard_normal(count)
    roots = np.stack([hx * scale + 0.3 * rng.random(count), hy * scale + 1.9 * np.sin(fan)], axis=1)
    radius = 0.38 + 0.18 * rng.random(count) + 0.12 * np.cos(fan - 0.5)
    generations = []
    depth = 2.5 * rng.standard_normal(count)
    start, angle, length = roots, fan, (9.5 + 3.5 * rng.random(count)) * scale
    for _ in range(3):
        x, y, along = _grow(start, angle, length, rng)
        thin = radius[:, None] * (1 - 0.65 * along)
        generations.append((x, y, np.broadcast_to(depth[:, None], x.shape), thin))
        start, angle, length, radius, depth = _branch(x, y, thin, angle, length, depth, rng)
    x, y, z, thin = (np.concatenate([g[k].ravel() for g in generations]) for k in range(4))
    bulk = _hilum(side, scale, body.vary["hilum"], rng)
    x, y, z, thin = (np.concatenate([a, b]) for a, b in zip((x, y, z, thin), bulk, strict=True))
    return side * x, y, z, np.maximum(thin, 0.05), np.full(len(x), STEP)


def _grow(start: Array, angle: Array, length: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    steps = int(length.max() / STEP)
    wander = np.cumsum(0.075 * rng.standard_normal((len(angle), steps)), axis=1) + angle[:, None]
    stride = STEP * (length / length.max())[:, None]
    x = start[:, :1] + np.cumsum(stride * np.cos(wander), axis=1)
    y = start[:, 1:] + np.cumsum(stride * np.sin(wander), axis=1)
    return x, y, np.broadcast_to(np.arange(steps) / steps, x.shape)


def _branch(
    x: Array, y: Array, radius: Array, angle: Array, length: Array, depth: Array, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array, Array]:
    """Three children a branch, left and right of it, thinner and shorter."""
    parent = np.repeat(np.arange(len(x)), 3)
    where = (x.shape[1] * rng.uniform(0.15, 0.85, len(parent))).astype(int)
    turn = np.where(np.arange(len(parent)) % 2 == 0, 1, -1) * rng.uniform(0.35, 0.85, len(parent))
    start = np.stack([x[parent, where], y[parent, where]], axis=1)
    left = 1 - where / x.shape[1]
    return (
        start,
        angle[parent] + turn,
        length[parent] * (0.28 + 0.45 * left),
        radius[parent, where] * rng.uniform(0.6, 0.85, len(parent)),
        depth[parent] + rng.standard_normal(len(parent)),
    )


def _hilum(side: int, scale: float, size: float, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """The descending artery and a few vessels seen end-on: round shadows that are no nodules."""
    hx, hy = HILA[side]
    run = np.arange(0, 4.6, STEP)
    ends = 5
    x = np.concatenate([hx - 0.2 + 0.22 * run, hx + rng.uniform(0.2, 2.6, ends)]) * scale
    y = np.concatenate([hy + 0.2 + run, hy + rng.uniform(-2.4, 3.2, ends)]) * scale
    thick = np.concatenate([0.80 + 0.08 * size - 0.06 * run, rng.uniform(0.35, 0.6, ends)])
    return x, y, np.full(len(x), -0.5), thick
