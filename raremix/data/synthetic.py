"""The synthetic images of a checkpoint, and the check that each descends from training images only."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import pandas as pd

from raremix.data.manifest import read_synthetic
from raremix.runtime.errors import UserError

POSITIVE, NEGATIVE = "-pos", "-neg"

Pool = Mapping[str, pd.DataFrame]  # by finding: the synthetic manifest of its checkpoint


def check_folders(root: Path, findings: Sequence[str], shots: Sequence[int], trials: Sequence[int]) -> None:
    """Refuse a folder under ``root`` that is no checkpoint of the study, and one that is missing.

    Raises:
        UserError: names the folder.
    """
    wanted = {f"{finding}-{n}-{trial}" for finding in findings for n in shots for trial in trials}
    there = {path.name for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()
    if stranger := sorted(there - wanted):
        raise UserError(f"{root / stranger[0]}: not of this study (params.yaml, study); remove it")
    if missing := sorted(wanted - there):
        raise UserError(f"{root / missing[0]}: missing; run `dvc repro synthesize`")


def read_pool(
    root: Path, task: Sequence[str], findings: Sequence[str], shots: int, trial: int, parents: AbstractSet[str]
) -> dict[str, pd.DataFrame]:
    """By finding of the ``task``: its checkpoint's synthetic images; every parent must be one of ``parents``.

    Raises:
        UserError: names file and image of a parent outside the trial's training images, of a positive without its
        finding, of a negative with one of the ``task``, or of a positive without its negative.
    """
    pool = {}
    for finding in task:
        file = root / f"{finding}-{shots}-{trial}" / "manifest.csv"
        frame = read_synthetic(file, findings)
        _check_lineage(frame, file, parents)
        _check_kinds(frame, file, finding, task)
        pool[finding] = frame
    return pool


def positives(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows prompted with the finding, in order of image id."""
    return frame[frame["image_id"].str.endswith(POSITIVE)]


def negatives_of(frame: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """The negatives of the same seed and caption as the ``chosen`` positives, in their order."""
    pairs = pd.Index(chosen["image_id"].str.removesuffix(POSITIVE) + NEGATIVE)
    return frame.set_index("image_id").loc[pairs].reset_index()


def _check_lineage(frame: pd.DataFrame, file: Path, allowed: AbstractSet[str]) -> None:
    for image, parents in zip(frame["image_id"], frame["parents"], strict=True):
        for parent in parents.split("|"):
            if parent not in allowed:
                raise UserError(
                    f"{file}: '{image}' descends from '{parent}', which is no training image of this trial and shots; "
                    "run `dvc repro -f dreambooth synthesize`"
                )


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
