"""Central projection of a chest onto the detector, and the two ways to draw in it: solids and strokes.

Patient coordinates in cm: x to the image's right (the patient's left), y down, z towards the sternum; the origin is the
middle of the chest. A ray meets depth z at one (x, y), so a solid at depth z is drawn on the plane ``at(z)``.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from raremix.runtime.seeds import generator

Image = NDArray[np.floating[Any]]
FORMATS = ((35.0, 43.0), (43.0, 43.0), (43.0, 38.0), (38.0, 43.0))  # cm wide, high


@dataclass
class Frame:
    """The geometry of one exposure; ``pixel`` is the detector's pitch in cm."""

    height: int
    width: int
    pixel: float
    magnify: tuple[float, float, float]  # source distance; detector's distance from the origin; +1 PA, -1 AP
    rotation: float
    lordosis: float
    tilt: float
    offset: tuple[float, float]  # cm
    bend: float  # cm, the spine's greatest shift
    planes: dict[float, tuple[Image, Image]] = field(default_factory=dict)

    def magnification(self, z: ArrayLike) -> NDArray[np.float64]:
        source, gap, facing = self.magnify
        return source / (source - gap + facing * np.asarray(z, dtype=np.float64))

    def at(self, z: float) -> tuple[Image, Image]:
        """x and y, in cm, where the ray of each pixel meets depth ``z``."""
        if z not in self.planes:
            scale = float(self.magnification(z))
            u, v = _detector(self.height, self.width, self.pixel, self.tilt, self.offset)
            y = v / scale - np.float32(z * np.tan(self.lordosis))
            x = u / scale - np.float32(z * np.sin(self.rotation))
            self.planes[z] = (x / np.float32(np.cos(self.rotation)) - self._curve(y), y)
        return self.planes[z]

    def project(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Column and row, in pixels, of points in the patient."""
        x, y, z = (np.asarray(a, dtype=np.float64) for a in (x, y, z))
        scale = self.magnification(z)
        u = scale * ((x + self._curve(y)) * np.cos(self.rotation) + z * np.sin(self.rotation))
        v = scale * (y + z * np.tan(self.lordosis))
        u, v = (
            u * np.cos(self.tilt) - v * np.sin(self.tilt) + self.offset[0],
            u * np.sin(self.tilt) + v * np.cos(self.tilt) + self.offset[1],
        )
        return u / self.pixel + (self.width - 1) / 2, v / self.pixel + (self.height - 1) / 2

    def _curve(self, y: Image) -> Image:
        return np.asarray(self.bend * np.cos((y + 1.0) * (np.pi / 26.0)), dtype=y.dtype)


def frame_of(seed: int, patient: int, visit: int, attributes: dict[str, float], height: int) -> Frame:
    """The frame of an exposure: format and centring are drawn, the rest follows from the attributes."""
    rng = generator("phantom", seed, patient, visit, "frame")
    wide, high = FORMATS[rng.choice(len(FORMATS), p=[0.45, 0.2, 0.15, 0.2])]
    pixel = high / height
    facing = -1.0 if attributes["ap"] else 1.0
    gap = attributes["thickness"] / 2 + (4.0 if attributes["ap"] else 2.0)
    return Frame(
        height=height,
        width=2 * round(wide / pixel / 2),
        pixel=pixel,
        magnify=(attributes["source_distance"], gap, facing),
        rotation=np.deg2rad(attributes["rotation"]),
        lordosis=np.deg2rad(attributes["lordosis"]),
        tilt=np.deg2rad(attributes["tilt"]),
        offset=(rng.normal(0, 0.7), rng.normal(0.4 if high > 40 else 1.2, 0.8)),
        bend=attributes["scoliosis"] * 0.07,
    )


def strokes(frame: Frame, x: ArrayLike, y: ArrayLike, z: ArrayLike, peak: ArrayLike, sigma: ArrayLike) -> Image:
    """Sum of Gaussian puffs: ``peak`` (any unit) and ``sigma`` (cm) at points of the patient; shape (height, width)."""
    column, row = frame.project(x, y, z)
    deviation = np.maximum(np.broadcast_to(np.asarray(sigma, dtype=np.float64) / frame.pixel, column.shape), 0.45)
    peaks = np.broadcast_to(np.asarray(peak, dtype=np.float64), column.shape)
    picture = np.zeros((frame.height, frame.width), dtype=np.float32)
    level = np.ceil(np.log2(deviation)).astype(int)
    for octave in np.unique(level):
        chosen = level == octave
        _stamp(picture, column[chosen], row[chosen], peaks[chosen], deviation[chosen])
    return picture


def tubes(frame: Frame, x: ArrayLike, y: ArrayLike, z: ArrayLike, radius: ArrayLike, step: ArrayLike) -> Image:
    """Centimetres through tubes given by points ``step`` cm apart along them.

    A tube of radius r has cross-section pi r^2 and spreads it with standard deviation r / 2; the detector blurs that.
    """
    radius = np.asarray(radius, dtype=np.float64)
    sigma = np.sqrt(radius**2 / 4 + (0.5 * frame.pixel) ** 2)
    return strokes(frame, x, y, z, np.asarray(step) * radius**2 / (2 * sigma**2), sigma)


def path(points: ArrayLike, step: float = 0.12) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A smooth curve through ``points`` (n, 3), sampled every ``step`` cm: x, y, z."""
    corners = np.asarray(points, dtype=np.float64)
    knots = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    along = np.arange(0.0, knots[-1], step)
    straight = np.stack([np.interp(along, knots, corners[:, k]) for k in range(3)])
    reach = max(1, int(0.12 * len(along)))
    padded = np.pad(straight, ((0, 0), (reach, reach)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1)
    smooth = (sums[:, 2 * reach + 1 :] - sums[:, : -2 * reach - 1]) / (2 * reach + 1)
    return smooth[0], smooth[1], smooth[2]


def _stamp(picture: Image, column: Image, row: Image, peak: Image, deviation: Image) -> None:
    half = int(np.ceil(2.8 * deviation.max()))
    grid = np.arange(-half, half + 1)
    left, top = np.rint(column).astype(int), np.rint(row).astype(int)
    inside = (left > -half) & (left < picture.shape[1] + half) & (top > -half) & (top < picture.shape[0] + half)
    column, row, peak, deviation, left, top = (a[inside] for a in (column, row, peak, deviation, left, top))
    scale = np.sqrt(0.5) / deviation[:, None]
    across = np.exp(-(((grid + (left - column)[:, None]) * scale) ** 2))
    down = np.exp(-(((grid + (top - row)[:, None]) * scale) ** 2)) * peak[:, None]
    wide = picture.shape[1] + 4 * half
    cells = ((top[:, None] + grid + 2 * half) * wide)[:, :, None] + (left[:, None] + grid + 2 * half)[:, None, :]
    puffs = down[:, :, None] * across[:, None, :]
    flat = np.bincount(cells.ravel(), puffs.ravel(), (picture.shape[0] + 4 * half) * wide).reshape(-1, wide)
    picture += flat[2 * half : 2 * half + picture.shape[0], 2 * half : 2 * half + picture.shape[1]].astype(np.float32)


@lru_cache(maxsize=4)
def _detector(height: int, width: int, pixel: float, tilt: float, offset: tuple[float, float]) -> tuple[Image, Image]:
    u = ((np.arange(width) - (width - 1) / 2) * pixel - offset[0])[None, :].astype(np.float32)
    v = ((np.arange(height) - (height - 1) / 2) * pixel - offset[1])[:, None].astype(np.float32)
    cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    return u * cosine + v * sine, v * cosine - u * sine


def blurred(picture: Image, sigma: float) -> Image:
    """Blur by ``sigma`` pixels: a Gaussian, or where it is wide three boxes, which are as good and ten times faster."""
    if sigma < 2:
        return np.asarray(gaussian_filter(picture, sigma, mode="nearest", truncate=3.0))
    size = round(np.sqrt(4 * sigma**2 + 1))
    for _ in range(3):
        picture = uniform_filter(picture, size, mode="nearest")
    return picture
