"""The manifest and the other tables between stages: written byte for byte the same, read with every cell checked."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from raremix.data.cells import check_unique, finite, read_table, whole, zero_or_one
from raremix.runtime.errors import UserError
from raremix.runtime.files import replacing

FIXED = ["image_id", "file", "patient_id", "visit", "official_part", "reader_trio"]
CORNERS = ["x_min", "y_min", "x_max", "y_max"]
BOXES = ["image_id", "finding", "reader", *CORNERS]
SYNTHETIC = ["image_id", "file", "parents", "model_sha256", "prompt", "seed", "sampler", "steps", "guidance", "sha256"]


def write_csv(frame: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """``frame`` without its index, NaN as an empty cell; whole or absent, the same bytes for the same values."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n", float_format=float_format)


def read_manifest(path: Path) -> pd.DataFrame:
    """``data/manifest.csv``: ``FIXED`` as strings (visit: int), then one 0/1 column per finding; sorted by image_id.

    Raises:
        UserError: names the file, row and column of what is missing, doubled or of the wrong kind.
    """
    frame = _read(path, FIXED, "run `dvc repro ingest`")
    return _typed(frame, path, FIXED).sort_values("image_id", ignore_index=True)


def read_synthetic(path: Path, findings: Sequence[str]) -> pd.DataFrame:
    """``data/synthetic/<checkpoint>/manifest.csv``: ``SYNTHETIC`` as strings and 0/1 columns of all ``findings``.

    Raises:
        UserError: as ``read_manifest``.
    """
    frame = _read(path, [*SYNTHETIC, *findings], "run `dvc repro synthesize`")
    return _typed(frame, path, SYNTHETIC).sort_values("image_id", ignore_index=True)


def read_votes(path: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """``data/votes.csv``: a row per image of ``manifest``, in its order; one column of counts per finding.

    Raises:
        UserError: an image or a finding of the manifest is missing, or a cell is no whole number.
    """
    found = findings(manifest)
    frame = _read(path, ["image_id", *found], "run `dvc repro ingest`").set_index("image_id")
    if missing := sorted(set(manifest["image_id"]) - set(frame.index)):
        raise UserError(f"{path}: no row for image '{missing[0]}'; run `dvc repro ingest`")
    votes = frame.assign(**{name: whole(frame[name], path) for name in found})
    return votes.loc[manifest["image_id"], found].reset_index()


def read_boxes(path: Path) -> pd.DataFrame:
    """``data/boxes.csv``: image_id, finding, reader ('' where none is known), x_min, y_min, x_max, y_max in pixels
    of the picture, in which they lie.

    Raises:
        UserError: names the file, row and column of what is missing or no number.
    """
    frame = read_table(path, BOXES, "run `dvc repro ingest`")
    return frame.assign(**{corner: finite(frame[corner], path).astype(float) for corner in CORNERS})


def findings(manifest: pd.DataFrame) -> list[str]:
    """The finding columns of a manifest."""
    return [column for column in manifest.columns if column not in FIXED]


def _read(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    frame = read_table(path, columns, remedy)
    check_unique(frame["image_id"], path)
    return frame


def _typed(frame: pd.DataFrame, path: Path, fixed: Sequence[str]) -> pd.DataFrame:
    frame = frame.assign(**{c: zero_or_one(frame[c], path) for c in frame.columns if c not in fixed})
    for row, part in enumerate(frame.get("official_part", ())):
        if part not in ("train", "test", "reserve", ""):
            raise UserError(
                f"{path}, row {row + 2}, column 'official_part': '{part}' is not train, test, reserve or empty"
            )
    return frame.assign(visit=whole(frame["visit"], path)) if "visit" in fixed else frame
