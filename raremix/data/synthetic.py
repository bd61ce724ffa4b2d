"""The synthetic images of checkpoints: the check that each descends from training images only, and that none is a copy.

A checkpoint is the fine-tuned model of one finding at some shots in a trial.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import ceil
from pathlib import Path

import pandas as pd

from raremix.data.cells import finite, read_table
from raremix.data.lineage import FILE, check_lineage, read_lineage
from raremix.data.manifest import read_synthetic
from raremix.runtime.errors import UserError

POSITIVE, NEGATIVE = "-pos", "-neg"

Pool = Mapping[str, pd.DataFrame]  # by finding: the synthetic manifest of its checkpoint


def folder(root: Path, finding: str, shots: int, trial: int) -> Path:
    """Where under ``root`` a checkpoint is, or what was made with it: a folder a trial, and in it one a finding."""
    return root / f"{shots}-{trial}" / finding


def check_folders(root: Path, findings: Sequence[str], shots: Sequence[int], trials: Sequence[int]) -> None:
    """Refuse a folder under ``root`` that is no checkpoint of the study, and one that is missing.

    Raises:
        UserError: names the folder.
    """
    wanted = {folder(root, finding, n, trial) for finding in findings for n in shots for trial in trials}
    trials_there = {path for path in root.glob("*") if path.is_dir()}
    there = {path for above in trials_there for path in above.iterdir() if path.is_dir()}
    strangers = (there - wanted) | (trials_there - {path.parent for path in wanted})
    if strangers:
        raise UserError(f"{', '.join(map(str, sorted(strangers)))}: not of this study (params.yaml, study); remove it")
    if missing := sorted(wanted - there):
        raise UserError(f"{missing[0]}: missing; run `dvc repro synthesize`")


def read_pool(
    root: Path,
    synthesized: Sequence[str],
    task: Sequence[str],
    findings: Sequence[str],
    shots: int,
    trial: int,
    training: AbstractSet[str],
) -> dict[str, pd.DataFrame]:
    """By ``synthesized`` finding: its checkpoint's images, all ancestors of which must be in ``training``.

    Raises:
        UserError: names file and image of an ancestor outside the trial's training images, of a positive without its
        finding, of a negative with one of the ``task``, or of a positive without its negative.
    """
    pool = {}
    for finding in synthesized:
        here = folder(root, finding, shots, trial)
        file = here / "manifest.csv"
        frame = read_synthetic(file, findings)
        for image, parents in zip(frame["image_id"], frame["parents"], strict=True):
            check_lineage(parents.split("|"), training, f"{file}: '{image}'")
        check_lineage(read_lineage(here)["image_id"], training, f"{here / FILE}: the model")
        _check_kinds(frame, file, finding, task)
        pool[finding] = frame
    return pool


def read_drawn(root: Path, synthesized: Sequence[str], findings: Sequence[str], shots: int, trial: int) -> pd.DataFrame:
    """All that the checkpoints of the ``synthesized`` findings drew; lineage unread.

    Two columns more than ``read_synthetic`` has: ``checkpoint``, a finding, and ``original``, the radiograph that the
    finding is laid over, and that the pair shows as it was; '' where a pair is as it was drawn.

    Raises:
        UserError: as ``read_synthetic``; or a recipe.csv is missing or no such table.
    """
    folders = {finding: folder(root, finding, shots, trial) for finding in synthesized}
    tables = [
        read_synthetic(here / "manifest.csv", findings)
        .assign(checkpoint=finding)
        .merge(_originals(here), "left", validate="1:1")
        for finding, here in folders.items()
    ]
    return pd.concat(tables, ignore_index=True)


def radiographs(drawn: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows of ``read_drawn`` show a radiograph as it was: the pairs of images laid over one."""
    return (drawn["original"] != "") & drawn["image_id"].str.endswith(NEGATIVE)


