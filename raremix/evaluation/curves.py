"""ROC and precision-recall curves, averaged over trials on a fixed grid (vertical averaging; Fawcett 2006)."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from raremix.evaluation.metrics import Array, Labels

GRID = np.linspace(0, 1, 51)


def curve_table(
    curve: Callable[[Labels, Array, Array], pd.DataFrame],
    labels: Labels,
    scores: dict[str, Array],
    weights: Array,
    findings: Sequence[str],
) -> pd.DataFrame:
    """``finding,arm`` and the points of ``curve`` for each; ``scores``: arm -> [trials, images, findings]."""
    curves = [
        curve(labels[:, position], stack[:, :, position], weights).assign(finding=finding, arm=arm)
        for position, finding in enumerate(findings)
        for arm, stack in scores.items()
    ]
    return pd.concat(curves).set_index(["finding", "arm"]).reset_index()


def mean_roc(labels: Labels, trials: Array, weights: Array) -> pd.DataFrame:
    """51 points ``fpr,tpr``: the trials' mean sensitivity at each false positive rate.

    Args:
        labels: [images], 0 or 1, both present.
        trials: [trials, images], the scores.
        weights: [images].
    """
    curves = [roc_curve(labels, scores, sample_weight=weights)[:2] for scores in trials]
    return pd.DataFrame({"fpr": GRID, "tpr": np.mean([np.interp(GRID, fpr, tpr) for fpr, tpr in curves], axis=0)})


def mean_precision_recall(labels: Labels, trials: Array, weights: Array) -> pd.DataFrame:
    """50 points ``recall,precision``: the trials' mean precision where a recall is first reached; shapes as above."""
    recalls = GRID[1:]
    precision = np.mean([_precision_at(recalls, labels, scores, weights) for scores in trials], axis=0)
    return pd.DataFrame({"recall": recalls, "precision": precision})


def _precision_at(recalls: Array, labels: Labels, scores: Array, weights: Array) -> Array:
    precision, recall, _ = precision_recall_curve(labels, scores, sample_weight=weights)
    reached = np.searchsorted(recall[::-1], recalls - 1e-9)  # weighted recall misses 1 by a rounding error
    return np.asarray(precision[::-1][reached], dtype=np.float64)
