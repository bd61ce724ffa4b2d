"""One trial's split, as split wrote it."""

from pathlib import Path

import pandas as pd

from raremix.data.cells import check_unique, read_table, whole


def read_trial(path: Path) -> pd.DataFrame:
    """``data/splits/trial<k>.csv``: image_id, part, shot_rank (a whole number or missing).

    Raises:
        UserError: there is no such trial, or no such table; names the file and, where it is one row, the row.
    """
    remedy = "is the trial in params.yaml, study.trials? Then run `dvc repro split`"
    trial = read_table(path, ["image_id", "part", "shot_rank"], remedy)
    check_unique(trial["image_id"], path)
    unranked = trial["shot_rank"] == ""
    ranks = whole(trial["shot_rank"].mask(unranked, "0"), path)
    return trial.assign(shot_rank=ranks.astype("Int64").mask(unranked))


def trains(trial: pd.DataFrame, shots: int) -> "pd.Series[bool]":
    """Which rows of ``trial`` train at ``shots``: all of train but the minority images of a later rank."""
    return (trial["part"] == "train") & (trial["shot_rank"].isna() | (trial["shot_rank"] < shots).fillna(False))


def training_rows(manifest: pd.DataFrame, trial: pd.DataFrame, shots: int) -> pd.DataFrame:
    """The rows of ``manifest`` that train at ``shots``."""
    return manifest[manifest["image_id"].isin(trial.loc[trains(trial, shots), "image_id"])]
