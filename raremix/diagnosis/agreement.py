"""How well estimated effects agree with the true ones."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from raremix.runtime.seeds import generator

Array = NDArray[np.float64]
PERMUTATIONS = 1000
FEWEST = 3  # attributes, whose order could mean something


def agreement(estimates: Array, draws: Array, true: Array, seed: str) -> dict[str, float | None]:
    """Spearman's rank correlation of ``estimates`` and ``true [attributes, findings]``, over both.

    ``low`` and ``high`` are of the ``draws [.., attributes, findings]`` of the estimates; ``null`` is what 95 % of
    permutations of the attributes stay below. None of fewer than three attributes.
    """
    if len(estimates) < FEWEST:
        return {"spearman": None, "low": None, "high": None, "null": None, "attributes": len(estimates)}
    rng = generator("agreement", seed)
    low, high = np.quantile([rank(one, true) for one in draws], [0.025, 0.975])
    permuted = [rank(estimates, true[rng.permutation(len(true))]) for _ in range(PERMUTATIONS)]
    figures = {"spearman": rank(estimates, true), "low": low, "high": high, "null": np.quantile(permuted, 0.95)}
    return {**{name: round(float(value), 4) for name, value in figures.items()}, "attributes": len(estimates)}


def rank(estimates: Array, true: Array) -> float:
    """Spearman's correlation over attributes and findings; 0 where one of the two does not vary."""
    if np.ptp(estimates) == 0 or np.ptp(true) == 0:
        return 0.0
    return float(spearmanr(estimates.ravel(), true.ravel()).statistic)
