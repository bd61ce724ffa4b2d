"""Sampling beside ``StableDiffusionPipeline`` with its defaults."""

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline
from models import GPU, fitting, here

from raremix.data import captions
from raremix.generator.base import load
from raremix.generator.sample import Sampling, draw, plain
from raremix.runtime.device import device

IMAGES = BATCH = fitting(16) if GPU else 32  # the pipeline decodes them all at once
STEPS, ROUNDS = 25, 3
PNDM_STEPS = 50  # the pipeline's own default


def by_default(base, batch, steps, precision):
    """The pipeline as its documentation calls it: PNDM, images decoded with the batch; by default in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config, skip_prk_steps=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device(), getattr(torch, precision))

    def call():
        for start in range(0, IMAGES, batch):
            random = [torch.Generator().manual_seed(seed) for seed in range(start, start + batch)]
            pipeline([captions.CLASS_PROMPT] * batch, num_inference_steps=steps, generator=random)

    return call


# The pipeline's batch, steps and precision.
WAYS = {
    "equal steps": (BATCH, STEPS, "float32"),
    "50 PNDM steps, one image a call": (1, PNDM_STEPS, "float32"),
} | ({"equal steps, the pipeline in bfloat16": (BATCH, STEPS, "bfloat16")} if GPU else {})


@pytest.mark.parametrize(("batch", "steps", "precision"), WAYS.values(), ids=WAYS)
def test_synthesis_against_the_pipeline(times_as_fast, base, batch, steps, precision):
    pipeline, sampling = load(base).to(device()), Sampling(STEPS, 7.5, BATCH, here())
    order = plain([captions.CLASS_PROMPT] * IMAGES, range(IMAGES))
    ratio = times_as_fast(lambda: draw(pipeline, order, sampling), by_default(base, batch, steps, precision), ROUNDS)
    print(
        f"\n{IMAGES} images in {STEPS} steps against {steps} of the pipeline, {batch} a call: {ratio:.2f} times as fast"
    )
