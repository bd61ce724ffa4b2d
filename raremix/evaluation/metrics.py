"""Metrics of multi-label predictions: of their ranking, at a threshold, and as probabilities; weighted if asked."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

METRICS = ("auroc", "ap")
BINS = 10  # of a reliability curve, with as many images in each

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def families(findings: Sequence[str], minority: Sequence[str]) -> dict[str, list[int]]:
    """What gets a figure: each finding alone, and the means over all (``macro``), ``minority`` and ``majority``.

    Returns name -> positions among ``findings``; no ``majority`` if there is none.
    """
    single = {finding: [position] for position, finding in enumerate(findings)}
    rest = [position for finding, (position,) in single.items() if finding not in minority]
    return {
        **single,
        "macro": list(range(len(findings))),
        "minority": [findings.index(finding) for finding in minority],
        **({"majority": rest} if rest else {}),
    }


def auroc(labels: Labels, scores: Array, weights: Array | None = None) -> float:
    """Area under the ROC curve of ``scores`` [images] for 0/1 ``labels`` [images]; NaN if one class is absent."""
    return _defined(roc_auc_score, labels, scores, weights)


def average_precision(labels: Labels, scores: Array, weights: Array | None = None) -> float:
    """Average precision (the step sum, not the trapezium), shapes as in ``auroc``; NaN if one class is absent."""
    return _defined(average_precision_score, labels, scores, weights)


def balanced_accuracy(labels: Labels, scores: Array, threshold: float, weights: Array | None = None) -> float:
    """Mean of sensitivity and specificity, where scores from ``threshold`` on count as positive.

    Shapes as in ``auroc``; NaN if one class is absent.
    """
    return _defined(balanced_accuracy_score, labels, scores >= threshold, weights)


def f1(labels: Labels, scores: Array, threshold: float, weights: Array | None = None) -> float:
    """Harmonic mean of precision and sensitivity, otherwise as ``balanced_accuracy``; 0 if nothing is found."""
    return _defined(f1_score, labels, scores >= threshold, weights)


def reliability(labels: Labels, probabilities: Array, weights: Array | None = None, bins: int = BINS) -> pd.DataFrame:
    """Whether what is called 30 % probable is there 30 % of the time: the points of a reliability curve.

    The bins hold equal mass (images, or their weight), as rare findings leave bins of equal width empty. Equal
    probabilities stay together, so bins may differ in mass, and some may be missing.

    Args:
        labels: [images], 0 or 1.
        probabilities: [images], between 0 and 1.
        weights: [images], or None for equal ones.
        bins: how many.

    Returns:
        ``predicted,observed,share``, a row a bin: mean probability, frequency of the finding, share of the mass.
    """
    mass = np.ones(len(labels)) if weights is None else weights
    place = equal_mass_bins(probabilities, mass, bins)
    held = np.bincount(place, mass, bins)
    predicted, observed = (np.bincount(place, mass * values, bins) for values in (probabilities, labels))
    table = pd.DataFrame({"predicted": predicted, "observed": observed}).div(np.where(held > 0, held, 1), axis=0)
    return table.assign(share=held / held.sum())[held > 0].reset_index(drop=True)


def calibration_error(labels: Labels, probabilities: Array, weights: Array | None = None, bins: int = BINS) -> float:
    """Expected calibration error: the mean distance between predicted and observed over ``reliability``'s points.

    With equal mass in ten bins (Nguyen and O'Connor 2015); chance alone keeps it above 0, more so with few images.
    """
    curve = reliability(labels, probabilities, weights, bins)
    return float((curve.share * (curve.predicted - curve.observed).abs()).sum())


def equal_mass_bins(values: Array, mass: Array, bins: int = BINS) -> Labels:
    """For each of ``values`` [images] its bin, from 0, of ``bins`` that hold as equal a ``mass`` as ties allow."""
    return np.minimum((bins * _middles(values, mass)).astype(np.int64), bins - 1)


def score_table(
    labels: Labels, scores: Array, groups: dict[str, list[int]], weights: Array | None = None
) -> pd.DataFrame:
    """One row a member of ``groups`` (see ``families``): ``finding,auroc,ap``.

    Args:
        labels: [images, findings], 0 or 1.
        scores: [images, findings], any monotone score.
        groups: name -> positions of the findings whose mean it is. A mean with an undefined member is undefined.
        weights: [images], or None for equal ones.
    """
    columns = [(labels[:, k], scores[:, k], weights) for k in range(labels.shape[1])]
    single = {
        "auroc": np.array([auroc(*column) for column in columns]),
        "ap": np.array([average_precision(*column) for column in columns]),
    }
    rows = [{"finding": name, **{m: single[m][members].mean() for m in METRICS}} for name, members in groups.items()]
    return pd.DataFrame(rows)


def summary(trials: pd.DataFrame) -> dict[str, Any]:
    """``{shots: {arm: {finding: {metric: {"mean", "sd", "n"}}}}}`` of a table ``shots,arm,trial,finding,auroc,ap``.

    ``n`` counts the trials in which the metric is defined; ``sd`` (n - 1 in the denominator) is None below two.
    """
    tree: dict[str, Any] = {}
    for (shots, arm, finding), rows in trials.groupby(["shots", "arm", "finding"], sort=False):
        tree.setdefault(str(shots), {}).setdefault(arm, {})[finding] = {m: _spread(rows[m].to_numpy()) for m in METRICS}
    return tree


def headline(summary: dict[str, Any]) -> dict[str, Any]:
    """The few figures that ``dvc metrics show`` and ``dvc exp show`` list: minority average precision of each arm."""
    return {
        f"minority_ap_{shots}_shots": {arm: figures["minority"]["ap"]["mean"] for arm, figures in arms.items()}
        for shots, arms in summary.items()
    }


def natural_weights(test: Labels, natural: Labels) -> Array:
    """Weights [test images], of mean 1, that give the test part's label sets the frequencies they have naturally.

    A finding's prevalence in an enriched test part inflates its average precision; so do the findings that come
    with it, which is why whole label sets are matched. A set of the test part that the natural population never
    shows counts as half an image of it: it is rare, not impossible. Natural sets that the test part lacks drop out.

    Args:
        test: [test images, findings], 0 or 1.
        natural: [natural images, findings], 0 or 1, drawn without enrichment.
    """
    expected = Counter(map(tuple, natural.tolist()))
    observed = Counter(map(tuple, test.tolist()))
    raw = np.array([(expected[sign] or 0.5) / observed[sign] for sign in map(tuple, test.tolist())])
    return np.asarray(raw / raw.mean(), dtype=np.float64)


def _defined(metric, labels: Labels, scores: NDArray[Any], weights: Array | None) -> float:  # type: ignore[no-untyped-def]
    if labels.min() == labels.max():
        return float("nan")
    return float(metric(labels, scores, sample_weight=weights))


def _middles(values: Array, mass: Array) -> Array:
    """For each value the share of ``mass`` below it, half its own and its equals' included; between 0 and 1."""
    _, place = np.unique(values, return_inverse=True)
    held = np.bincount(place, mass)
    return np.asarray((held.cumsum() - held / 2)[place] / held.sum())


def _spread(values: Array) -> dict[str, float | int | None]:
    values = values[~np.isnan(values)]
    n = len(values)
    mean = round(float(values.mean()), 6) if n else None
    return {"mean": mean, "sd": round(float(values.std(ddof=1)), 6) if n > 1 else None, "n": n}
