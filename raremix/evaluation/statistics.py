"""Is a difference between two arms more than chance? Intervals for images and trials, tests, Holm's correction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binom, chi2, nct, norm, rankdata, t

from raremix.evaluation.metrics import Array, Labels
from raremix.evaluation.resampling import resampled_metrics, resamples
from raremix.runtime.errors import UserError

EXACT_BELOW = 25  # discordant pairs; from here on McNemar's test takes the chi-square distribution
LARGEST_FREEDOM = 1e6  # where Student's t is the normal distribution to six digits

LOGARITHMS = np.linspace(-60.0, 8.0, 1361)  # of chi-square; beyond them lies less than 1e-12 of it
CHI_SQUARE = np.exp(LOGARITHMS)


@dataclass(frozen=True)
class Interval:
    """A difference between two arms, its confidence limits, and the two-sided p of no difference.

    ``error`` is its standard error, ``freedom`` the degrees of freedom of that (infinite if only images count).
    """

    difference: float
    low: float
    high: float
    p: float
    error: float
    freedom: float


@dataclass(frozen=True)
class DeLong:
    """Two AUROCs on the same images, a minus b, its standard error, z, and the two-sided p of no difference."""

    auroc_a: float
    auroc_b: float
    difference: float
    error: float
    z: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """How many images only a, and only b, decides rightly; the test's statistic and two-sided p; if it is exact."""

    only_a: int
    only_b: int
    statistic: float
    p: float
    exact: bool


def interval(differences: Array, resampled: Array, level: float) -> Interval:
    """Mean difference between two arms over trials, with limits for new images *and* new trials.

    The trials' spread holds all that differs between trials, the noise of images included as far as it hits each
    trial's classifiers on its own. What it lacks is the noise of images that hits all trials alike: the covariance
    between trials over the resamples. So the mean's variance is ``shared + own``: that covariance (not below 0) and the
    variance of the differences / T. The first is as good as known, the second has T - 1 degrees of freedom.

    For such a sum no test is exact (Behrens and Fisher). Satterthwaite's degrees of freedom find too much with three
    trials (95 % limits cover in 92 % of studies), their own posterior and half widths in quadrature too little (98 %).
    ``_beyond`` blends that posterior with a narrower one. If ``shared`` were known, limits of 95 % would cover in 95.0
    to 96.3 % of studies with three trials, in 94.7 to 95.6 % with four to ten, in 95.0 to 98.9 % with two, and no p
    would come more than 1.05 times as often as it says; simulated studies agree (docs/statistics.md).

    With one trial the trials' spread is unknown: the interval then counts images only, and is too narrow for the claim.

    Args:
        differences: [trials], metric of one arm minus that of the other, on the images as they are.
        resampled: [draws, trials], the same in each resample of the images; undefined draws (NaN) are left out.
        level: of confidence, between 0 and 1.
    """
    shared, own = _variances(differences, resampled)
    mean, count = float(differences.mean()), len(differences)
    error = float(np.sqrt(shared + own))
    freedom = (count - 1) * (1 + shared / own) ** 2 if own > 0 else float("inf")
    if error == 0:
        return Interval(mean, mean, mean, float(mean == 0), error, freedom)
    beyond = _beyond(shared, own, count)
    alpha = 1 - level
    # Each part stays within its own limit of alpha / 2; both at once, so the sum, at least as often as asked for.
    furthest = norm.isf(alpha / 4) * np.sqrt(shared) + t.isf(alpha / 4, max(count - 1, 1)) * np.sqrt(own)
    half = float(brentq(lambda distance: beyond(distance) - alpha, 0.0, furthest, rtol=1e-12))
    return Interval(mean, mean - half, mean + half, beyond(abs(mean)), error, freedom)


