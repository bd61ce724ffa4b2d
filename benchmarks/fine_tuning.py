"""Our DreamBooth loop on images of noise, with a clock at the end of each step."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from time import perf_counter
from uuid import uuid4

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from models import here
from torch.optim.optimizer import register_optimizer_step_post_hook

from raremix.data import captions
from raremix.data.views import Views
from raremix.generator import tuned
from raremix.generator.dreambooth import Captioned, DreamBoothTraining, fine_tune
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import device

WARM = 5  # first steps, which are not counted
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


@dataclass
class Clock:
    """When each step ended."""

    ends: list[float] = field(default_factory=list)

    def tick(self, *_: object) -> None:
        if device().type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(perf_counter())

    def seconds_a_step(self) -> float:
        return median(after - before for before, after in pairwise(self.ends[WARM - 1 :]))


def noise(base: StableDiffusionPipeline, count: int) -> np.ndarray:
    """As many images at the size that the pipeline draws."""
    side = base.unet.config.sample_size * base.vae_scale_factor
    return np.random.default_rng(0).integers(0, 256, (count, side, side), np.uint8)


def ours(
    base: StableDiffusionPipeline, images: np.ndarray, instances: int, steps: int, batch: int, **changes: object
) -> Clock:
    """All that a step costs, but not the views, which are encoded before; the first ``images`` are the instances."""
    pipeline, clock = tuned.prepare(base, TOKEN, None, None), Clock()
    flat = np.zeros(images.shape, np.float32)
    boxes = flat[:instances].copy()
    boxes[:, 20:30, 20:30] = 1
    taught = Captioned(images[:instances], [f"{captions.CLASS_PROMPT} {TOKEN}"] * instances, boxes)
    prior = Captioned(images[instances:], [captions.CLASS_PROMPT] * (len(images) - instances), flat[instances:])
    checkpoint = Checkpoint("benchmark", uuid4().hex)  # some run side by side
    training = replace(TRAINING, steps=steps, batch=batch, **changes)
    ticking = register_optimizer_step_post_hook(clock.tick)
    fine_tune(pipeline, taught, prior, training, here(), "benchmark", checkpoint, lambda step: None)
    ticking.remove()
    checkpoint.clear()
    return clock
