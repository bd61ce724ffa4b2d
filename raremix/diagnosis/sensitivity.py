"""How strongly a classifier reacts to each attribute, from edits of images; and how well that agrees with the truth.

An edit moves its target, and a little of everything else. So the effect of an attribute is not read off its own
edits: the changes in probability of all edits of all images are regressed on the changes that an independent reader
sees in all attributes at once. An effect is a change in probability over the way from the attribute's low end to its
high end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from raremix.runtime.seeds import generator

Array = NDArray[np.float64]
DRAWS = 500
RIDGE = 1e-3  # of the regression, in squared standard deviations of an attribute
PERMUTATIONS = 1000


@dataclass(frozen=True)
class Changes:
    """What m edits did to the same n images."""

    targets: NDArray[np.int64]  # the attribute that each edit is for, [m]
    doses: Array  # [m]
    read: Array  # changes in units of the attributes, [m, n, attributes]
    probability: Array  # changes in the classifier's probability, [m, n, findings]
    flipped: NDArray[np.bool_]  # whether its decision at the threshold changed, [m, n, findings]
    natural: NDArray[np.bool_]  # whether the target is still as far out as in real images at most, [m, n]

    def moved(self, attributes: int) -> Array:
        """How far each attribute's own edits moved it, from the most negative dose to the most positive; in units."""
        found = np.zeros(attributes)
        for k in set(self.targets.tolist()):
            of = np.flatnonzero(self.targets == k)
            low, high = of[np.argmin(self.doses[of])], of[np.argmax(self.doses[of])]
            found[k] = self.read[high, :, k].mean() - self.read[low, :, k].mean()
        return found


def effects(changes: Changes, reach: Array, readable: list[int], seed: str) -> tuple[Array, Array]:
    """The effects ``[attributes, findings]``, and ``DRAWS`` of them from images drawn with replacement.

    ``reach [attributes]`` is the way between the ends in units. Only edits count that leave their target ``natural``:
    a woman made still more of a woman tells nothing of men. What is not ``readable`` has no effect: NaN.
    """
    read, counted = changes.read[:, :, readable], changes.natural.astype(float)
    products = np.einsum("mn,mna,mnb->nab", counted, read, read)
    responses = np.einsum("mn,mna,mnf->naf", counted, read, changes.probability)
    count = products.shape[0]
    drawn = generator("sensitivity", seed).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    weights = np.concatenate([np.ones((1, count)), drawn])
    ridge = RIDGE * counted.sum() * np.eye(len(readable))
    slopes = np.linalg.solve(
        np.einsum("wn,nab->wab", weights, products) + ridge, np.einsum("wn,naf->waf", weights, responses)
    )
    found = np.full((len(weights), len(reach), responses.shape[2]), np.nan)
    found[:, readable] = slopes * reach[readable][:, None]
    return found[0], found[1:]


def null(pointless: Changes, moved: Array, reach: Array) -> tuple[Array, Array]:
    """The 2.5 % and 97.5 % quantiles of edits along directions that mean nothing: low and high ``[findings]``.

    Their changes from the lowest to the highest dose are scaled as the effects of attributes typically are: by the
    median of ``reach`` over ``moved``, of the attributes that were moved.
    """
    scale = float(np.median(reach / moved)) if len(moved) else 1.0
    spans = []
    for k in sorted(set(pointless.targets.tolist())):
        of = np.flatnonzero(pointless.targets == k)
        low, high = of[np.argmin(pointless.doses[of])], of[np.argmax(pointless.doses[of])]
        spans.append((pointless.probability[high] - pointless.probability[low]).mean(axis=0) * scale)
    low, high = np.quantile(spans, [0.025, 0.975], axis=0)
    return low, high


def agreement(estimates: Array, draws: Array, true: Array, seed: str) -> dict[str, float | None]:
    """Spearman's rank correlation of ``estimates`` and ``true [attributes, findings]``, over both.

    ``low`` and ``high`` are of the ``draws [.., attributes, findings]`` of the estimates; ``null`` is what 95 % of
    permutations of the attributes stay below. None of fewer than three attributes.
    """
    if len(estimates) < 3:
        return {"spearman": None, "low": None, "high": None, "null": None, "attributes": len(estimates)}
    rng = generator("agreement", seed)
    low, high = np.quantile([_rank(one, true) for one in draws], [0.025, 0.975])
    permuted = [_rank(estimates, true[rng.permutation(len(true))]) for _ in range(PERMUTATIONS)]
    figures = {"spearman": _rank(estimates, true), "low": low, "high": high, "null": np.quantile(permuted, 0.95)}
    return {**{name: round(float(value), 4) for name, value in figures.items()}, "attributes": len(estimates)}


def _rank(estimates: Array, true: Array) -> float:
    if np.ptp(estimates) == 0 or np.ptp(true) == 0:
        return 0.0
    return float(spearmanr(estimates.ravel(), true.ravel()).statistic)


def resampled(values: Array, seed: str) -> Array:
    """``DRAWS`` means of ``values [n, findings]`` over images drawn with replacement."""
    count = len(values)
    return np.asarray(
        generator("interval", seed).multinomial(count, np.full(count, 1 / count), size=DRAWS) @ values / count
    )


def interval(values: Array, seed: str) -> tuple[Array, Array, Array]:
    """Mean of ``values [n, findings]`` over images, and its 95 % percentile bootstrap interval."""
    low, high = np.quantile(resampled(values, seed), [0.025, 0.975], axis=0)
    return values.mean(axis=0), low, high