def detectable(found: Interval, power: float = 0.8) -> float:
    """The smallest true difference that would have been told from none with probability ``power``.

    A difference is told from none when it exceeds the interval's half width; in units of its standard error it follows
    the noncentral t distribution (Cohen 1988, chapter 2; as ``TTestPower`` of statsmodels and R's ``power.t.test``).
    Standard error and half width are those of this comparison: with few trials they are estimates themselves.
    """
    if found.error == 0:
        return 0.0
    critical, freedom = (found.high - found.low) / 2 / found.error, min(found.freedom, LARGEST_FREEDOM)
    units = brentq(lambda shift: nct.sf(critical, freedom, shift) - power, 0.0, 3 * critical + 10)
    return float(units * found.error)


def paired_bootstrap(
    y: Labels, a: Array, b: Array, groups: NDArray[Any], seed: int, level: float = 0.95, draws: int = 1000
) -> Interval:
    """The AUROC of a minus that of b, mean over trials, with limits for new patients and new trials.

    Both arms and all trials are scored in the same resamples of patients (stratified cluster bootstrap: Davison and
    Hinkley 1997, 3.2 and 3.8; see ``raremix.evaluation.resampling.resamples``), and ``interval`` puts images and trials
    together.

    Args:
        y: [images], 0 or 1.
        a: [trials, images], any monotone score; trial k of a and of b share their draw of the experiment.
        b: as ``a``.
        groups: [images], the patient of each image.
        seed: of the resamples.
        level: of confidence, between 0 and 1.
        draws: number of resamples.

    Raises:
        UserError: shapes that do not fit, labels other than 0 and 1, or less than two images of either class.
    """
    _check(y, a, b)
    if len(groups) != len(y):
        raise UserError(f"{len(y)} images, but the patients of {len(groups)}; give one for each image")
    counts = resamples(y[:, None], groups, draws, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(y)), counts])  # the first draw: the images as they are
    scored = [[resampled_metrics(y, scores, weights)["auroc"] for scores in arm] for arm in (a, b)]
    difference = np.subtract(*np.array(scored)).T
    return interval(difference[0], difference[1:], level)


def delong(y: Labels, a: Array, b: Array) -> DeLong:
    """Whether two scores of the same images differ in AUROC (DeLong, DeLong and Clarke-Pearson 1988).

    By midranks, in O(n log n) (Sun and Xu 2014): an image's placement is the share of the other class that it outranks
    (ties count half); the variance of the difference is that of the placements' differences, class by class. Images
    count equally and as independent; where patients have several, or trials count too, take ``paired_bootstrap``.
    Scores that rank alike have z = 0 and p = 1; a difference without any variance has an infinite z and p = 0.

    Args:
        y: [images], 0 or 1, at least two of each.
        a: [images], any monotone score.
        b: as ``a``.

    Raises:
        UserError: shapes that do not fit, labels other than 0 and 1, or less than two images of either class.
    """
    _check(y, a, b)
    of_a, of_b = _placements(y, a), _placements(y, b)
    auroc_a, auroc_b = (float(positives.mean()) for positives, _ in (of_a, of_b))
    error = float(np.sqrt(sum((p - q).var(ddof=1) / len(p) for p, q in zip(of_a, of_b, strict=True))))
    difference = auroc_a - auroc_b
    z = difference / error if error > 0 else float(np.copysign(np.inf, difference)) if difference else 0.0
    return DeLong(auroc_a, auroc_b, difference, error, z, float(2 * norm.sf(abs(z))))


def mcnemar(y: Labels, a: Labels, b: Labels) -> McNemar:
    """Whether two arms' decisions on the same images are equally often right (McNemar 1947).

    Only images that one arm alone decides rightly tell them apart. Below 25 of these the test is the exact binomial
    one, and the statistic the smaller count; from 25 on it is chi-square with one degree of freedom and Edwards's
    (1948) continuity correction. Without any p is 1. Both are as ``mcnemar`` of statsmodels.

    Args:
        y: [images], 0 or 1.
        a: [images], 0 or 1, the decisions at the threshold.
        b: as ``a``.

    Raises:
        UserError: shapes that do not fit, or labels or decisions other than 0 and 1.
    """
    _check_shapes(y, a, b)
    for name, values in (("labels", y), ("decisions a", a), ("decisions b", b)):
        _check_binary(name, values)
    only_a, only_b = int(((a == y) & (b != y)).sum()), int(((a != y) & (b == y)).sum())
    fewer, total = min(only_a, only_b), only_a + only_b
    if total < EXACT_BELOW:
        return McNemar(only_a, only_b, float(fewer), min(1.0, 2 * float(binom.cdf(fewer, total, 0.5))), True)
    statistic = (abs(only_a - only_b) - 1) ** 2 / total
    return McNemar(only_a, only_b, statistic, float(chi2.sf(statistic, 1)), False)


