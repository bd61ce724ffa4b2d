"""Intervals that count images and trials, and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, t

from raremix.evaluation.metrics import Array

SMALLEST_P = 1e-100  # below this a p is called 0; the quantiles stay finite


@dataclass(frozen=True)
class Interval:
    """A difference between two arms, its confidence limits, and the two-sided p of no difference."""

    difference: float
    low: float
    high: float
    p: float


def interval(differences: Array, resampled: Array, level: float) -> Interval:
    """Mean difference between two arms over trials, with limits for new images *and* new trials.

    Two sources of chance add in quadrature: which images were tested (the bootstrap's standard error of the mean
    over these trials, normal quantile) and which trials were drawn (standard deviation of the trials' differences
    / sqrt(T), Student's t with T - 1 degrees of freedom, as T is small):
    ``half width = sqrt((z * se_images)^2 + (t * se_trials)^2)``. p is the level at which the interval touches 0.
    Limits of nominal 95 % cover in 95-98 % of simulated studies with 3 to 5 trials: quadrature errs on the wide side.
    With one trial the trial part is unknown: the interval then counts images only, and is too narrow for the claim.

    Args:
        differences: [trials], metric of one arm minus that of the other, on the images as they are.
        resampled: [draws, trials], the same in each resample of the images; undefined draws (NaN) are left out.
        level: of confidence, between 0 and 1.
    """
    images = float(np.nanstd(resampled.mean(axis=1), ddof=1))
    trials = float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else 0.0
    freedom = max(len(differences) - 1, 1)

    def half_width(alpha: float) -> float:
        return float(np.hypot(norm.isf(alpha / 2) * images, t.isf(alpha / 2, freedom) * trials))

    mean, half = float(differences.mean()), half_width(1 - level)
    if mean == 0:
        p = 1.0
    elif half_width(SMALLEST_P) < abs(mean):
        p = 0.0
    else:
        p = 10 ** brentq(lambda power: half_width(10**power) - abs(mean), np.log10(SMALLEST_P), 0.0)
    return Interval(mean, mean - half, mean + half, p)


def holm(p: Sequence[float]) -> list[float]:
    """``p`` of one family of tests, adjusted so that the family errs no more often than one test does (Holm 1979)."""
    adjusted, floor = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        floor = max(floor, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = floor
    return adjusted
