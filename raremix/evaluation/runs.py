"""The classifiers' runs on disk: which there must be, and what they predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from raremix.evaluation.metrics import Array, Labels
from raremix.runtime.errors import UserError

COLUMNS = ["image_id", "part", "finding", "label", "probability"]


@dataclass(frozen=True)
class Run:
    """One trained classifier: an arm at a number of shots in a trial, and the directory that holds it."""

    arm: str
    shots: int
    trial: int
    path: Path


def find_runs(root: Path, arms: Sequence[str], shots: Sequence[int], trials: Sequence[int]) -> list[Run]:
    """The study's runs under ``root``, ordered by shots, arm (as in the study) and trial.

    Raises:
        UserError: names the directories that are missing, or that are no part of the study. DVC leaves those behind
            when the study shrinks, and they must not slip into a result.
    """
    runs = [Run(a, s, t, root / f"{a}-{s}-{t}") for s, a, t in product(shots, arms, trials)]
    there = {path.name for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()
    strangers = sorted(there - {run.path.name for run in runs})
    if strangers:
        paths = " ".join(str(root / name) for name in strangers)
        raise UserError(f"{root}: {', '.join(strangers)} is not in params.yaml's study; remove it with: rm -r {paths}")
    missing = [run.path.name for run in runs if run.path.name not in there]
    if missing:
        raise UserError(f"{root}: no run {', '.join(missing)}; train it with: dvc repro classify")
    return runs


def read_predictions(run: Run, part: str) -> pd.DataFrame:
    """The run's ``predictions.csv``: ``image_id,part,finding,label,probability``.

    Raises:
        UserError: the file or a column is missing, or a row is of another part than ``part``.
    """
    path = run.path / "predictions.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such file; train the classifier again with: dvc repro -f classify")
    frame = pd.read_csv(path, dtype={"image_id": str, "part": str, "finding": str})
    if list(frame.columns) != COLUMNS:
        raise UserError(f"{path}: columns are {', '.join(frame.columns)}; they must be {', '.join(COLUMNS)}")
    for other in frame.part[frame.part != part].unique()[:1]:
        raise UserError(f"{path}: holds rows of part '{other}'; only '{part}' may be predicted here")
    return frame


def matrices(predictions: pd.DataFrame, findings: Sequence[str], path: Path) -> tuple[list[str], Labels, Array]:
    """Image ids (sorted), labels [images, findings] and probabilities [images, findings] of one run's predictions.

    Raises:
        UserError: a finding of the study is missing, or an image is missing or there twice for one of them.
    """
    for finding in findings:
        if finding not in set(predictions.finding):
            raise UserError(f"{path}: no prediction of '{finding}', a finding of params.yaml's study; train it again")
    for image_id in predictions.image_id[predictions.duplicated(["image_id", "finding"])][:1]:
        raise UserError(f"{path}: image '{image_id}' is predicted twice for one finding; train the classifier again")
    wide = predictions.pivot(index="image_id", columns="finding", values=["label", "probability"]).sort_index()
    for image_id in wide.index[wide.isna().any(axis=1)][:1]:
        raise UserError(f"{path}: image '{image_id}' lacks the prediction of a finding; train the classifier again")
    labels = wide["label"][list(findings)].to_numpy(dtype=np.int64)
    return list(wide.index), labels, wide["probability"][list(findings)].to_numpy(dtype=np.float64)
