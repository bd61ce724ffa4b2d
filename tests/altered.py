"""Phantoms as pictures of 64 pixels, and what is still the same picture."""

import functools
import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, rotate

from raremix.data.phantom import render
from raremix.data.pixels import fit, stretch


@functools.cache
def phantom(patient: int) -> np.ndarray:
    return fit(stretch(render(patient, height=64)[0], 0, 65535), 64)[0]


def phantoms(first: int, last: int) -> np.ndarray:
    """Of the patients from ``first`` to before ``last``: ``[n, 64, 64]``."""
    return np.stack([phantom(patient) for patient in range(first, last)])


def _grey(values):
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _jpeg(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file))


def _cropped(picture, by):
    return np.asarray(Image.fromarray(picture[by:-by, by:-by]).resize(picture.shape, Image.Resampling.BICUBIC))


def _noise(picture):
    return np.random.default_rng(0).normal(0, 10, picture.shape)


SLIGHT = {
    "same": lambda picture: picture,
    "brighter": lambda picture: _grey(picture + 15.0),
    "more contrast": lambda picture: _grey((picture - 128.0) * 1.1 + 128),
    "gamma": lambda picture: _grey(255 * (picture / 255) ** 0.8),
    "noise": lambda picture: _grey(picture + _noise(picture)),
    "JPEG": _jpeg,
    "blur": lambda picture: _grey(gaussian_filter(picture.astype(float), 1)),
    "crop": lambda picture: _cropped(picture, 1),
    "shift": lambda picture: np.roll(picture, 1, axis=1),
    "turn": lambda picture: _grey(rotate(picture.astype(float), 2, reshape=False, mode="nearest")),
}
