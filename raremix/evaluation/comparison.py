"""The arms against each other on the test part, and the one comparison that was fixed beforehand."""

from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from raremix.evaluation.metrics import METRICS, Array, Labels, score_table
from raremix.evaluation.resampling import resampled_families
from raremix.evaluation.statistics import detectable, holm, interval
from raremix.runtime.errors import UserError
from raremix.runtime.progress import track

BASELINES = ("vanilla", "undersample", "oversample")
CANDIDATES = "dreambooth"  # the arms whose name starts so compete for the primary comparison
PRIMARY = {"finding": "minority", "metric": "ap"}

COLUMNS = ["shots", "arm", "against", "finding", "metric", "difference", "low", "high", "p", "p_holm"]
COLUMNS += ["n_pos", "n_neg", "trials", "detectable"]

Scores = dict[tuple[int, str], Array]  # (shots, arm) -> probabilities [trials, images, findings]
Resampled = dict[tuple[int, str], dict[str, dict[str, Array]]]


def score_arms(
    scores: Scores, trials: Sequence[int], labels: Labels, weights: Array, groups: dict[str, list[int]]
) -> pd.DataFrame:
    """``shots,arm,trial,finding,auroc,ap`` of every arm and trial (see ``raremix.evaluation.metrics.score_table``)."""
    tables = [
        score_table(labels, probabilities, groups, weights).assign(shots=shots, arm=arm, trial=trial)
        for (shots, arm), stack in scores.items()
        for trial, probabilities in zip(trials, stack, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)[["shots", "arm", "trial", "finding", *METRICS]]


def resample_arms(scores: Scores, labels: Labels, weights: Array, groups: dict[str, list[int]]) -> Resampled:
    """Every arm's metrics in the same resamples of the images, which ``weights`` [draws, images] stand for."""
    arms = track(scores.items(), "resample", total=len(scores))
    return {key: resampled_families(labels, stack, weights, groups) for key, stack in arms}


def compare_arms(
    trials: pd.DataFrame,
    resampled: Resampled,
    labels: Labels,
    groups: dict[str, list[int]],
    level: float,
    primary: tuple[int, str | None],
) -> pd.DataFrame:
    """The differences of ``pairs``, per family of findings and metric; only the primary ones have a ``p_holm``.

    Args:
        trials: ``shots,arm,trial,finding`` and the metrics on the images as they are.
        resampled: (shots, arm) -> metric -> family -> [draws, trials], all arms in the same resamples.
        labels: [images, findings], to count positives: images with at least one finding of the family.
        groups: see ``raremix.evaluation.metrics.families``.
        level: of confidence.
        primary: shots and arm of the primary result, which stands against each baseline.

    Returns:
        ``shots,arm,against,finding,metric,difference,low,high,p,p_holm,n_pos,n_neg,trials,detectable``; the last is
        the smallest true difference that this comparison would have shown with 80 % probability: a primary one as the
        first of Holm's steps, any other by itself.
    """
    point, rows = _points(trials), []
    corrected = 1 - (1 - level) / max(1, sum((primary[0], name) in resampled for name in BASELINES))
    for shots, arm, against in pairs(resampled):
        for (finding, members), metric in product(groups.items(), resampled[shots, arm]):
            mine, theirs = (np.array(point[shots, name, finding][metric]) for name in (arm, against))
            chance = resampled[shots, arm][metric][finding] - resampled[shots, against][metric][finding]
            n_pos = int(labels[:, members].any(axis=1).sum())
            row = {"shots": shots, "arm": arm, "against": against, "finding": finding, "metric": metric}
            counts = {"n_pos": n_pos, "n_neg": len(labels) - n_pos, "trials": len(mine)}
            found = interval(mine - theirs, chance, level)
            held = _is_primary(row, primary)
            seen = detectable(interval(mine - theirs, chance, corrected) if held else found)
            rows.append({**row, **vars(found), "p_holm": found.p if held else np.nan, **counts, "detectable": seen})
    table = pd.DataFrame(rows, columns=COLUMNS)
    family = table.p_holm.notna()
    table.loc[family, "p_holm"] = holm(table.p_holm[family].tolist())
    return table


def _is_primary(row: dict[str, Any], primary: tuple[int, str | None]) -> bool:
    fixed = all(row[column] == value for column, value in PRIMARY.items())
    return fixed and (row["shots"], row["arm"]) == primary and row["against"] in BASELINES


def arm_intervals(trials: pd.DataFrame, resampled: Resampled, level: float) -> pd.DataFrame:
    """Each arm's own metrics with their limits, which count images and trials as those of differences do.

    Limits are kept between 0 and 1. Two arms differ by less than their limits suggest, as they share images and trials:
    ``compare_arms`` tells.

    Args:
        trials: as in ``compare_arms``, like the others.
        resampled: likewise.
        level: likewise.

    Returns:
        ``shots,arm,finding,metric,value,low,high``.
    """
    point, rows = _points(trials), []
    for (shots, arm), by_metric in resampled.items():
        for metric, by_family in by_metric.items():
            for finding, drawn in by_family.items():
                found = interval(np.array(point[shots, arm, finding][metric]), drawn, level)
                low, high = np.clip((found.low, found.high), 0, 1)
                rows.append((shots, arm, finding, metric, found.difference, low, high))
    return pd.DataFrame(rows, columns="shots,arm,finding,metric,value,low,high".split(","))


def pairs(arms: Collection[tuple[int, str]]) -> list[tuple[int, str, str]]:
    """Shots, arm and what it is held against: each of ``arms`` (shots, arm) against the baselines.

    The dreambooth arms are held against all others, after the baselines.
    """
    others = sorted({arm for _, arm in arms} - {*BASELINES})
    return [
        (shots, arm, other)
        for shots, arm in arms
        for other in [*BASELINES, *(others if arm.startswith(CANDIDATES) else ())]
        if arm != other and (shots, other) in arms
    ]


def choose(validation: dict[str, Any], shots: int, arms: Sequence[str]) -> tuple[str | None, dict[str, float | None]]:
    """The dreambooth arm with the highest minority average precision on validation, and that figure of each of them.

    The first in the study's order if two are equal; None if the study has no such arm.

    Raises:
        UserError: validation lacks an arm.
    """
    candidates = [arm for arm in arms if arm.startswith(CANDIDATES)]
    of_shots = validation.get(str(shots), {})
    if missing := [arm for arm in candidates if arm not in of_shots]:
        raise UserError(f"metrics/validate/summary.json: no '{missing[0]}' at {shots} shots; run: dvc repro validate")
    figures = {arm: of_shots[arm][PRIMARY["finding"]][PRIMARY["metric"]]["mean"] for arm in candidates}
    best = max(figures, key=lambda arm: -1.0 if figures[arm] is None else figures[arm], default=None)
    return best, figures


def _points(trials: pd.DataFrame) -> dict[Any, dict[Any, list[float]]]:
    """By shots, arm and finding: each metric's values, trial by trial."""
    return {key: rows.to_dict("list") for key, rows in trials.groupby(["shots", "arm", "finding"])}