def holm(p: Sequence[float]) -> list[float]:
    """``p`` of one family of tests, adjusted so that the family errs no more often than one test does (Holm 1979).

    Args:
        p: [tests], each between 0 and 1, in any order.

    Returns:
        [tests], in the same order: the k-th smallest p times the number of tests not yet stepped down, at most 1.
    """
    adjusted, floor = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        floor = max(floor, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = floor
    return adjusted


def _variances(differences: Array, resampled: Array) -> tuple[float, float]:
    """The two parts of the mean difference's variance: by images that hit all trials alike, and by trials."""
    trials = len(differences)
    defined = resampled[~np.isnan(resampled).any(axis=1)]
    covariance = np.atleast_2d(np.cov(defined, rowvar=False))
    if trials == 1:
        return float(covariance.item()), 0.0
    between = (covariance.sum() - covariance.trace()) / (trials * (trials - 1))
    return max(float(between), 0.0), float(differences.var(ddof=1)) / trials


def _beyond(shared: float, own: float, trials: int) -> Callable[[float], float]:
    """How probable it is that the truth lies further than a distance from the mean difference.

    Two posteriors of the trials' variance v are blended: Behrens's and Fisher's (prior 1 / v, T - 1 degrees of
    freedom), in which few trials may always have agreed by luck, and a narrower one (prior 1 / v^3, T + 3) for trials
    that vary little. The first one's weight grows with ``own`` against ``shared``, and with the distance: it takes
    trials that vary to bring the truth so far off. Its constants, (T - 2) / (T - 1) and 1 / 20, are those with which p
    holds what it says at all levels and ratios of the variances.
    """
    freedom, middle = max(trials - 1, 1), shared * max(trials - 2, 0) / max(trials - 1, 1)
    step = LOGARITHMS[1] - LOGARITHMS[0]  # evenly spaced, they make the integral over chi-square a plain sum
    wide, narrow = (chi2.pdf(CHI_SQUARE, degrees) * CHI_SQUARE * step for degrees in (freedom, freedom + 4))
    errors = np.sqrt(shared + freedom * own / CHI_SQUARE)

    def beyond(distance: float) -> float:
        scale = own + distance**2 / 20
        weight = (scale / np.hypot(scale, middle)) ** 2 if scale > 0 else 1.0
        return float(2 * (weight * wide + (1 - weight) * narrow) @ ndtr(-distance / errors))

    return beyond


def _placements(y: Labels, scores: Array) -> tuple[Array, Array]:
    """For each positive the share of negatives below it, and for each negative that of positives above it."""
    positive = y == 1
    ranks, n_pos = rankdata(scores), int(positive.sum())
    below = (ranks[positive] - rankdata(scores[positive])) / (len(y) - n_pos)
    above = 1 - (ranks[~positive] - rankdata(scores[~positive])) / n_pos
    return below, above


def _check(y: Labels, a: Array, b: Array) -> None:
    _check_shapes(y, a, b)
    _check_binary("labels", y)
    positive = int((y == 1).sum())
    if min(positive, len(y) - positive) < 2:
        raise UserError(f"{positive} of {len(y)} images have the finding; AUROCs are compared on two or more of each")


def _check_shapes(y: Labels, a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape or a.shape[-1] != len(y):
        raise UserError(f"{len(y)} labels, but scores of shape {a.shape} and {b.shape}; give one for each image")


def _check_binary(name: str, values: NDArray[Any]) -> None:
    if not np.isin(values, (0, 1)).all():
        raise UserError(f"{name} must be 0 or 1, not {values[~np.isin(values, (0, 1))][0]}")
