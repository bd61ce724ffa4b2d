"""Label sets: the findings that an image of the base corpus carries, and the order in which a plan draws them."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raremix.data.cells import finite, read_table, whole
from raremix.runtime.errors import UserError


def label_sets(rows: pd.DataFrame, findings: Sequence[str]) -> "pd.Series[str]":
    """The label set of each of the ``rows``: those of the ``findings`` that it carries, joined by ``|``."""
    carried = rows[list(findings)].to_numpy(bool)
    return pd.Series(["|".join(compress(findings, marks)) for marks in carried], rows.index, dtype=str)


def read_plan(path: Path, finding: str) -> pd.DataFrame:
    """``label_set, share, images`` of the checkpoint of ``finding``, from ``data/splits/plan-<shots>-<trial>.csv``.

    Raises:
        UserError: nothing is planned for the checkpoint, or the table can't be read; names the file.
    """
    plan = read_table(path, ["finding", "label_set", "share", "images"], "run `dvc repro split`")
    plan = plan.assign(images=whole(plan["images"], path), share=finite(plan["share"], path))
    of = plan[plan["finding"] == finding]
    if of.empty:
        raise UserError(f"{path}: nothing for '{finding}'; run `dvc repro split`")
    return of[["label_set", "share", "images"]].reset_index(drop=True)


def in_order(plan: pd.DataFrame, count: int, rng: np.random.Generator) -> list[str]:
    """The label sets of a checkpoint's first ``count`` images; a lower ``count`` gives the first ones of a higher.

    Each set comes at equal distances, from a drawn start (systematic sampling). As many images as the mix lacks have
    the plan's counts, any first few of them nearly its proportions; what is drawn beyond follows the shares.
    """
    phase = rng.random(len(plan))
    first = _evenly(plan["images"].to_numpy(float), phase, 1.0)
    rest = _evenly(plan["share"].to_numpy(float), phase, count + len(plan))
    return list(plan["label_set"].to_numpy()[np.concatenate([first, rest])[:count]])


def _evenly(rates: NDArray[np.float64], phase: NDArray[np.float64], end: float) -> NDArray[np.intp]:
    """Whose turn it is until the time ``end``: i's turns are ``1 / rates[i]`` apart, the first ``phase`` of it late."""
    turns = np.ceil(np.maximum(rates * end - phase, 0)).astype(int)
    whose = np.repeat(np.arange(len(rates)), turns)
    number = np.concatenate([np.arange(n) for n in turns])
    return whose[np.argsort((number + phase[whose]) / rates[whose], kind="stable")]
