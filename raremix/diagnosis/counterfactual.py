"""Counterfactuals: the smallest edit of an image that flips a classifier's decision, drawn by a diffusion model.

A real image is walked back to a step of DDIM's course, its latent there is shifted (e-space), and the rest is walked
forth again, so that the model draws what changes. As in DiME and ACE (Jeanneret et al. 2022, 2023) the classifier's
gradient leads, through all remaining steps; as in ZOOM (Luo et al. 2023) the latent is what is searched. The smallest
shift is found as Rony et al. 2019 find adversarial examples (decoupled direction and norm): there is no weight
between the size of an edit and the decision that would have to be tuned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from jsonargparse.typing import NonNegativeInt, PositiveInt
from numpy.typing import NDArray
from torch import nn

from raremix.classifier.model import normalised, on_device
from raremix.classifier.predict import probability
from raremix.data.captions import CLASS_PROMPT
from raremix.diagnosis.process import Course, course, invert, walk, words
from raremix.generator.latents import decode, encode
from raremix.generator.sample import Order
from raremix.runtime.device import Precision, arithmetic, device
from raremix.runtime.errors import UserError
from raremix.runtime.progress import track

Array = NDArray[np.float64]
Images = NDArray[np.uint8]

BATCH = 32  # images that are searched at once
FIRST, GROWTH = 0.02, 1.35  # the first edit's norm, of its latent's, and by what it grows until it flips, then shrinks
HALVINGS = 6  # of what was found, as long as it flips


@dataclass(frozen=True)
class Search:
    """How the smallest edit is looked for."""

    steps: PositiveInt  # of DDIM from noise to image
    step: NonNegativeInt  # before which the latent is shifted; images are walked back so far
    refinements: NonNegativeInt  # of each step of the way back
    iterations: PositiveInt  # gradients of the decision by the edit
    precision: Precision

    def __post_init__(self) -> None:
        if self.step >= self.steps:
            raise UserError(f"params.yaml, explain.step: {self.step} leaves none of {self.steps} steps; lower it")


@dataclass(frozen=True)
class Decision:
    """What is to be flipped: whether a classifier's probability reaches a threshold."""

    model: nn.Module  # logits of what ``normalised`` gives
    output: int  # of its logits
    threshold: float  # 0..1


@dataclass(frozen=True)
class Counterfactuals:
    """Of ``n`` images, what they become."""

    before: Images  # walked back and forth without an edit, so that no error of the way counts as one
    after: Images  # with the smallest edit that flips; with the last that was tried if none does
    chances: Array  # the classifier's probability before and after: [n, 2]
    flipped: NDArray[np.bool_]
    sizes: Array  # norm of the edit, of its latent's norm


def counterfactuals(
    pipeline: StableDiffusionPipeline, images: Images, decision: Decision, search: Search
) -> Counterfactuals:
    """The counterfactual of each of ``images [n, side, side]``: without the finding if it is seen in it, else with."""
    parts = [
        _counterfactuals(pipeline, images[start : start + BATCH], decision, search)
        for start in track(range(0, len(images), BATCH), "counterfactuals")
    ]
    return Counterfactuals(
        *(np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True))
    )


def _counterfactuals(
    pipeline: StableDiffusionPipeline, images: Images, decision: Decision, search: Search
) -> Counterfactuals:
    way = _Way(pipeline, images, decision, search)
    before = way.pictures(torch.zeros_like(way.latents))
    first = way.chances(before)
    there = first >= decision.threshold
    side = torch.from_numpy(np.where(there, 1.0, -1.0)).to(way.latents)
    edit = _smallest(lambda edit: side * way.excess(edit), way.latents, search.iterations)
    after = way.pictures(edit)
    last = way.chances(after)
    flipped = (last >= decision.threshold) != there
    low, high = np.zeros(len(images)), np.ones(len(images))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tried = way.pictures(edit * _wide(torch.from_numpy(middle).to(edit)))
        chances = way.chances(tried)
        enough = flipped & ((chances >= decision.threshold) != there)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        after, last = np.where(enough[:, None, None], tried, after), np.where(enough, chances, last)
    sizes = high * (_norms(edit) / _norms(way.latents)).double().cpu().numpy()
    return Counterfactuals(before, after, np.stack([first, last], axis=1), flipped, sizes)


