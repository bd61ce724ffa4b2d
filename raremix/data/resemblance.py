"""How far two pictures are apart once small motions and the grey curve are fitted away.

The one-sided tangent distance of Simard, LeCun and Denker (1993): a picture is held against everything that a little
shift, zoom, rotation, brightness, contrast and gamma make of the other, to first order. It is measured on the middle of
the pictures, shrunk to about 32 pixels and blurred, so that noise, JPEG and what a crop cuts off count for little.
Plain distances take a copy shifted by one pixel of 64 for a stranger; this one bears two, or a crop of two a side.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIDE = 32  # pixels that are left of a side, up to twice as many
BLUR = 1.0  # of those pixels
MARGIN = 1 / 8  # of the side, left out all around: there a crop or a shift shows other things
CHUNK = 128  # pictures at a time

Array = NDArray[np.float32]


def distances(pictures: NDArray[np.uint8], others: NDArray[np.uint8]) -> Iterator[Array]:
    """Distances ``[chunk, m]`` of ``pictures [n, side, side]`` to ``others [m, side, side]``, chunk by chunk of n.

    Between 0 (a copy; rounding leaves up to 0.002) and 1: the square root of the share of the other's variance that the
    picture, its square and their first-order motions don't explain. A picture of one grey is 1 away from all.
    """
    targets = np.concatenate([_outlines(chunk) for chunk in _chunks(others)]).T
    for chunk in _chunks(pictures):
        spans = _spans(_reduced(chunk))
        explained = np.square(np.tensordot(spans, targets, (1, 0))).sum(axis=1)
        yield np.sqrt(np.maximum(1 - explained, 0))


def _chunks(pictures: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pictures), CHUNK):
        yield pictures[start : start + CHUNK]


def _reduced(pictures: NDArray[np.uint8]) -> Array:
    """Block means, blurred; pixels that fill no block are left out."""
    block = max(pictures.shape[1] // SIDE, 1)
    side = pictures.shape[1] // block
    blocks = pictures[:, : side * block, : side * block].reshape(-1, side, block, side, block)
    return gaussian_filter(blocks.mean((2, 4), dtype=np.float32), (0, BLUR, BLUR))


def _outlines(pictures: NDArray[np.uint8]) -> Array:
    """``[n, pixels]`` of mean 0 and length 1, or all 0."""
    middle = _centred(_middle(_reduced(pictures)))
    return middle / np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-6)


def _spans(reduced: Array) -> Array:
    """Orthonormal ``[n, pixels, 6]``: the picture, its square, and what shifts, zoom and rotation change first."""
    side = reduced.shape[1]
    y, x = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2, indexing="ij")
    down, right = np.gradient(reduced, axis=(1, 2))
    grey = reduced - reduced.mean((1, 2), keepdims=True)
    motions = [down, right, x * right + y * down, x * down - y * right]
    changes = [_centred(_middle(change)) for change in (grey, grey**2, *motions)]
    spans: Array = np.linalg.qr(np.stack(changes, axis=2))[0]
    return spans


def _middle(pictures: Array) -> Array:
    side = pictures.shape[1]
    margin = round(side * MARGIN)
    return pictures[:, margin : side - margin, margin : side - margin].reshape(len(pictures), -1)


def _centred(rows: Array) -> Array:
    return rows - rows.mean(axis=1, keepdims=True)
