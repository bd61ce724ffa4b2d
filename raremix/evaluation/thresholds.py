"""The probability from which on a finding is called present."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve


def youden(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Where sensitivity and specificity have the largest sum (Youden 1950), the highest such probability.

    Args:
        labels: [images], 0 or 1, both present.
        probabilities: [images].
    """
    false, true, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    return float(thresholds[1:][(true - false)[1:].argmax()])  # the first is above all
