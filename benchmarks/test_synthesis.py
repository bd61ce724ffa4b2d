"""Sampling beside ``StableDiffusionPipeline`` with its defaults, on models/base or, on a GPU, at full size."""

from pathlib import Path

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline

from raremix.data import captions
from raremix.generator.base import load
from raremix.generator.sample import Sampling, draw, plain
from raremix.runtime.device import device

BASE = Path("models/base")
IMAGES, BATCH, STEPS, ROUNDS = 32, 32, 25, 3
SAMPLING = Sampling(STEPS, 7.5, BATCH, "bfloat16")
PNDM_STEPS = 50  # the pipeline's own default

needs_base = pytest.mark.skipif(
    not (BASE / "model_index.json").is_file(), reason="no models/base here; run `dvc repro base`"
)


def by_default(batch, steps):
    """The pipeline as its documentation calls it: PNDM, float32, images decoded with the batch."""
    pipeline = StableDiffusionPipeline.from_pretrained(BASE, safety_checker=None, requires_safety_checker=False)
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config, skip_prk_steps=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device())

    def call():
        for start in range(0, IMAGES, batch):
            random = [torch.Generator().manual_seed(seed) for seed in range(start, start + batch)]
            pipeline([captions.CLASS_PROMPT] * batch, num_inference_steps=steps, generator=random)

    return call


@needs_base
@pytest.mark.parametrize(
    ("batch", "steps"), [(BATCH, STEPS), (1, PNDM_STEPS)], ids=["equal steps", "50 PNDM steps, one image a call"]
)
def test_synthesis_against_the_pipeline(times_as_fast, batch, steps):
    pipeline = load(BASE).to(device())
    order = plain([captions.CLASS_PROMPT] * IMAGES, range(IMAGES))
    ratio = times_as_fast(lambda: draw(pipeline, order, SAMPLING), by_default(batch, steps), ROUNDS)
    print(
        f"\n{IMAGES} images in {STEPS} steps against {steps} steps of the pipeline, {batch} a call: {ratio:.2f} times"
    )
