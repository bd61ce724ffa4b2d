"""The way from noise to image and back, open to be read and changed at every step.

DDIM (Song et al. 2021) adds no noise on the way, so that a way can be walked back. The spaces: **h**, the output of the
UNet's middle block (Kwon et al. 2023), and **e**, the latent x_t that the UNet is given.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

from raremix.generator.sample import Order
from raremix.generator.tokens import encode
from raremix.runtime.device import Precision, arithmetic, device
from raremix.runtime.errors import UserError

Space = Literal["h", "e"]
Branch = Literal["both", "prompt", "negative"]
Seen = Callable[[int, torch.Tensor, torch.Tensor], None]
Shift = torch.Tensor | Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Course:
    """The sampling steps, the noisiest first."""

    timesteps: list[int]  # of the training schedule, one a step
    shares: torch.Tensor  # of the signal's variance (alpha bar) before each step and after the last: [steps + 1]
    predicts_v: bool  # else the noise


@dataclass(frozen=True)
class Words:
    """What ``n`` images are drawn with; at a guidance of 1 the negative text is not asked."""

    prompt: torch.Tensor  # embeddings [n, length, width]
    negative: torch.Tensor
    guidance: float

    @property
    def branches(self) -> int:
        """How many predictions a step needs for an image."""
        return 1 if self.guidance == 1 else 2


@dataclass(frozen=True)
class Edit:
    """What is added on the way."""

    space: Space
    # By step, [1 or n, channels, side, side], or what gives that for [n, channels, side, side]; other steps stay.
    shifts: Mapping[int, Shift]
    branch: Branch = "both"  # of guidance, in h; without guidance there is the prompt's alone
    asymmetric: bool = True  # in h: shift the predicted image alone (Kwon et al. 2023, equation 5), not the noise


def course(pipeline: StableDiffusionPipeline, steps: int) -> Course:
    """DDIM's course of ``steps`` through the pipeline's own noise schedule."""
    # Stable Diffusion's own schedule ends a hair before the clean latent; spaced to timestep 0, it ends there twice.
    schedule = DDIMScheduler.from_config(pipeline.scheduler.config, set_alpha_to_one=True)
    schedule.set_timesteps(steps)
    timesteps = schedule.timesteps.tolist()
    shares = torch.cat([schedule.alphas_cumprod[timesteps], schedule.final_alpha_cumprod[None]])
    return Course(timesteps, shares.to(device()), schedule.config.prediction_type == "v_prediction")


@torch.no_grad()
def words(pipeline: StableDiffusionPipeline, order: Order, guidance: float, precision: Precision) -> Words:
    """The text embeddings of an order."""
    with arithmetic(precision):
        prompt, negative = (
            encode(texts, pipeline.tokenizer, pipeline.text_encoder)
            for texts in (order.prompts, order.negative_prompts)
        )
    return Words(prompt, negative, guidance)


def walk(
    unet: UNet2DConditionModel,
    latents: torch.Tensor,
    words: Words,
    course: Course,
    precision: Precision,
    edit: Edit | None = None,
    seen: Seen | None = None,
    start: int = 0,
) -> torch.Tensor:
    """From noise ``latents [n, channels, side, side]`` to clean ones, by DDIM (Song et al. 2021, equation 12).

    Of another ``start``, the latents are what the steps before it have made.

    ``seen(step, h, e)`` is called with ``h [branches, n, channels, side, side]``, negative first, and ``e [n, channels,
    side, side]`` of every step, edits included. Gradients flow; wrap the call in ``torch.no_grad()`` to save memory.

    Raises:
        UserError: the UNet has no middle block.
    """
    for step in range(start, len(course.timesteps)):
        shift = None if edit is None else edit.shifts.get(step)
        if edit is not None and edit.space == "e" and shift is not None:
            latents = latents + _added(shift, latents)
        in_h = edit if edit is not None and edit.space == "h" and shift is not None else None
        clean, noise, h = predicted(unet, latents, words, course, step, precision, in_h)
        if seen is not None:
            seen(step, h, latents)
        if in_h is not None and in_h.asymmetric:
            _, noise, _ = predicted(unet, latents, words, course, step, precision, None)
        share = course.shares[step + 1]
        latents = share.sqrt() * clean + (1 - share).sqrt() * noise
    return latents


@torch.no_grad()
def invert(
    unet: UNet2DConditionModel,
    latents: torch.Tensor,
    words: Words,
    course: Course,
    precision: Precision,
    refinements: int,
    start: int = 0,
) -> torch.Tensor:
    """The noise from which ``walk`` of that ``start`` returns to the clean ``latents``; ``words`` of guidance 1.

    Each step is solved for its start by fixed-point iteration (Pan et al. 2023, equation 9); with none, this is DDIM
    inversion, which takes the prediction at the step's end for that at its start.
    """
    for step in reversed(range(start, len(course.timesteps))):
        end, before, after = latents, course.shares[step], course.shares[step + 1]
        for _ in range(1 + refinements):
            _, noise, _ = predicted(unet, latents, words, course, step, precision, None)
            clean = (end - (1 - after).sqrt() * noise) / after.sqrt()
            latents = before.sqrt() * clean + (1 - before).sqrt() * noise
    return latents


def predicted(
    unet: UNet2DConditionModel,
    latents: torch.Tensor,
    words: Words,
    course: Course,
    step: int,
    precision: Precision,
    edit: Edit | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clean latents and noise as the UNet sees them in ``latents [n, channels, side, side]``, and its h by branch.

    What ``edit`` has for ``step`` is added to h, and is in both; ``h [branches, n, channels, side, side]``.

    Raises:
        UserError: the UNet has no middle block.
    """
    branches, read = words.branches, []
    text = torch.cat([words.negative, words.prompt]) if branches == 2 else words.prompt

    def change(h: torch.Tensor) -> torch.Tensor:
        parts = h.unflatten(0, (branches, len(latents)))
        if edit is not None:
            parts = parts + _by_branch(edit, step, parts)
        read.append(parts)
        return parts.flatten(0, 1)

    with arithmetic(precision), _middle(unet, change):
        output = unet(torch.cat([latents] * branches), course.timesteps[step], text).sample.float()
    if branches == 2:
        negative, prompt = output.chunk(2)
        output = negative + words.guidance * (prompt - negative)
    signal, sigma = course.shares[step].sqrt(), (1 - course.shares[step]).sqrt()
    if course.predicts_v:
        return signal * latents - sigma * output, signal * output + sigma * latents, read[0]
    return (latents - sigma * output) / signal, output, read[0]


def _by_branch(edit: Edit, step: int, h: torch.Tensor) -> torch.Tensor:
    """The shift of each branch of ``h [branches, n, ...]``; without guidance, prompt is the only one."""
    factors = {"both": (1, 1), "negative": (1, 0), "prompt": (0, 1)}[edit.branch][-len(h) :]
    return torch.stack([factor * _added(edit.shifts[step], part) for factor, part in zip(factors, h, strict=True)])


def _added(shift: Shift, values: torch.Tensor) -> torch.Tensor:
    """What is added to ``values``, in their precision."""
    return (shift if isinstance(shift, torch.Tensor) else shift(values.float())).to(values)


@contextmanager
def _middle(unet: UNet2DConditionModel, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """``change`` stands between the UNet's middle block and what follows."""
    if unet.mid_block is None:
        raise UserError("the checkpoint's UNet has no middle block, so no h-space; take one that has")
    hook = unet.mid_block.register_forward_hook(lambda _module, _inputs, output: change(output))
    try:
        yield
    finally:
        hook.remove()
