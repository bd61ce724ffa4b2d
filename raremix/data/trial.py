"""One trial's split, as split wrote it."""

from pathlib import Path
from typing import Any

import pandas as pd

from raremix.runtime.errors import UserError


def read_trial(path: Path) -> pd.DataFrame:
    """``data/splits/trial<k>.csv``: image_id, part, shot_rank (a whole number or missing).

    Raises:
        UserError: there is no such trial.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; is the trial in params.yaml, study.trials? Then run `dvc repro split`")
    kinds: Any = {"image_id": str, "part": str, "shot_rank": "Int64"}
    return pd.read_csv(path, dtype=kinds)


def trains(trial: pd.DataFrame, shots: int) -> "pd.Series[bool]":
    """Which rows of ``trial`` train at ``shots``: all of train but the minority images of a later rank."""
    return (trial["part"] == "train") & (trial["shot_rank"].isna() | (trial["shot_rank"] < shots).fillna(False))


def training_rows(manifest: pd.DataFrame, trial: pd.DataFrame, shots: int) -> pd.DataFrame:
    """The rows of ``manifest`` that train at ``shots``."""
    return manifest[manifest["image_id"].isin(trial.loc[trains(trial, shots), "image_id"])]