def _smallest(margin: Callable[[torch.Tensor], torch.Tensor], latents: torch.Tensor, iterations: int) -> torch.Tensor:
    """The smallest edit of ``latents [n, channels, side, side]`` seen whose ``margin [n]`` is below 0, else the last.

    Each step goes down the slope and back to a sphere, which shrinks when the decision is flipped and grows until then.
    """
    radius, edit = FIRST / GROWTH * _norms(latents), torch.zeros_like(latents)
    best, least = edit, torch.full_like(radius, torch.inf)
    for iteration in range(iterations):
        edit = edit.detach().requires_grad_()
        left = margin(edit)
        (slope,) = torch.autograd.grad(left.sum(), edit)
        edit, flipped, size = edit.detach(), left < 0, _norms(edit.detach())
        better = flipped & (size > 0) & (size < least)
        best, least = torch.where(_wide(better), edit, best), torch.where(better, size, least)
        radius = torch.where(flipped, radius / GROWTH, radius * GROWTH)
        pace = radius * (1 + cos(pi * iteration / iterations)) / 2
        edit = _wide(radius) * _direction(edit - _wide(pace) * _direction(slope))
    return torch.where(_wide(least.isinf()), edit, best)


class _Way:
    """From the latents before a step to pictures, and to what a classifier says of them."""

    def __init__(self, pipeline: StableDiffusionPipeline, images: Images, decision: Decision, search: Search) -> None:
        whole, prompts = course(pipeline, search.steps), [CLASS_PROMPT] * len(images)
        self._rest = Course(whole.timesteps[search.step :], whole.shares[search.step :], whole.predicts_v)
        self._text = words(pipeline, Order(prompts, prompts, range(len(images))), 1.0, search.precision)
        self._unet, self._autoencoder, self._precision = pipeline.unet, pipeline.vae, search.precision
        self._model, self._decision = on_device(decision.model).eval(), decision
        clean = encode(pipeline.vae, images, search.precision).to(device())
        self.latents = invert(self._unet, clean, self._text, self._rest, self._precision, search.refinements)

    @torch.no_grad()
    def pictures(self, edit: torch.Tensor) -> Images:
        return decode(self._autoencoder, self._clean(edit), self._precision)

    def chances(self, pictures: Images) -> Array:
        return probability(self._model, pictures, self._precision)[:, self._decision.output]

    def excess(self, edit: torch.Tensor) -> torch.Tensor:
        """By how much the logits ``[n]`` of the pictures are above the threshold's; gradients flow, rounding aside."""
        border = torch.tensor(self._decision.threshold).logit(eps=1e-6).item()
        latents = self._clean(edit) / self._autoencoder.config.scaling_factor
        with arithmetic(self._precision):
            grey = self._autoencoder.decode(latents).sample.float().mean(1, keepdim=True)
            pixels = (grey.clamp(-1, 1) + 1) * 127.5
            rounded = pixels + (pixels.round() - pixels).detach()
            logits = self._model(normalised(rounded / 255))
        return logits[:, self._decision.output].float() - border

    def _clean(self, edit: torch.Tensor) -> torch.Tensor:
        return walk(self._unet, self.latents + edit, self._text, self._rest, self._precision)


def _norms(latents: torch.Tensor) -> torch.Tensor:
    return latents.flatten(1).norm(dim=1)


def _direction(latents: torch.Tensor) -> torch.Tensor:
    """Of norm 1, or nothing where there is none."""
    return latents / _wide(_norms(latents).clamp(min=torch.finfo(latents.dtype).tiny))


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]
