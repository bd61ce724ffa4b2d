"""The same scores on the images of three readers alone.

Of VinDr-CXR's abnormal images 94 % were read by the same three of 17 radiologists, of the normal ones few were: who
read an image tells whether it is abnormal, and a classifier that can see a trace of it may look better than it is.
Among these readers' images it can't.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from raremix.data.findings import TRIO
from raremix.evaluation.metrics import Array, Labels, score_table
from raremix.evaluation.runs import Run

COLUMNS = ["shots", "arm", "trial", "finding", "images", "positives", "auroc", "ap"]


def images_within(manifest: pd.DataFrame) -> set[str]:
    """The ``image_id`` of those in ``manifest`` that the trio read; none where readers are not known."""
    return set(manifest.loc[manifest["reader_trio"] == "|".join(sorted(TRIO)), "image_id"])


def scores_within(
    within: set[str], run: Run, ids: Sequence[str], labels: Labels, scores: Array, groups: dict[str, list[int]]
) -> pd.DataFrame:
    """A row a finding or group of ``groups``: ``shots, arm, trial, finding, images, positives, auroc, ap``.

    ``labels`` and ``scores [images, findings]`` are of ``ids``; without one of them ``within`` there is no row. What is
    not defined, as no image or each carries a finding, is NaN. The positives of a group are images with any of its
    findings.
    """
    kept = np.array([image in within for image in ids])
    if not kept.any():
        return pd.DataFrame(columns=COLUMNS)
    table = score_table(labels[kept], scores[kept], groups)
    carried = [int(labels[kept][:, members].any(axis=1).sum()) for members in groups.values()]
    table = table.assign(shots=run.shots, arm=run.arm, trial=run.trial, images=int(kept.sum()), positives=carried)
    return table[COLUMNS]
