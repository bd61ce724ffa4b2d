"""The probability from which on a finding is called present."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from raremix.runtime.errors import UserError


def operating_points(predictions: pd.DataFrame, findings: Sequence[str], whose: str) -> NDArray[np.float64]:
    """``youden``'s point of each of ``findings`` on the ``predictions`` of validation: finding, label, probability.

    Raises:
        UserError: names ``whose`` predictions they are, if all images have a finding, or none has.
    """
    points = []
    for finding in findings:
        of = predictions[predictions["finding"] == finding]
        if of["label"].nunique() < 2:
            raise UserError(
                f"{whose}: validation needs images with and without '{finding}' for a threshold; raise "
                "phantom.train_images or split.validation"
            )
        points.append(youden(of["label"].to_numpy(), of["probability"].to_numpy()))
    return np.array(points)


def youden(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Where sensitivity and specificity have the largest sum (Youden 1950), the highest such probability.

    Args:
        labels: [images], 0 or 1, both present.
        probabilities: [images].
    """
    false, true, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    return float(thresholds[1:][(true - false)[1:].argmax()])  # the first is above all
