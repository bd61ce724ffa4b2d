"""The few radiographs DreamBooth learns from, and the ordinary ones it must not forget."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raremix.data.manifest import findings as findings_of
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator

LARGE = 0.75  # quantile of the marked areas from which a finding counts as large


def choose(
    training: pd.DataFrame, votes: pd.DataFrame, boxes: pd.DataFrame, finding: str, trial: int, count: int | None
) -> pd.DataFrame:
    """The ``count`` clearest of the ``training`` rows (manifest columns) that carry ``finding``; all if None.

    Clear is what most readers marked; of those, the quarter that they marked largest (a finding that stands alone tends
    to be a slight one); of those, what comes with the fewest other findings. Ties are drawn by lot.

    Raises:
        UserError: there are fewer than ``count``.
    """
    candidates = training[training[finding] == 1].sort_values("image_id")
    if len(candidates) < (count or 1):
        raise UserError(
            f"params.yaml, dreambooth.instances: {count or 1} asked for, but trial {trial} trains on {len(candidates)} "
            f"images with {finding}; ask for fewer or raise study.shots"
        )
    order = pd.DataFrame(
        {
            "readers": -votes.set_index("image_id").loc[candidates["image_id"], finding].to_numpy(),
            "others": candidates[findings_of(training)].sum(axis=1).to_numpy(),
            "lot": generator("instances", finding, trial).permutation(len(candidates)),
        },
        index=candidates.index,
    )
    area = candidates["image_id"].map(_marked_area(boxes[boxes["finding"] == finding])).fillna(0.0)
    order["smaller"] = area < area.groupby(order["readers"]).transform("quantile", LARGE)
    chosen = order.sort_values(["readers", "smaller", "others", "lot"]).index[:count]
    return candidates.loc[chosen]


def _marked_area(boxes: pd.DataFrame) -> "pd.Series[float]":
    """By image: the area that a reader who marked it put into boxes, on average, in squared pixels."""
    area = (boxes["x_max"] - boxes["x_min"]) * (boxes["y_max"] - boxes["y_min"])
    return area.groupby([boxes["image_id"], boxes["reader"]]).sum().groupby("image_id").mean()


def ordinary(training: pd.DataFrame, votes: pd.DataFrame, trial: int, count: int) -> pd.DataFrame:
    """``count`` of the ``training`` rows in which no reader marked anything, drawn for ``trial``.

    Raises:
        UserError: there are fewer than ``count``.
    """
    marked = votes.set_index("image_id")[findings_of(training)].any(axis=1)
    normal = training[~training["image_id"].map(marked)].sort_values("image_id")
    if len(normal) < count:
        raise UserError(
            f"params.yaml, dreambooth.prior.images: {count} asked for, {len(normal)} normal images to train on"
        )
    drawn = generator("prior", trial).permutation(len(normal))[:count]
    return normal.iloc[np.sort(drawn)]


def box_masks(boxes: pd.DataFrame, images: pd.Series, findings: Collection[str], size: int) -> NDArray[np.float32]:
    """1 inside any reader's box of ``findings``, else 0: ``[n, size, size]`` in the order of ``images``."""
    masks = np.zeros((len(images), size, size), np.float32)
    rows = {image: index for index, image in enumerate(images)}
    own = boxes[boxes["finding"].isin(findings) & boxes["image_id"].isin(rows)]
    first = np.floor(own[["x_min", "y_min"]].to_numpy()).astype(int)
    last = np.ceil(own[["x_max", "y_max"]].to_numpy()).astype(int)
    for image, (left, top), (right, bottom) in zip(own["image_id"], first, last, strict=True):
        masks[rows[image], top:bottom, left:right] = 1
    return masks
