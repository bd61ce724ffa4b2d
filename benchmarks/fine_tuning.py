"""Our DreamBooth loop on images of noise, with a clock at the end of each step."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf
from multiprocessing import get_context
from statistics import median
from time import perf_counter
from typing import TypeVar
from unittest.mock import patch
from uuid import uuid4

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from models import GPU, here
from torch.optim.optimizer import register_optimizer_step_post_hook

from raremix.data import captions
from raremix.data.views import Views
from raremix.generator import dreambooth, tuned
from raremix.generator.dreambooth import Captioned, DreamBoothTraining, fine_tune
from raremix.runtime import checkpoints
from raremix.runtime.checkpoints import Checkpoint

T = TypeVar("T")
LR, TOKEN = 1e-4, "<nodule_mass>"
TRAINING = DreamBoothTraining(
    steps=1,
    batch=1,
    accumulation=1,
    gradient_checkpointing=False,
    compiled=False,
    optimizer="adamw",
    lr=LR,
    text_encoder=False,
    prior_weight=1.0,
    box_share=0.8,
    snr_gamma=None,
    ema_decay=None,
    encoded_views=16,
    views=Views(6.0, 0.06, 0.1),
    sample_every=0,
)


@dataclass(frozen=True)
class Run:
    """How long a fine-tuning is, and on how many images."""

    steps: int
    warm: int  # first steps, which are not counted
    batch: int
    instances: int
    prior: int


@dataclass
class Clock:
    """When each step ended."""

    warm: int  # first steps, which are not counted
    ends: list[float | torch.cuda.Event] = field(default_factory=list)

    def tick(self, *_: object) -> None:
        """On a GPU a mark among its work, which nobody waits for."""
        if GPU:
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
            self.ends.append(mark)
        else:
            self.ends.append(perf_counter())

    def seconds_a_step(self) -> float:
        if GPU:
            torch.cuda.synchronize()
        return median(_between(*pair) for pair in pairwise(self.ends[self.warm - 1 :]))


def _between(before: float | torch.cuda.Event, after: float | torch.cuda.Event) -> float:
    """Seconds."""
    if isinstance(before, float):
        return after - before
    return before.elapsed_time(after) / 1000


def in_parts(parts: int, images: int) -> int:
    """In place of working through a step in more parts, which would be another measurement.

    Raises:
        MemoryError: always.
    """
    raise MemoryError(f"no memory for {images} images in {parts} parts: measure a smaller batch")


def alone(call: Callable[..., T], *arguments: object) -> T:
    """What ``call`` returns in a process of its own: its memory and its settings end with it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def noise(base: StableDiffusionPipeline, run: Run) -> np.ndarray:
    """As many images as the ``run`` has, instances first, at the size that the pipeline draws."""
    side = base.unet.config.sample_size * base.vae_scale_factor
    return np.random.default_rng(0).integers(0, 256, (run.instances + run.prior, side, side), np.uint8)


def ours(base: StableDiffusionPipeline, images: np.ndarray, run: Run, **changes: object) -> Clock:
    """All that a step costs, but not the views, which are encoded before; the first ``images`` are the instances."""
    pipeline, clock, instances = tuned.prepare(base, TOKEN, None, None), Clock(run.warm), run.instances
    flat = np.zeros(images.shape, np.float32)
    boxes = flat[:instances].copy()
    boxes[:, 20:30, 20:30] = 1
    taught = Captioned(images[:instances], [f"{captions.CLASS_PROMPT} {TOKEN}"] * instances, boxes)
    prior = Captioned(images[instances:], [captions.CLASS_PROMPT] * (len(images) - instances), flat[instances:])
    checkpoint = Checkpoint("benchmark", uuid4().hex)  # some run side by side
    training = replace(TRAINING, steps=run.steps, batch=run.batch, **changes)
    ticking = register_optimizer_step_post_hook(clock.tick)
    never = patch.object(checkpoints, "SECONDS_BETWEEN_SAVES", inf)  # no step that is timed writes a state
    with never, patch.object(dreambooth, "_more", in_parts):
        fine_tune(pipeline, taught, prior, training, here(), "benchmark", checkpoint, lambda step: None)
    ticking.remove()
    checkpoint.clear()
    return clock
