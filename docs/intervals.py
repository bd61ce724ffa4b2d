"""Measure docs/intervals.csv: python docs/intervals.py

How far each of five intervals for a mean over trials is from what it says, over all ratios of the two variances that it
adds, ``shared`` known: from the least to the most, by integration. Some minutes on one core.

All that can be random is the mean itself, which is normal, and the trials' own variance, which is their true one times
chi-square / (T - 1), independent of it.
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import chi2, norm, t

from raremix.evaluation.statistics import LARGEST_FREEDOM, _beyond
from raremix.runtime.files import replacing

Array = NDArray[np.float64]
Beyond = Callable[[float], float]  # how probable it is that the truth lies further than a distance from the mean

ASKED = ((2, 0.05), (3, 0.05), (5, 0.05), (3, 1 / 60))  # trials, and one less the level
SHARES = np.linspace(0, 1, 41)  # of the mean's variance, that the trials' own has
QUANTILES = (np.arange(400) + 0.5) / 400
FARTHEST = 1e5  # in standard errors of the mean


def satterthwaite(shared: float, own: float, trials: int) -> Beyond:
    """Student's t with the degrees of freedom of Satterthwaite (1946)."""
    freedom = min((trials - 1) * (1 + shared / own) ** 2, LARGEST_FREEDOM)
    return lambda distance: float(2 * t.sf(distance / np.sqrt(shared + own), freedom))


def quadrature(shared: float, own: float, trials: int) -> Beyond:
    """The half widths of a normal and of Student's interval, squared and added."""
    p, of_normal, of_student = _squares(trials)
    return lambda distance: float(np.interp(distance**2, shared * of_normal + own * of_student, p))


@cache
def _squares(trials: int) -> tuple[Array, Array, Array]:
    """For p from 1 down: the squared half widths of the normal's and of Student's interval at that level."""
    p = np.geomspace(1e-12, 1, 4000)[::-1]
    return p, norm.isf(p / 2) ** 2, t.isf(p / 2, trials - 1) ** 2


def posterior(shared: float, own: float, trials: int, power: int) -> Beyond:
    """Where the trials' variance v has the prior 1 / v^power; Behrens's and Fisher's at 1."""
    errors = np.sqrt(shared + (trials - 1) * own / _quantiles(trials - 3 + 2 * power))
    return lambda distance: float(2 * ndtr(-distance / errors).mean())


@cache
def _quantiles(freedom: int) -> Array:
    """Of chi-square, 2,000 evenly spaced."""
    return np.asarray(chi2.ppf((np.arange(2000) + 0.5) / 2000, freedom))


def matching(shared: float, own: float, trials: int) -> Beyond:
    """Where it has the prior (T shared + v) / v^2: with it posterior and confidence limits agree to second order."""
    first, second = (posterior(shared, own, trials, power) for power in (1, 2))
    weight = own / (own + shared)  # by the integrals of either prior times the likelihood
    return lambda distance: weight * first(distance) + (1 - weight) * second(distance)


def blend(shared: float, own: float, trials: int) -> Beyond:
    """The study's."""
    return _beyond(shared, own, trials)


METHODS = {
    "Student's t with Satterthwaite's degrees of freedom": satterthwaite,
    "posterior, prior `(T shared + v) / v^2`": matching,
    "half widths in quadrature": quadrature,
    "posterior, prior `1 / v` (Behrens and Fisher's)": lambda *parts: posterior(*parts, 1),
    "**a blend of that and the posterior of `1 / v^3`**": blend,
}


def main(out: Path) -> None:
    """Write a row a method, number of trials and alpha: the least and the most that its limits err, over the shares."""
    rows = []
    for (name, method), (trials, alpha) in product(METHODS.items(), ASKED):
        errs = [erring(method, share, trials, alpha) for share in SHARES]
        rows.append((name, trials, alpha, min(errs), max(errs)))
        print(*rows[-1], flush=True)
    with replacing(out) as temporary:
        table = pd.DataFrame(rows, columns=["method", "trials", "alpha", "least", "most"])
        table.to_csv(temporary, index=False, float_format="%.5g")


def erring(method: Callable[[float, float, int], Beyond], share: float, trials: int, alpha: float) -> float:
    """How often limits of the level 1 - ``alpha`` miss the truth, where the trials' own variance has that ``share``."""
    missed = []
    for value in chi2.ppf(QUANTILES, trials - 1):
        own = max(share * value / (trials - 1), 1e-12)
        missed.append(2 * norm.sf(_width(method(1 - share, own, trials), alpha)))
    return float(np.mean(missed))


def _width(beyond: Beyond, alpha: float) -> float:
    """The distance beyond which the truth lies with the probability ``alpha``."""
    return float(brentq(lambda distance: beyond(distance) - alpha, 0, FARTHEST, xtol=1e-4))


if __name__ == "__main__":
    main(Path(__file__).parent / "intervals.csv")
