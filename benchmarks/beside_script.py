"""DreamBooth beside diffusers' own ``train_dreambooth.py``: same model, batch and images, prior preservation on.

The script is not ours to keep: ``TRAIN_DREAMBOOTH`` names it (examples/dreambooth of diffusers' repository, at the tag
of the release that requirements.lock pins).
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fine_tuning import LR, TOKEN, Clock, Run, alone, noise, ours
from models import GPU, here
from PIL import Image

from raremix.data import captions
from raremix.generator.base import load

SCRIPT = os.environ.get("TRAIN_DREAMBOOTH", "")
SCRIPT_NAMED = pytest.mark.skipif(not SCRIPT, reason="TRAIN_DREAMBOOTH names no script")
FLAGS = ["--with_prior_preservation", "--pre_compute_text_embeddings", "--set_grads_to_none"]
# What is of use on a GPU alone; attention is torch's fused one without a flag.
FLAGS += ["--allow_tf32", "--dataloader_num_workers=4"] if GPU else []


def theirs(base: Path, images: np.ndarray, run: Run, folder: Path, flags: Sequence[str]) -> Clock:
    """The script as its documentation calls it, with the flags that make it fast: as precise, prompts encoded once."""
    script, clock = _script(), Clock(run.warm)
    for name, part in (("instances", images[: run.instances]), ("prior", images[run.instances :])):
        (folder / name).mkdir(parents=True)
        for index, image in enumerate(part):
            Image.fromarray(image).convert("RGB").save(folder / name / f"{index:03d}.png")

    class Bar(script.tqdm):
        def update(self, count: float | None = 1) -> bool | None:
            clock.tick()
            return super().update(count)

    script.tqdm = Bar
    options: dict[str, Any] = {
        "pretrained_model_name_or_path": base,
        "instance_data_dir": folder / "instances",
        "class_data_dir": folder / "prior",
        "instance_prompt": f"{captions.CLASS_PROMPT} {TOKEN}",
        "class_prompt": captions.CLASS_PROMPT,
        "num_class_images": run.prior,
        "resolution": images.shape[-1],
        "train_batch_size": run.batch,
        "max_train_steps": run.steps,
        "learning_rate": LR,
        "mixed_precision": "bf16" if here() == "bfloat16" else "no",
        "output_dir": folder / "out",
    }
    script.main(script.parse_args([*FLAGS, *flags, *(f"--{name}={value}" for name, value in options.items())]))
    return clock


def _script() -> ModuleType:
    made = importlib.util.spec_from_file_location("train_dreambooth", SCRIPT)
    assert made is not None
    assert made.loader is not None
    script = importlib.util.module_from_spec(made)
    made.loader.exec_module(script)
    return script


def compare(benchmark: Any, base: Path, run: Run, folder: Path, flags: Sequence[str] = (), **changes: object) -> None:
    """The script's median step, with more ``flags``, beside ours, with ``changes`` of our params."""
    other, _ = alone(_step_of_theirs, base, run, folder, flags)
    mine, pixels = benchmark.pedantic(lambda: alone(_step_of_ours, base, run, changes), rounds=1)
    ratio = other / mine
    benchmark.extra_info.update(images=2 * run.batch, pixels=pixels)
    benchmark.extra_info.update(times_as_fast=round(ratio, 3), seconds_a_step=mine, theirs=other)
    print(f"\n{2 * run.batch} images of {pixels} pixels a step, {here()}: {ratio:.2f} times as fast")


def _step_of_theirs(base: Path, run: Run, folder: Path, flags: Sequence[str]) -> tuple[float, int]:
    """Seconds, and pixels a side."""
    images = noise(load(base), run)
    return theirs(base, images, run, folder, flags).seconds_a_step(), images.shape[-1]


def _step_of_ours(base: Path, run: Run, changes: dict[str, object]) -> tuple[float, int]:
    pipeline = load(base)
    images = noise(pipeline, run)
    return ours(pipeline, images, run, **changes).seconds_a_step(), images.shape[-1]
