"""Edits of images, and what they change: in the target, in everything else, by readers that did not guide them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray

from raremix.data.captions import CLASS_PROMPT
from raremix.data.manifest import read_manifest
from raremix.data.trial import read_trial
from raremix.diagnosis.hspace import drawn, inverted
from raremix.diagnosis.process import Edit
from raremix.generator.sample import Order, Sampling, plain
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Way:
    """Images on their way from noise, before step ``start``."""

    pipeline: StableDiffusionPipeline
    noise: torch.Tensor  # [n, channels, side, side]
    order: Order
    sampling: Sampling
    start: int

    def images(self, edit: Edit | None = None) -> NDArray[np.uint8]:
        """Where it leads, on request edited: grey images ``[n, size, size]``."""
        return drawn(self.pipeline, self.noise, self.order, self.sampling, edit, self.start)

    def some(self, part: slice) -> "Way":
        """The same for ``part`` of the images."""
        return replace(self, noise=self.noise[part], order=self.order[part])


def check_start(start: int, steps: int) -> None:
    """Refuse edits that ``start`` where none of ``steps`` is left to edit.

    Raises:
        UserError: says how many steps there are.
    """
    if start > steps - 2:
        raise UserError(
            f"params.yaml, editing.start: {start} leaves no step to edit of latents.sampling.steps = {steps}, for the "
            "last is left alone; lower it"
        )


def patients(manifest: Path, splits: Path) -> pd.DataFrame:
    """The rows of validation, one image a patient: no classifier and no reader has learned from them."""
    rows = read_manifest(manifest)
    part = rows["image_id"].map(read_trial(splits / "trial0.csv").set_index("image_id")["part"])
    return rows[part == "validation"].groupby("patient_id").head(1).sort_values("image_id")


def chosen(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """``count`` of the ``rows`` of ``patients``.

    Raises:
        UserError: there are fewer.
    """
    if len(rows) < count:
        raise UserError(
            f"params.yaml, editing.images: {count} patients of validation are needed, not {len(rows)}; lower it"
        )
    return rows.iloc[np.sort(generator("editing").choice(len(rows), count, replace=False))]


def back(
    pipeline: StableDiffusionPipeline, images: NDArray[np.uint8], sampling: Sampling, refinements: int, start: int
) -> Way:
    """Real ``images`` walked back to before step ``start``, without guidance."""
    unguided = replace(sampling, guidance=1.0)
    noise = inverted(pipeline, images, [CLASS_PROMPT] * len(images), unguided, refinements, start)
    return Way(pipeline, noise, plain([CLASS_PROMPT] * len(images), range(len(images))), unguided, start)


def along(move: NDArray[np.float32], dose: float, step: int) -> Edit:
    """The edit that goes ``dose`` times ``move [channels, side, side]`` in e-space at ``step``."""
    return Edit("e", {step: dose * torch.from_numpy(move)[None]})


def selectivity(changes: Array, target: int, readable: Sequence[int]) -> tuple[float, float]:
    """The mean of the other ``readable`` attributes' absolute mean changes, and how many times that the target's is.

    ``changes [n, attributes]`` are in standard deviations; the change of the target keeps its sign.
    """
    means = changes.mean(axis=0)
    rest = [abs(means[k]) for k in readable if k != target]
    others = float(np.mean(rest)) if rest else float("nan")
    return others, float(means[target]) / others if others > 0 else float("nan")
