"""Where in a radiograph a finding is drawn: where a reader marked it in one of the radiographs that train.

Let loose on a whole chest, a token learned from five radiographs draws what else they had in common, and most of that
is not the finding.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from raremix.data.instances import box_masks
from raremix.data.views import Views, affine
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator, seed_for


@dataclass(frozen=True)
class Places:
    """A place for each of n images."""

    inside: NDArray[np.float32]  # [n, size, size], 1 where the finding is drawn, else 0
    images: list[str]  # the radiograph that it stems from, by id
    readers: list[str]  # whose boxes of it they are


def marked(training: pd.DataFrame, boxes: pd.DataFrame, finding: str, trial: int) -> list[pd.DataFrame]:
    """What readers boxed of ``finding`` in the ``training`` rows of ``trial``: the boxes of one reader in one of them.

    Raises:
        UserError: no reader has marked the finding there.
    """
    carriers = training.loc[training[finding] == 1, "image_id"]
    own = boxes[(boxes["finding"] == finding) & boxes["image_id"].isin(carriers)]
    if own.empty:
        raise UserError(
            f"data/boxes.csv: no reader marked '{finding}' in a radiograph that trial {trial} trains on; say null in "
            "params.yaml, synthesize.place"
        )
    return [drawn for _, drawn in own.groupby(["image_id", "reader"])]


def places(marks: list[pd.DataFrame], finding: str, trial: int, count: int, size: int, views: Views) -> Places:
    """``count`` places of ``finding``, each one of its ``marks`` (see ``marked``), moved a little.

    The first ones are the same whatever the ``count``. What ``views`` move out of the picture stays where it was.
    """
    chosen = [marks[generator("place", finding, trial, index).integers(len(marks))] for index in range(count)]
    whose = pd.concat(drawn[["image_id", "reader"]].head(1) for drawn in chosen)
    moved = [
        _moved(box_masks(drawn, drawn["image_id"].head(1), [finding], size), views, ("place view", finding, trial, k))
        for k, drawn in enumerate(chosen)
    ]
    return Places(np.concatenate(moved), list(whose["image_id"]), list(whose["reader"]))


def _moved(mask: NDArray[np.float32], views: Views, seed: tuple[object, ...]) -> NDArray[np.float32]:
    """A view of ``mask [1, size, size]``, or itself if nothing of it is left."""
    random = torch.Generator().manual_seed(seed_for(*seed))
    view = (affine(torch.from_numpy(mask)[None], views, random)[0] >= 0.5).float().numpy()
    return view if view.any() else mask