def _originals(here: Path) -> pd.DataFrame:
    """``image_id, original``."""
    table = read_table(here / "recipe.csv", ["image_id", "onto", "original"], "run `dvc repro -f synthesize`")
    return table[["image_id"]].assign(original=table["original"].where(table["onto"] == "original", ""))


def without_copies(pool: Pool, file: Path) -> dict[str, pd.DataFrame]:
    """The ``pool`` without the copies that ``file`` of the screen stage lists, and without the images paired with them.

    Raises:
        UserError: ``file`` is missing or no such table, or names an image that is not in the ``pool``.
    """
    copies = set(read_table(file, ["image_id"], "run `dvc repro screen`")["image_id"])
    if strangers := sorted(copies - {image for rows in pool.values() for image in rows["image_id"]}):
        raise UserError(f"{file}: '{strangers[0]}' is no synthetic image of these checkpoints; run `dvc repro screen`")
    pairs = {_pair(image) for image in copies}
    return {finding: rows[~rows["image_id"].map(_pair).isin(pairs)] for finding, rows in pool.items()}


def read_gains(file: Path, pool: Pool) -> "pd.Series[float]":
    """By image id: how much each positive of the ``pool`` gains by its finding, as the sift stage found.

    Raises:
        UserError: ``file`` is missing or no such table, or it is of other images.
    """
    remedy = "run `dvc repro sift`"
    table = read_table(file, ["image_id", "gain"], remedy)
    drawn = {image for rows in pool.values() for image in positives(rows)["image_id"]}
    if other := sorted(drawn ^ set(table["image_id"])):
        raise UserError(f"{file}: '{other[0]}' is only there or only among the synthetic images; {remedy}")
    return pd.Series(finite(table["gain"], file).to_numpy(float), table["image_id"])


def clearest(pool: Pool, gains: "pd.Series[float]", share: float) -> dict[str, pd.DataFrame]:
    """Of each finding in the ``pool`` the ``share`` of pairs that gain most; of equal ones the first."""
    kept = {}
    for finding, rows in pool.items():
        best = gains[positives(rows)["image_id"]].sort_values(ascending=False, kind="stable")
        pairs = {_pair(image) for image in best.index[: ceil(share * len(best))]}
        kept[finding] = rows[rows["image_id"].map(_pair).isin(pairs)]
    return kept


def digests(tables: Iterable[pd.DataFrame]) -> dict[str, str]:
    """The checksums that ``tables`` hold: ``file`` and ``sha256``."""
    return {file: digest for rows in tables for file, digest in zip(rows["file"], rows["sha256"], strict=True)}


def _pair(image: str) -> str:
    """What the two images of a pair have in common."""
    return image.removesuffix(POSITIVE).removesuffix(NEGATIVE)


def positives(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows prompted with the finding, in order of image id."""
    return frame[frame["image_id"].str.endswith(POSITIVE)]


def negatives_of(frame: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """The negatives of the same seed and caption as the ``chosen`` positives, in their order."""
    pairs = pd.Index(chosen["image_id"].str.removesuffix(POSITIVE) + NEGATIVE)
    return frame.set_index("image_id").loc[pairs].reset_index()


def _check_kinds(frame: pd.DataFrame, file: Path, finding: str, task: Sequence[str]) -> None:
    ids = set(frame["image_id"])
    found = frame[list(task)].any(axis=1)
    for image, carries, any_at_all in zip(frame["image_id"], frame[finding], found, strict=True):
        if image.endswith(POSITIVE):
            wrong = None if carries else f"a positive without '{finding}'"
            wrong = wrong or (None if image.removesuffix(POSITIVE) + NEGATIVE in ids else "without its negative")
        elif image.endswith(NEGATIVE):
            wrong = "a negative with one of the task's findings" if any_at_all else None
        else:
            wrong = "neither a positive (-pos) nor a negative (-neg)"
        if wrong:
            raise UserError(f"{file}: '{image}' is {wrong}; run `dvc repro -f synthesize`")
