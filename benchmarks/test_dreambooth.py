"""DreamBooth beside diffusers' own ``train_dreambooth.py``: same model, batch and images, prior preservation on.

The script is not ours to keep: ``TRAIN_DREAMBOOTH`` names it (examples/dreambooth of diffusers' repository, at the tag
of the release that requirements.lock pins).
"""

import importlib.util
import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from raremix.data import captions
from raremix.data.views import Views
from raremix.generator import tuned
from raremix.generator.base import load
from raremix.generator.dreambooth import Captioned, DreamBoothTraining, fine_tune
from raremix.runtime import checkpoints
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import device

SCRIPT, BASE = os.environ.get("TRAIN_DREAMBOOTH", ""), Path("models/base")
GPU = torch.cuda.is_available()
STEPS, BATCH, INSTANCES, PRIOR = (60, 12, 5, 200) if GPU else (16, 12, 5, 200)
WARM = 4  # first steps, which are not counted
TOKEN = "<nodule_mass>"
TRAINING = DreamBoothTraining(
    steps=STEPS,
    batch=BATCH,
    accumulation=1,
    gradient_checkpointing=False,
    compiled=False,
    lr=1e-4,
    text_encoder=False,
    prior_weight=1.0,
    box_share=0.8,
    snr_gamma=None,
    ema_decay=None,
    encoded_views=16,
    views=Views(6.0, 0.06, 0.1),
    sample_every=1,  # no sample is drawn: the benchmark reads the clock then
)


@dataclass
class Clock:
    """When each step ended."""

    ends: list[float] = field(default_factory=list)

    def tick(self, *_: object) -> None:
        self.ends.append(perf_counter())

    def seconds_a_step(self) -> float:
        return median(after - before for before, after in pairwise(self.ends[WARM:]))


def ours(images: np.ndarray) -> Clock:
    """Our loop; its seconds a step hold all that a step costs, but not the views, which are encoded before."""
    pipeline, clock = tuned.prepare(BASE, TOKEN, None, None), Clock()
    flat = np.zeros(images.shape, np.float32)
    boxes = flat[:INSTANCES].copy()
    boxes[:, 20:30, 20:30] = 1
    instances = Captioned(images[:INSTANCES], [f"{captions.CLASS_PROMPT} {TOKEN}"] * INSTANCES, boxes)
    prior = Captioned(images[INSTANCES:], [captions.CLASS_PROMPT] * PRIOR, flat[INSTANCES:])
    fine_tune(pipeline, instances, prior, TRAINING, "bfloat16", "benchmark", Checkpoint("benchmark"), clock.tick)
    return clock


def theirs(images: np.ndarray, folder: Path) -> Clock:
    """The script as its documentation calls it, with the flags that make it fast: bf16, prompts encoded once."""
    script, clock = _script(), Clock()
    for name, part in (("instances", images[:INSTANCES]), ("prior", images[INSTANCES:])):
        (folder / name).mkdir(parents=True)
        for index, image in enumerate(part):
            Image.fromarray(image).convert("RGB").save(folder / name / f"{index:03d}.png")

    class Bar(script.tqdm):
        def update(self, count: float | None = 1) -> bool | None:
            clock.tick()
            return super().update(count)

    script.tqdm = Bar
    options: dict[str, Any] = {
        "pretrained_model_name_or_path": BASE.resolve(),
        "instance_data_dir": folder / "instances",
        "class_data_dir": folder / "prior",
        "instance_prompt": f"{captions.CLASS_PROMPT} {TOKEN}",
        "class_prompt": captions.CLASS_PROMPT,
        "num_class_images": PRIOR,
        "resolution": images.shape[-1],
        "train_batch_size": BATCH,
        "max_train_steps": STEPS,
        "learning_rate": TRAINING.lr,
        "mixed_precision": "bf16",
        "output_dir": folder / "out",
    }
    flags = ["--with_prior_preservation", "--pre_compute_text_embeddings", "--set_grads_to_none"]
    script.main(script.parse_args([*flags, *(f"--{name}={value}" for name, value in options.items())]))
    return clock


def _script() -> ModuleType:
    made = importlib.util.spec_from_file_location("train_dreambooth", SCRIPT)
    assert made is not None
    assert made.loader is not None
    script = importlib.util.module_from_spec(made)
    made.loader.exec_module(script)
    return script


@pytest.mark.skipif(not SCRIPT, reason="TRAIN_DREAMBOOTH names no script")
@pytest.mark.skipif(not (BASE / "model_index.json").is_file(), reason="no models/base here; run `dvc repro base`")
@pytest.mark.filterwarnings("ignore")
def test_dreambooth_against_diffusers_script(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SCRATCH", tmp_path / "scratch")
    pipeline = load(BASE)
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    images = np.random.default_rng(0).integers(0, 256, (INSTANCES + PRIOR, side, side), np.uint8)
    other = theirs(images, tmp_path).seconds_a_step()
    mine = benchmark.pedantic(lambda: ours(images), rounds=1).seconds_a_step()
    ratio = other / mine
    benchmark.extra_info.update(times_as_fast=round(ratio, 3), seconds_a_step=mine, theirs=other)
    print(f"\n{BATCH} instances and {BATCH} prior images of {side} pixels, {device().type}: {ratio:.2f} times as fast")
