"""DreamBooth beside diffusers' own ``train_dreambooth.py``: same model, batch and images, prior preservation on.

The script is not ours to keep: ``TRAIN_DREAMBOOTH`` names it (examples/dreambooth of diffusers' repository, at the tag
of the release that requirements.lock pins).
"""

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fine_tuning import LR, TOKEN, Clock, noise, ours
from models import GPU, fitting, here
from PIL import Image

from raremix.data import captions
from raremix.generator.base import load

SCRIPT = os.environ.get("TRAIN_DREAMBOOTH", "")
STEPS, BATCH, INSTANCES, PRIOR = (40, fitting(4), 5, 200) if GPU else (16, 12, 5, 200)
# What is of use on a GPU alone; attention is torch's fused one without a flag.
FLAGS = ["--allow_tf32", "--dataloader_num_workers=4"] if GPU else []


def theirs(base: Path, images: np.ndarray, folder: Path) -> Clock:
    """The script as its documentation calls it, with the flags that make it fast: as precise, prompts encoded once."""
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
        "pretrained_model_name_or_path": base,
        "instance_data_dir": folder / "instances",
        "class_data_dir": folder / "prior",
        "instance_prompt": f"{captions.CLASS_PROMPT} {TOKEN}",
        "class_prompt": captions.CLASS_PROMPT,
        "num_class_images": PRIOR,
        "resolution": images.shape[-1],
        "train_batch_size": BATCH,
        "max_train_steps": STEPS,
        "learning_rate": LR,
        "mixed_precision": "bf16" if here() == "bfloat16" else "no",
        "output_dir": folder / "out",
    }
    flags = ["--with_prior_preservation", "--pre_compute_text_embeddings", "--set_grads_to_none", *FLAGS]
    script.main(script.parse_args([*flags, *(f"--{name}={value}" for name, value in options.items())]))
    return clock


def _script() -> ModuleType:
    made = importlib.util.spec_from_file_location("train_dreambooth", SCRIPT)
    assert made is not None
    assert made.loader is not None
    script = importlib.util.module_from_spec(made)
    made.loader.exec_module(script)
    return script


def compare(benchmark, base: Path, tmp_path: Path, **changes: object) -> None:
    """The script's median step beside ours, with ``changes`` of our params."""
    images = noise(load(base), INSTANCES + PRIOR)
    other = theirs(base, images, tmp_path).seconds_a_step()
    clock = benchmark.pedantic(lambda: ours(load(base), images, INSTANCES, STEPS, BATCH, **changes), rounds=1)
    mine = clock.seconds_a_step()
    ratio = other / mine
    benchmark.extra_info.update(times_as_fast=round(ratio, 3), seconds_a_step=mine, theirs=other)
    print(f"\n{2 * BATCH} images of {images.shape[-1]} pixels a step, {here()}: {ratio:.2f} times as fast")


@pytest.mark.skipif(not SCRIPT, reason="TRAIN_DREAMBOOTH names no script")
@pytest.mark.filterwarnings("ignore")
def test_dreambooth_against_diffusers_script(benchmark, base, tmp_path):
    compare(benchmark, base, tmp_path)


@pytest.mark.skipif(
    not (SCRIPT and GPU), reason="TRAIN_DREAMBOOTH names no script, or steps are too few to compile for"
)
@pytest.mark.filterwarnings("ignore")
def test_compiled_dreambooth_against_diffusers_script(benchmark, base, tmp_path):
    compare(benchmark, base, tmp_path, compiled=True)
