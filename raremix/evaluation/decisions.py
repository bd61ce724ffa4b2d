"""The arms as deciders: thresholds from validation, metrics at them, tests of one trial's classifiers, calibration."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from raremix.evaluation.metrics import (
    BINS,
    Array,
    Labels,
    balanced_accuracy,
    calibration_error,
    equal_mass_bins,
    f1,
    reliability,
)
from raremix.evaluation.statistics import delong, mcnemar

FIGURES = {"balanced_accuracy": "balanced accuracy", "f1": "F1", "calibration_error": "expected calibration error"}

Scores = Mapping[tuple[int, str], Array]  # (shots, arm) -> probabilities [trials, images, findings]
Thresholds = Mapping[tuple[int, str], Array]  # (shots, arm) -> [findings]


def decided(
    scores: Scores,
    thresholds: Thresholds,
    trials: Sequence[int],
    labels: Labels,
    weights: Array,
    groups: dict[str, list[int]],
) -> pd.DataFrame:
    """``shots,arm,trial,finding,threshold,balanced_accuracy,f1,calibration_error``, weighted to natural prevalence.

    A family's figures are the means of its findings'; a family of several has no threshold.

    Args:
        scores: of the images.
        thresholds: from which on a finding counts as called.
        trials: their numbers.
        labels: [images, findings], 0 or 1.
        weights: [images].
        groups: see ``raremix.evaluation.metrics.families``.
    """
    rows = []
    for (shots, arm), stack in scores.items():
        cuts = thresholds[shots, arm]
        for trial, probabilities in zip(trials, stack, strict=True):
            figures = np.array(
                [_figures(*column, weights) for column in zip(labels.T, probabilities.T, cuts, strict=True)]
            )
            for name, members in groups.items():
                cut = float(cuts[members[0]]) if len(members) == 1 else np.nan
                rows.append((shots, arm, trial, name, cut, *figures[members].mean(axis=0)))
    return pd.DataFrame(rows, columns=["shots", "arm", "trial", "finding", "threshold", *FIGURES])


def _figures(labels: Labels, probabilities: Array, cut: float, weights: Array) -> tuple[float, float, float]:
    column = labels, probabilities, cut, weights
    return balanced_accuracy(*column), f1(*column), calibration_error(labels, probabilities, weights)


def resample_decisions(
    scores: Scores, thresholds: Thresholds, labels: Labels, weights: Array, drawn: Array, groups: dict[str, list[int]]
) -> dict[tuple[int, str], dict[str, dict[str, Array]]]:
    """Every arm's figures at its thresholds in the same resamples of the images: figure -> family -> [draws, trials].

    The thresholds are given, as they are to whoever uses the classifiers: what other validation images would have made
    of them is not counted.

    Args:
        scores: as in ``decided``, like the others.
        thresholds: likewise.
        labels: likewise.
        weights: likewise; they settle the bins in which calibration is looked at.
        drawn: [draws, images], the weights in each resample.
        groups: see ``raremix.evaluation.metrics.families``.
    """
    found = {}
    for (shots, arm), stack in scores.items():
        single = [
            [_drawn(*column, weights, drawn) for column in zip(labels.T, trial.T, thresholds[shots, arm], strict=True)]
            for trial in stack
        ]
        cube = np.array(single)  # trial, finding, figure, draw
        found[shots, arm] = {
            figure: {name: cube[:, members, place].mean(axis=1).T for name, members in groups.items()}
            for place, figure in enumerate(FIGURES)
        }
    return found


def _drawn(labels: Labels, probabilities: Array, cut: float, weights: Array, drawn: Array) -> Array:
    """``FIGURES`` of one finding in every draw: [figures, draws]; NaN where a draw leaves one class without weight."""
    called = probabilities >= cut
    kinds = np.stack([called & (labels == 1), called & (labels == 0), labels == 1, labels == 0], axis=1)
    hits, alarms, positives, negatives = (drawn @ kinds.astype(np.float64)).T
    bins = np.eye(BINS)[equal_mass_bins(probabilities, weights)]
    missed = np.abs(drawn @ (bins * (probabilities - labels)[:, None])).sum(axis=1) / drawn.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        balanced = (hits / positives + 1 - alarms / negatives) / 2
        return np.stack([balanced, 2 * hits / (hits + alarms + positives), missed])


def tested(
    pairs: Sequence[tuple[int, str, str]],
    scores: Scores,
    thresholds: Thresholds,
    trials: Sequence[int],
    labels: Labels,
    findings: list[str],
) -> pd.DataFrame:
    """Each trial's classifiers of two arms: DeLong's test of their AUROC, McNemar's of their decisions.

    Of one trial they say whether *these* two classifiers differ, on the images as they are (unweighted); whether arms
    do, ``raremix.evaluation.comparison`` tells.

    Args:
        pairs: shots, arm and the arm it stands against.
        scores: as in ``decided``, like the others.
        thresholds: likewise.
        trials: likewise.
        labels: likewise.
        findings: their names.

    Returns:
        ``shots,arm,against,trial,finding,difference,error,z,p_delong,only_arm,only_against,p_mcnemar``.
    """
    rows = []
    for shots, arm, against in pairs:
        cuts = thresholds[shots, arm], thresholds[shots, against]
        for trial, mine, theirs in zip(trials, scores[shots, arm], scores[shots, against], strict=True):
            for k, finding in enumerate(findings):
                ranked = delong(labels[:, k], mine[:, k], theirs[:, k])
                called = [
                    (part[:, k] >= cut[k]).astype(np.int64) for part, cut in zip((mine, theirs), cuts, strict=True)
                ]
                decisions = mcnemar(labels[:, k], *called)
                figures = ranked.difference, ranked.error, ranked.z, ranked.p
                counts = decisions.only_a, decisions.only_b, decisions.p
                rows.append((shots, arm, against, trial, finding, *figures, *counts))
    columns = "shots,arm,against,trial,finding,difference,error,z,p_delong,only_arm,only_against,p_mcnemar"
    return pd.DataFrame(rows, columns=columns.split(","))


def calibration(scores: Mapping[str, Array], labels: Labels, weights: Array, findings: list[str]) -> pd.DataFrame:
    """``finding,arm,predicted,observed,share``: reliability curves, the trials' predictions pooled.

    Args:
        scores: arm -> [trials, images, findings].
        labels: [images, findings], 0 or 1.
        weights: [images].
        findings: their names.
    """
    return pd.concat(_curves(scores, labels, weights, findings), ignore_index=True)


def _curves(scores: Mapping[str, Array], labels: Labels, weights: Array, findings: list[str]) -> Iterator[pd.DataFrame]:
    for k, finding in enumerate(findings):
        for arm, stack in scores.items():
            times = len(stack)
            curve = reliability(np.tile(labels[:, k], times), stack[:, :, k].ravel(), np.tile(weights, times))
            curve.insert(0, "arm", arm)
            curve.insert(0, "finding", finding)
            yield curve
