"""Radiographs to square 8-bit pictures, and boxes along with them."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Grey = NDArray[np.float32]
Corners = tuple[float, float, float, float]

NEARLY_GREY = 8  # grey levels by which JPEG may part the channels of a grey picture
PERCENTILES = (0.5, 99.5)
MOST_PIXELS = 80_000_000  # four times a large radiograph; a few bytes can decompress to gigabytes


class UnreadableError(Exception):
    """Why an image is set aside."""


@dataclass(frozen=True)
class Fit:
    """How pixels of the original map to pixels of the square: ``x * scale_x + left``, ``y * scale_y + top``."""

    scale_x: float
    scale_y: float
    left: int
    top: int

    def box(self, corners: Corners) -> Corners:
        """``x_min, y_min, x_max, y_max`` in pixels of the square."""
        x0, y0, x1, y1 = corners
        x, y = self.scale_x, self.scale_y
        return x0 * x + self.left, y0 * y + self.top, x1 * x + self.left, y1 * y + self.top


def check_size(width: int, height: int) -> None:
    """Refuse, before anything is decompressed, what is no radiograph by its size.

    Raises:
        UnreadableError: it has more than ``MOST_PIXELS``.
    """
    if width * height > MOST_PIXELS:
        raise UnreadableError(f"{width} x {height} pixels, more than any radiograph has")


def fit(image: Grey, size: int) -> tuple[NDArray[np.uint8], Fit]:
    """``image [height, width]`` in 0..255, area-averaged to fit ``size`` and padded with zeros to ``[size, size]``."""
    height, width = image.shape
    longest = max(height, width)
    wide, high = (max(1, round(side * size / longest)) for side in (width, height))
    method = Image.Resampling.BOX if longest >= size else Image.Resampling.BILINEAR
    small = np.asarray(Image.fromarray(image).resize((wide, high), method))
    where = Fit(wide / width, high / height, (size - wide) // 2, (size - high) // 2)
    square = np.zeros((size, size), np.uint8)
    square[where.top : where.top + high, where.left : where.left + wide] = np.rint(small.clip(0, 255))
    return square, where


def stretch(values: NDArray[Any], low: float, high: float) -> Grey:
    """``values`` with ``low`` at 0 and ``high`` at 255, clipped.

    Raises:
        UnreadableError: there is nothing between the two.
    """
    if not high > low:
        raise UnreadableError("every pixel has the same value")
    return ((values.astype(np.float32) - low) * (255 / (high - low))).clip(0, 255).astype(np.float32)


def robust(values: NDArray[Any], counts: NDArray[np.int64] | None = None) -> Grey:
    """``values`` in 0..255 between percentiles 0.5 and 99.5 of all that there are, or their extremes if these are one.

    Each is there as often as ``counts`` says, or once.
    """
    there = values if counts is None else values[counts > 0]
    low, high = np.percentile(values, PERCENTILES) if counts is None else _percentiles(values, counts)
    return stretch(values, low, high) if high > low else stretch(values, there.min(), there.max())


def _percentiles(values: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """What ``np.percentile`` gives of ``values [n]``, each of them repeated ``counts [n]`` times."""
    order = np.argsort(values, kind="stable")
    ends, places = np.cumsum(counts[order]), np.divide(PERCENTILES, 100) * (counts.sum() - 1)
    under, over = (
        values[order][np.searchsorted(ends, place, side="right")].astype(np.float64)
        for place in (np.floor(places), np.ceil(places))
    )
    share = places - np.floor(places)
    # Interpolated from the nearer side, as numpy does it, so that not even the last digit differs.
    return np.where(share < 0.5, under + (over - under) * share, over - (over - under) * (1 - share))


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except UnidentifiedImageError:  # it tells an address in memory, another one in every run
        raise UnreadableError("no PNG or JPEG, whatever its name says, or broken at its beginning") from None


def decode_picture(content: bytes) -> Grey:
    """PNG or JPEG as grey ``[height, width]`` in 0..255; what has more than 8 bits is stretched.

    Raises:
        UnreadableError: another format, several frames, real colours, one value everywhere, or far too many pixels.
    """
    with _opened(content) as image:
        check_size(*image.size)
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise UnreadableError(f"{frames} frames; only single images are read")
        if image.mode.startswith(("I", "F")):
            return robust(np.asarray(image))
        channels = np.asarray(image.convert("RGB"), np.float32)
    if np.ptp(channels, axis=2).max() > NEARLY_GREY:
        raise UnreadableError("a colour image; only grey radiographs are read")
    if np.ptp(channels) == 0:
        raise UnreadableError("every pixel has the same value")
    return np.asarray(channels.mean(axis=2))
