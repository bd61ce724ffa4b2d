"""The audit of the split: the same picture twice, in two parts that must not share any.

A patient is in one part alone, but a data set may hold an image twice, under two patients' names. What counts as the
same is what the leak tripwire calls so (``raremix.data.leaks``), which looks again before classifiers train, at
synthetic images as well; here it is found before anything is trained.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raremix.data import images
from raremix.data.checksums import Checksums
from raremix.data.leaks import NEAR
from raremix.data.resemblance import SIDE, distances
from raremix.runtime.errors import UserError

APART = ("test", "validation")  # parts of which no other may hold an image; test first
LEFT_OUT = "left_out"  # the part of what no stage is to see
CHUNK = 256  # images in memory at full size
COLUMNS = ["part", "image_id", "other_part", "other_image_id", "distance"]


def across(frame: pd.DataFrame, parts: "pd.Series[str]", checksums: Checksums) -> pd.DataFrame:
    """Pairs of nearly the same image of which one is in test or validation and the other is in another part.

    ``frame`` has ``image_id`` and ``file``, ``parts`` the part of each row. A row a pair, nearest first:
    ``part, image_id, other_part, other_image_id, distance``; the distance is that of ``resemblance.distances``.
    """
    small = _shrunk(list(frame["file"]), checksums)
    ids, part = frame["image_id"].to_numpy(), parts.to_numpy()
    rows: list[tuple[str, str, str, str, float]] = []
    for place, judged in enumerate(APART):
        mine = np.flatnonzero(part == judged)
        others = np.flatnonzero(~np.isin(part, APART[: place + 1]))
        for at, other, distance in _near(small[mine], small[others]):
            one, two = mine[at], others[other]
            rows.append((judged, ids[one], part[two], ids[two], distance))
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["distance", "image_id"], ignore_index=True)


def refuse(pairs: pd.DataFrame, file: Path) -> None:
    """Refuse a split with ``pairs``, which ``file`` lists.

    Raises:
        UserError: names the nearest pair, and says how many there are.
    """
    if len(pairs):
        first = pairs.iloc[0]
        raise UserError(
            f"'{first['image_id']}' of {first['part']} and '{first['other_image_id']}' of {first['other_part']} are "
            f"nearly the same image; {file} lists all {len(pairs)} such pairs; look at them, then say "
            "params.yaml, split.duplicates: leave_out, which keeps of each the one that is tested"
        )


def without(pairs: pd.DataFrame, frame: pd.DataFrame, parts: "pd.Series[str]") -> "pd.Series[str]":
    """``parts`` of the rows of ``frame``, where of each of ``pairs`` the image in the later part is ``left_out``.

    So it is the one that trains, or that validates what another tests. What is nearly an image that is left out itself
    stays.
    """
    gone: set[str] = set()
    for judged in APART:  # test first, as an image of validation that is left out judges no other
        mine = pairs[(pairs["part"] == judged) & ~pairs["image_id"].isin(gone)]
        gone |= set(mine["other_image_id"])
    return parts.mask(frame["image_id"].isin(gone), LEFT_OUT)


def _near(pictures: NDArray[np.uint8], others: NDArray[np.uint8]) -> list[tuple[int, int, float]]:
    found, done = [], 0
    for chunk in distances(pictures, others):
        found += [(done + int(i), int(k), float(chunk[i, k])) for i, k in np.argwhere(chunk < NEAR)]
        done += len(chunk)
    return found


def _shrunk(files: Sequence[str], checksums: Checksums) -> NDArray[np.uint8]:
    """All ``files`` as ``distances`` would shrink them first, so that a large data set fits into memory."""
    chunks = []
    for start in range(0, len(files), CHUNK):
        pixels = images.load(files[start : start + CHUNK], checksums)
        block = max(pixels.shape[1] // SIDE, 1)
        side = pixels.shape[1] // block
        blocks = pixels[:, : side * block, : side * block].reshape(-1, side, block, side, block)
        chunks.append(np.rint(blocks.mean((2, 4), dtype=np.float32)).astype(np.uint8))
    return np.concatenate(chunks)
