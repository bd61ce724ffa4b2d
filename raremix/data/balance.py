"""Even counts of several findings an image: by weights, by dropping images, by adding images."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Marks = NDArray[np.int64]  # 0/1 labels [images, findings]


def needed(labels: pd.DataFrame) -> dict[str, int]:
    """Positives that each finding (a 0/1 column of the training rows) lacks to be as frequent as the most frequent."""
    counts = labels.sum()
    return {str(finding): int(counts.max() - n) for finding, n in counts.items()}


def oversampled(marks: Marks) -> NDArray[np.float64]:
    """A weight for each image, so that each finding's weighted count is the largest finding's count.

    Raking (Deming & Stephan 1940, iterative proportional fitting): of all weights with those counts, the ones nearest
    to equal in relative entropy. An image with a rare and a frequent finding is repeated less than one with the rare
    finding alone, so that repeating the first does not lift the second: repeat factors per image (Gupta et al. 2019,
    LVIS) can't do that. Images without a finding keep weight 1. Where no weights reach even counts (each image of a
    finding carries another as well), the result is the nearest after 200 rounds.
    """
    weights = np.ones(len(marks))
    target = float(marks.sum(axis=0).max())
    for _ in range(200):
        for column in marks.T.astype(bool):
            weights[column] *= target / weights[column].sum()
        if np.abs(weights @ marks / target - 1).max() < 1e-6:
            break
    return weights


def undersampled(marks: Marks, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which images stay, so that the counts of the findings are as even as dropping can make them.

    Images whose findings are all more frequent than the rarest one's count are dropped, those with most findings
    first, in a drawn order; no finding falls below the rarest one's count. Images without a finding shrink by the same
    factor as the most frequent finding, so the prevalence is the one of ``oversampled``.
    """
    order = rng.permutation(len(marks))
    keep = np.ones(len(marks), bool)
    counts = marks.sum(axis=0)
    least, most = int(counts.min()), int(counts.max())
    several = order[np.argsort(-marks[order].sum(axis=1), kind="stable")]
    for image in several:
        if marks[image].any() and (counts - marks[image])[marks[image] == 1].min() >= least:
            keep[image] = False
            counts = counts - marks[image]
    normal = order[~marks[order].any(axis=1)]
    keep[normal[round(len(normal) * least / most) :]] = False
    return keep


def stream_weights(positives: list[Marks], prevalence: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """The shares of a stream that each group of positives takes, and the rest for negatives, to reach ``prevalence``.

    ``positives[i]``: labels ``[images, findings]`` of group i, one group per finding. The shares sum to 1 with the
    rest; they solve ``sum_i share_i * mean(positives[i]) = prevalence``.

    Raises:
        ValueError: no such shares between 0 and 1 exist.
    """
    means = np.stack([group.mean(axis=0) for group in positives])
    shares = np.linalg.solve(means.T, prevalence)
    rest = 1 - shares.sum()
    if shares.min() < 0 or rest <= 0:
        raise ValueError(f"shares {shares.round(4).tolist()}, rest {rest:.4f}")
    return shares, float(rest)
