"""The domain gap: can an arm's added images be told from real ones that carry the same findings?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raremix.evaluation.audit import real_or_synthetic

LEAST = 10  # images of either kind that carry a finding, without which a probe says nothing of it

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def gap(real: Array, real_labels: Labels, added: Array, added_labels: Labels) -> float:
    """AUC (0.5 is perfect) of a probe, the mean over kinds of images: carriers of each finding, and of none.

    Kind by kind, for a probe that tells a sick chest from a healthy one would pass for one that tells a synthetic from
    a real one. NaN if no kind has enough images.

    Args:
        real: features [n, width] of real images that no model has seen.
        real_labels: [n, findings], 0 or 1.
        added: features [m, width].
        added_labels: [m, findings].
    """
    areas = []
    for ours, theirs in zip(_kinds(real_labels), _kinds(added_labels), strict=True):
        if min(ours.sum(), theirs.sum()) >= LEAST:
            areas.append(real_or_synthetic(real[ours], added[theirs]))
    return float(np.mean(areas)) if areas else float("nan")


@dataclass(frozen=True)
class Kind:
    """Images alike: carriers of one finding, or of none."""

    place: int  # among the findings, or their number
    real: NDArray[np.bool_]  # [n], which they are
    added: NDArray[np.bool_]  # [m]


def largest_kind(real_labels: Labels, added_labels: Labels) -> Kind | None:
    """The kind of which a probe has most images to learn from, counting the rarer of ``real`` and ``added`` ones.

    None if no kind has enough images. The arguments are as in ``gap``.
    """
    pairs = zip(_kinds(real_labels), _kinds(added_labels), strict=True)
    kinds = [Kind(place, *pair) for place, pair in enumerate(pairs)]
    best = max(kinds, key=lambda kind: min(kind.real.sum(), kind.added.sum()))
    return best if min(best.real.sum(), best.added.sum()) >= LEAST else None


def _kinds(labels: Labels) -> list[NDArray[np.bool_]]:
    return [*(column == 1 for column in labels.T), ~labels.any(axis=1)]
