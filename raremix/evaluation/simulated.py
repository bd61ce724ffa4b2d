"""Score-level studies whose truth is known, to measure how often the analysis of compare is right."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from raremix.evaluation.metrics import METRICS, Array, Labels, natural_weights
from raremix.evaluation.resampling import resampled_families, resamples
from raremix.evaluation.statistics import Interval, delong, holm, interval
from raremix.runtime.seeds import generator

IMAGES, POSITIVES = 1200, (160, 300)  # of the test part, which is enriched in two findings
NATURAL, IN_NATURAL = 2000, (5, 3)  # images; one in twenty has the first finding, three in twenty have the second
AUROCS = (0.80, 0.80, 0.80, 0.80, 0.75)  # of the candidate, three baselines that equal it, and one that does not
IMAGE, ARM, TRIAL = 0.50, 0.15, 0.35  # a score's variance: the image's own, what an arm makes of it, what a trial does
LARGER = 100  # times: the test part on which the images' standard error is measured
FAMILIES = {"one": [0], "two": [0, 1]}  # the first finding, and the mean of both
LEVEL = 0.95


@dataclass(frozen=True)
class Design:
    """Trials a study, and how much they vary: the SD of a trial's AUROC difference / its standard error by images."""

    trials: int
    ratio: float


def coverage(design: Design, studies: int, draws: int) -> pd.DataFrame:
    """How often limits hold the truth, and how often the candidate is told from a baseline that equals it.

    The truth of a difference in AUROC is known. That in average precision, which is not linear in a trial's skill, is
    taken to be the mean over all studies.

    Returns:
        ``trials,ratio,findings,metric,studies,coverage,false_alarms,family,width``, a row for each metric of one
        finding and of the mean of two. Shares of studies: ``coverage`` of the limits of a true difference,
        ``false_alarms`` of a single comparison, ``family`` of any of three after Holm's correction. ``width`` is the
        mean width of the limits.
    """
    labels, weights = population(1)
    errors = image_errors()
    rows = []
    for study in range(studies):
        rng = generator("coverage", design.trials, design.ratio, study)
        scores = arms(labels, design, errors, rng)
        drawn = resamples(labels, np.arange(len(labels)), draws, rng)
        rows += _outcomes(labels, scores, np.vstack([weights, drawn * weights]))
    table = pd.DataFrame(rows)
    kinds = table.groupby(["findings", "metric"], sort=False)
    truth = kinds.difference.transform("mean").where(table.metric != "auroc", AUROCS[0] - AUROCS[-1])
    table["coverage"] = (table.low <= truth) & (truth <= table.high)
    shares = kinds[["coverage", "false_alarms", "family", "width"]].mean().reset_index()
    shares.insert(2, "studies", studies)
    return pd.concat([pd.DataFrame([vars(design)] * len(shares)), shares], axis=1)


def population(times: int) -> tuple[Labels, Array]:
    """Labels [images, 2] of the test part, ``times`` as large, and weights to natural prevalence."""
    rng = generator("coverage", "labels")
    labels = np.zeros((times * IMAGES, len(POSITIVES)), dtype=np.int64)
    for finding, count in enumerate(POSITIVES):
        labels[rng.permutation(len(labels))[: times * count], finding] = 1
    # The findings are independent: the first goes by an image's place in a row of 100, the second by that in a column.
    natural = (np.arange(NATURAL)[:, None] // [1, 100] % [100, 20] < IN_NATURAL).astype(np.int64)
    return labels, natural_weights(labels, natural)


def image_errors() -> Array:
    """[findings], the standard error by images of one trial's AUROC difference between two arms of equal skill."""
    labels, _ = population(LARGER)
    scores = arms(labels, Design(1, 0.0), np.zeros(len(POSITIVES)), generator("coverage", "errors"))
    errors = [delong(y, scores[0, 0, :, k], scores[1, 0, :, k]).error for k, y in enumerate(labels.T)]
    return np.sqrt(LARGER) * np.array(errors)


def arms(labels: Labels, design: Design, errors: Array, rng: np.random.Generator) -> Array:
    """Scores [arms, trials, images, findings].

    In either class a score is normally distributed, so that its AUROC is known; a trial's is drawn around its arm's.
    Images are as hard for all arms, but an arm errs on some of its own in all its trials, and a classifier on others.

    Args:
        labels: [images, findings].
        design: the number of trials, and how much they vary.
        errors: [findings], in which the trials' variation is measured.
        rng: where the randomness comes from.
    """
    shape = (len(AUROCS), design.trials, labels.shape[1])
    spread = design.ratio * errors / np.sqrt(2)  # a difference varies as two arms do
    drawn = np.array(AUROCS)[:, None, None] + spread * rng.normal(size=shape)
    shift = np.sqrt(2) * norm.ppf(np.clip(drawn, 0.5, 0.99))[:, :, None] * labels
    of_image, of_arm = rng.normal(size=labels.shape), rng.normal(size=(len(AUROCS), 1, *labels.shape))
    of_trial = rng.normal(size=(*shape[:2], *labels.shape))
    return np.asarray(shift + np.sqrt(IMAGE) * of_image + np.sqrt(ARM) * of_arm + np.sqrt(TRIAL) * of_trial)


def _outcomes(labels: Labels, scores: Array, weights: Array) -> list[dict[str, Any]]:
    """What one study finds, a row for each metric and family; the first of ``weights`` are the images as they are."""
    found = [resampled_families(labels, arm, weights, FAMILIES) for arm in scores]
    rows = []
    for findings, metric in product(FAMILIES, METRICS):
        candidate, *equal, worse = (arm[metric][findings] for arm in found)
        limits, p = _compared(candidate, worse), [_compared(candidate, baseline).p for baseline in equal]
        row = {"findings": findings, "metric": metric, "difference": limits.difference}
        row |= {"low": limits.low, "high": limits.high, "width": limits.high - limits.low}
        alarms = {"false_alarms": np.mean([value < 1 - LEVEL for value in p]), "family": min(holm(p)) < 1 - LEVEL}
        rows.append(row | alarms)
    return rows


def _compared(arm: Array, other: Array) -> Interval:
    return interval((arm - other)[0], (arm - other)[1:], LEVEL)
