"""Whether our sampling's few steps draw as well as the pipeline's 50: KID to real images, of the root's base model.

Both draw the same prompts from the same noise, and are held against the same radiographs, block by block: the estimate
is unbiased however few images a block has, blocks share no image, and so the spread of their differences is that of the
mean difference.

It needs a finished study (`make repro`), as random weights draw nothing.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler
from scipy.stats import t
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
BLOCKS, LEVEL = 10, 0.95


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


def difference(real, ours, theirs):
    """KID of ours less that of theirs, features ``[n, width]`` each, and how far it may be off by Student's t."""
    blocks = [np.array_split(features, BLOCKS) for features in (real, ours, theirs)]
    random = np.random.default_rng(0)  # a subset is a whole block: nothing is drawn
    found = [
        kid(looks, one, 1, len(looks), random)[0] - kid(looks, other, 1, len(looks), random)[0]
        for looks, one, other in zip(*blocks, strict=True)
    ]
    return float(np.mean(found)), float(t.ppf((1 + LEVEL) / 2, BLOCKS - 1) * np.std(found, ddof=1) / BLOCKS**0.5)


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
    looks = {name: see(some) for name, some in drawn.items()}
    found = {name: kid(seen, look, SUBSETS, SIZE, np.random.default_rng(0)) for name, look in looks.items()}
    gap = difference(seen, looks["ours"], looks["theirs"])
    benchmark.extra_info.update(images=IMAGES, subset=SIZE, steps=STEPS, kid=found, difference=gap)
    print(
        f"\nKID of {IMAGES} images in {STEPS} steps, in {PNDM_STEPS} PNDM steps, and of as many real ones: "
        + ", ".join(f"{mean:.5f} (SD of subsets {spread:.5f})" for mean, spread in found.values())
        + f"; ours less theirs {gap[0]:+.5f} ± {gap[1]:.5f}"
    )
