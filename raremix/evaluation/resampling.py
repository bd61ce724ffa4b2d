"""A bootstrap over images that sorts once: resamples are weights, so one cumulative sum scores all of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raremix.evaluation.metrics import METRICS, Array, Labels

SMALLEST_STRATUM = 5  # patients; rarer label sets are resampled together, for one patient alone never varies


def resamples(labels: Labels, patients: NDArray[Any], draws: int, rng: np.random.Generator) -> Array:
    """How often each image stands in each bootstrap resample: [draws, images].

    Patients are drawn with replacement, all images of one together, within strata of equal label sets, so that a
    rare finding stays as frequent as it is (stratified cluster bootstrap; Davison and Hinkley 1997, 3.2 and 3.8).

    Args:
        labels: [images, findings], 0 or 1; a patient has a finding if one of its images has.
        patients: [images], the patient of each image.
        draws: number of resamples.
        rng: where the randomness comes from.
    """
    _, patient = np.unique(patients, return_inverse=True)
    signs = np.zeros((patient.max() + 1, labels.shape[1]), dtype=np.int64)
    np.maximum.at(signs, patient, labels)
    counts = np.zeros((draws, len(signs)))
    for stratum in _strata(signs):
        counts[:, stratum] = rng.multinomial(len(stratum), np.full(len(stratum), 1 / len(stratum)), size=draws)
    return counts[:, patient]


def resampled_metrics(labels: Labels, scores: Array, weights: Array) -> dict[str, Array]:
    """AUROC and average precision under many sets of image weights at once, ties as scikit-learn treats them.

    Args:
        labels: [images], 0 or 1.
        scores: [images].
        weights: [draws, images], at least 0.

    Returns:
        ``{"auroc": [draws], "ap": [draws]}``, NaN where a draw leaves positives or negatives without weight.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    ordered = weights[:, order]
    positive = np.cumsum(ordered * labels[order], axis=1)[:, last_of_tie]
    total = np.cumsum(ordered, axis=1)[:, last_of_tie]
    negative = total - positive
    gained = np.diff(positive, axis=1, prepend=0)
    before = np.diff(negative, axis=1, prepend=0) / 2 + negative[:, -1:] - negative
    precision = np.divide(positive, total, out=np.zeros(total.shape), where=total > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ap = (gained * precision).sum(1) / positive[:, -1]
        auroc = (gained * before).sum(1) / (positive[:, -1] * negative[:, -1])
    undefined = (positive[:, -1] <= 0) | (negative[:, -1] <= 0)
    return {"auroc": np.where(undefined, np.nan, auroc), "ap": np.where(undefined, np.nan, ap)}


def resampled_families(
    labels: Labels, trials: Array, weights: Array, groups: dict[str, list[int]]
) -> dict[str, dict[str, Array]]:
    """Every metric of every family of findings in every draw and trial: ``{metric: {family: [draws, trials]}}``.

    Args:
        labels: [images, findings], 0 or 1.
        trials: [trials, images, findings], the scores.
        weights: [draws, images].
        groups: see ``raremix.evaluation.metrics.families``.
    """
    columns = range(labels.shape[1])
    single = [[resampled_metrics(labels[:, k], scores[:, k], weights) for k in columns] for scores in trials]
    cube = {m: np.array([[column[m] for column in trial] for trial in single]) for m in METRICS}  # trial, finding, draw
    return {m: {name: cube[m][:, members].mean(1).T for name, members in groups.items()} for m in METRICS}


def _strata(signs: Labels) -> list[NDArray[np.int64]]:
    _, label_set = np.unique(signs, axis=0, return_inverse=True)
    large = np.bincount(label_set) >= SMALLEST_STRATUM
    members = [np.flatnonzero(label_set == index) for index in np.flatnonzero(large)]
    rest = np.flatnonzero(~large[label_set])
    return [*members, rest] if len(rest) else members
