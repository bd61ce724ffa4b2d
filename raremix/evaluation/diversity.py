"""How many different images there are: the axis beside the domain gap (``raremix.evaluation.gap``)."""

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler, normalize

Array = NDArray[np.float64]


def effective_number(features: Array, reference: Array) -> float:
    """The Vendi score of images (Friedman and Dieng 2023): 1 if all look alike, n if no two have anything in common.

    The exponential of the entropy of the eigenvalues of the similarity matrix / n, similarity being the cosine between
    features that were centred and scaled by ``reference``: without that, all radiographs are alike. It grows with the
    number of images, so compare sets of about the same size. NaN without images.

    Args:
        features: [images, width].
        reference: [real images, width], the same for all sets that are compared.
    """
    if not len(features):
        return float("nan")
    rows = normalize(StandardScaler().fit(reference).transform(features))
    # The eigenvalues other than 0 of rows rows' are those of rows' rows, which has the width of a feature.
    values = np.linalg.eigvalsh(rows.T @ rows / len(rows))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum())) if len(values) else 1.0


def added_diversity(real: Array, added: Array, reference: Array) -> float:
    """By how much ``added`` raises the effective number of different images among the ``real``; below 0 it narrows it.

    Each image counts once, so that repeating real ones, evenly or not, adds exactly 0. Rows of features are the same
    image if they are equal to the last bit: look a repeated image's features up, don't compute them again.

    Args:
        real: [images, width], at least one.
        added: [images, width], perhaps none.
        reference: as in ``effective_number``.
    """
    distinct = np.unique(real, axis=0)
    together = np.unique(np.concatenate([distinct, added]), axis=0)
    if len(together) == len(distinct):
        return 0.0
    return effective_number(together, reference) - effective_number(distinct, reference)
