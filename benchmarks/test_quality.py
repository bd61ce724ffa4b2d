"""Whether our sampling's few steps draw as well as the pipeline's 50: KID to real images, of the root's base model.

It needs a finished study (`make repro`), as random weights draw nothing.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler
from test_synthesis import PNDM_STEPS, STEPS

from raremix.classifier.witness import witness
from raremix.data import captions, images
from raremix.data.checksums import read_checksums
from raremix.evaluation.fidelity import kid
from raremix.generator.base import load
from raremix.generator.sample import draw, plain
from raremix.runtime.device import device
from raremix.runtime.seeds import seed_for
from stages.base import Base
from stages.cli import read_params, read_section
from stages.fidelity import Fidelity

PARAMS = Path("params.yaml")
TABLES = [Path("data", name) for name in ("manifest.csv", "metadata.csv", "splits/corpus.csv")]
IMAGES, SUBSETS, SIZE = 500, 100, 250


def by_pndm(pipeline, order, sampling):
    """The same prompts and initial noise as ``StableDiffusionPipeline`` draws them by default: PNDM, float32."""
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config, skip_prk_steps=True)
    pipeline.set_progress_bar_config(disable=True)
    drawn = []
    for start in range(0, len(order), sampling.batch):
        part = order[start : start + sampling.batch]
        found = pipeline(
            list(part.prompts),
            generator=[torch.Generator().manual_seed(seed) for seed in part.seeds],
            num_inference_steps=PNDM_STEPS,
            guidance_scale=sampling.guidance,
            output_type="np",
        )
        drawn.append(np.rint(255 * found.images.mean(axis=-1)).astype(np.uint8))
    return np.concatenate(drawn)


@pytest.fixture
def root(monkeypatch):
    """The root's params, where its study is finished."""
    monkeypatch.chdir(Path(__file__).parent.parent)
    return read_params(PARAMS)


def test_quality_beside_50_pndm_steps(benchmark, root):
    known = captions.of_corpus(*TABLES)
    chosen = np.random.default_rng(seed_for("quality")).permutation(len(known))[: 2 * IMAGES]
    rows = known.iloc[chosen]
    real = images.load(list(rows["file"]), read_checksums(Path("data/images.sha256")))
    order = plain(list(rows["prompt"][:IMAGES]), range(IMAGES))
    sampling = replace(read_section(root, "base", Base, PARAMS).sampling, steps=STEPS)
    pipeline = load(Path("models/base")).to(device())
    drawn = {
        "ours": benchmark.pedantic(lambda: draw(pipeline, order, sampling), rounds=1),
        "theirs": by_pndm(pipeline, order, sampling),
        "real": real[IMAGES:],
    }
    looking = read_section(root, "fidelity", Fidelity, PARAMS)
    see = witness(Path("models/backbone.safetensors"), looking.model, None, looking.precision).features
    seen = see(real[:IMAGES])
    found = {name: kid(seen, see(some), SUBSETS, SIZE, np.random.default_rng(0)) for name, some in drawn.items()}
    benchmark.extra_info.update(images=IMAGES, subset=SIZE, steps=STEPS, kid=found)
    print(
        f"\nKID of {IMAGES} images in {STEPS} steps, in {PNDM_STEPS} PNDM steps, and of as many real ones: "
        + ", ".join(f"{mean:.5f} (SD of subsets {spread:.5f})" for mean, spread in found.values())
    )
