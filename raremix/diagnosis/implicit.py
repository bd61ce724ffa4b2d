"""The implicit function: how h has to change at a sampling step so that one attribute of the image changes.

After Kwon et al. 2023, section 3.3, with four differences that latent diffusion asks for. What guides it is a reader of
latents, of the image that the UNet predicts at the step, not CLIP. One network serves all attributes and any dose, of
either sign. The noise moves with the predicted image: edits are symmetric. And its output is scaled: the middle
block is so narrow a way past the skip connections that a shift has to be many times as long as h itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import UNet2DConditionModel
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import silu

from raremix.diagnosis.process import Course, Edit, Words, predicted
from raremix.diagnosis.readers import LatentReader
from raremix.diagnosis.stored import Latents
from raremix.runtime import weights
from raremix.runtime.device import Precision, device, seeded
from raremix.runtime.errors import UserError, one_line
from raremix.runtime.losses import Losses
from raremix.runtime.progress import track
from raremix.runtime.schedule import cosine
from raremix.runtime.seeds import seed_for

GROUPS = 8
SCALE = 20.0
MOST = 1.5  # the largest dose that is trained


@dataclass(frozen=True)
class ImplicitTraining:
    """The budget, and what is asked of an edit."""

    steps: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat
    width: PositiveInt
    target: PositiveFloat  # how many times a miss of the target weighs what a change of another attribute does
    keep: NonNegativeFloat  # weight of the predicted image's mean squared change
    precision: Precision

    def __post_init__(self) -> None:
        if self.width % GROUPS:
            raise UserError(f"params.yaml, implicit.width: {self.width} is no multiple of {GROUPS}")


class Implicit(nn.Module):
    """f(s, h): from ``h [n, channels, side, side]`` at step s to a shift of it for each attribute, at a dose of 1."""

    def __init__(self, channels: int, steps: int, attributes: int, width: int) -> None:
        super().__init__()
        self.attributes = attributes
        self.step = nn.Embedding(steps, width)
        self.norm, self.enter = nn.GroupNorm(GROUPS, channels), nn.Conv2d(channels, width, 1)
        self.inner_norm, self.inner = nn.GroupNorm(GROUPS, width), nn.Conv2d(width, width, 3, 1, 1)
        self.leave = nn.Conv2d(width, channels * attributes, 1)
        for part in self.leave.parameters():
            nn.init.zeros_(part)

    def forward(self, h: torch.Tensor, step: int) -> torch.Tensor:
        """``[n, attributes, channels, side, side]``."""
        inside = self.enter(silu(self.norm(h))) + self.step.weight[step][:, None, None]
        inside = inside + self.inner(silu(self.inner_norm(inside)))
        return SCALE * self.leave(silu(inside)).unflatten(1, (self.attributes, -1))


def edit(implicit: Implicit, attribute: int, dose: float, steps: range, branch: str = "both") -> Edit:
    """The edit that moves ``attribute`` (its index) by ``dose`` at ``steps``."""

    def at(step: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda h: dose * implicit(h, step)[:, attribute]

    return Edit("h", {step: at(step) for step in steps}, branch, asymmetric=False)  # type: ignore[arg-type]


def train(
    unet: UNet2DConditionModel,
    latents: Latents,
    kept: NDArray[np.int64],
    words: Words,
    course: Course,
    reader: LatentReader,
    units: NDArray[np.float32],
    training: ImplicitTraining,
) -> tuple[Implicit, pd.DataFrame]:
    """Fit f on the ways of real images, the rows ``kept`` of ``latents``; and the squared misses of the target.

    At a dose c the reader shall see attribute k of the predicted image change by c times ``units [attributes]``, and
    the others stay. ``words`` are one prompt without guidance. The last step is left out: there is next to no noise
    left to predict an image from.

    Returns ``step, attribute, asked, missed`` a training example: squared changes, in shares of the unit.

    Raises:
        UserError: h is too thin for groups of channels.
    """
    h, e = latents.h, latents.e
    if h.shape[3] % GROUPS:
        raise UserError(
            f"params.yaml, base.denoiser.channels: the last, {h.shape[3]}, is no multiple of {GROUPS}, which the "
            "implicit function asks for"
        )
    torch.manual_seed(seed_for("implicit"))
    implicit = Implicit(h.shape[3], len(course.timesteps), len(units), training.width).to(device())
    optimizer = torch.optim.Adam(implicit.parameters(), training.lr)
    for frozen in (unet, reader):
        frozen.requires_grad_(False)
    scale, rows, losses = torch.from_numpy(units).to(device()), [], Losses()
    every = torch.arange(training.batch, device=device())
    for iteration in track(range(training.steps), "implicit function", training.steps):
        random = seeded("implicit", iteration)
        step = int(torch.randint(len(course.timesteps) - 1, (), generator=random))
        chosen = kept[torch.randint(len(kept), (training.batch,), generator=random).numpy()]
        attribute = torch.randint(len(units), (training.batch,), generator=random).to(device())
        dose = (MOST * (2 * torch.rand(training.batch, generator=random) - 1)).to(device())
        noisy, inner = (_tensor(array, chosen, step) for array in (e, h[:, :, 0]))
        text = Words(words.prompt.expand(training.batch, -1, -1), words.negative, 1.0)
        with torch.no_grad():
            before = predicted(unet, noisy, text, course, step, training.precision)[0]
            was = reader(before)
        shift = implicit(inner, step)[every, attribute] * dose[:, None, None, None]
        after = predicted(unet, noisy, text, course, step, training.precision, Edit("h", {step: shift}))[0]
        changed = (reader(after) - was) / scale
        wanted = torch.zeros_like(changed)
        wanted[every, attribute] = dose
        missed = (changed - wanted) ** 2
        # Others count by how far they move in their own standard deviations, the target by its share of what is asked.
        weights = scale.square().expand_as(missed).clone()
        weights[every, attribute] = training.target
        loss = (weights * missed).mean() + training.keep * ((after - before) ** 2).mean()
        optimizer.param_groups[0]["lr"] = training.lr * cosine(iteration, training.steps, warmup=training.steps // 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        miss = missed[every, attribute].detach().cpu()
        rows.append(
            pd.DataFrame({"step": step, "attribute": attribute.cpu(), "asked": dose.cpu() ** 2, "missed": miss})
        )
    assert len(losses.values) == training.steps  # reads the last ones, too
    return implicit.eval().requires_grad_(False), pd.concat(rows)


def save(file: Path, implicit: Implicit) -> None:
    """Write f to ``file``; its shape can be read off its weights."""
    weights.write(file, implicit.state_dict())


def load(file: Path) -> Implicit:
    """What ``save`` wrote.

    Raises:
        UserError: there is no such file, or it is not whole.
    """
    remedy = "run `dvc repro implicit`"
    if not file.is_file():
        raise UserError(f"{file}: no implicit function; {remedy}")
    learned = weights.read(file, remedy)
    try:
        (steps, width), channels = learned["step.weight"].shape, len(learned["norm.weight"])
        implicit = Implicit(channels, steps, len(learned["leave.bias"]) // channels, width)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{file}: not the weights of an implicit function ({one_line(error)}); {remedy}") from None
    weights.fill(implicit, learned, file, remedy)
    return implicit.to(device()).eval().requires_grad_(False)


def _tensor(array: NDArray[np.float16], chosen: NDArray[np.int64], step: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[chosen, step])).float().to(device())
