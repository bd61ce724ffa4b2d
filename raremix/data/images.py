"""The pipeline's PNGs in memory."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from raremix.data.checksums import Checksums
from raremix.runtime.errors import UserError
from raremix.runtime.files import replacing


def load(files: Sequence[str], checksums: Checksums) -> NDArray[np.uint8]:
    """Grey images ``[n, size, size]`` in 0..255, in the order of ``files``, whose bytes are those of ``checksums``.

    Raises:
        UserError: names the file that is missing, not listed, changed, can't be decoded, or has another size than the
            first; or there is no file.
    """
    if not len(files):
        raise UserError("no image is listed where some are needed; run `dvc repro`")
    first = _grey(files[0], checksums)
    images = np.empty((len(files), *first.shape), np.uint8)
    for index, file in enumerate(files):
        image = _grey(file, checksums)
        if image.shape != first.shape:
            raise UserError(f"{file}: {image.shape} pixels where others have {first.shape}; run `dvc repro ingest`")
        images[index] = image
    return images


def save(picture: NDArray[np.uint8] | Image.Image, file: str | Path) -> None:
    """Write a ``picture``, a grey array ``[height, width]`` or Pillow's own, as PNG, whatever the ending.

    It is there whole or not at all, and the same pixels give the same bytes.
    """
    with replacing(Path(file)) as temporary:
        (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(temporary, "PNG")


def grid(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """``images [n, height, width]`` in rows of ``columns``, one picture; a last row that is not full is left out."""
    rows = len(images) // columns
    n, height, width = images[: rows * columns].shape
    tiles = images[:n].reshape(rows, columns, height, width)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def _grey(file: str, checksums: Checksums) -> NDArray[np.uint8]:
    if file not in checksums:
        raise UserError(f"{file}: not in the list of checksums, which spells paths as ingest was given them")
    try:
        content = Path(file).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: the image is listed but missing; run `dvc repro` to make it again") from None
    if hashlib.sha256(content).hexdigest() != checksums[file]:
        raise UserError(f"{file}: not the bytes that its list of checksums has; run `dvc repro` to make it again")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            return np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{file}: can't be decoded ({error}); remove it and run `dvc repro`") from None
