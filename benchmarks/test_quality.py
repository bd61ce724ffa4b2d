"""In how many steps our sampling draws as well as the pipeline's 50: KID to real images, of the root's base model.

Both draw the same prompts from the same noise, and are held against the same radiographs, block by block: the estimate
is unbiased however few images a block has, blocks share no image, and so the spread of their differences is that of the
mean difference.

It needs the base model and the backbone of a study (`make repro`), as random weights draw nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline
from scipy.stats import t
from test_synthesis import PNDM_STEPS, STEPS

from raremix.classifier.witness import witness
from raremix.data import captions, images
from raremix.data.checksums import read_checksums
from raremix.evaluation.fidelity import kid
from raremix.generator.base import load
from raremix.generator.sample import Order, Sampling, draw, plain
from raremix.runtime.device import device
from raremix.runtime.seeds import seed_for
from stages.base import Base
from stages.cli import read_params, read_section
from stages.fidelity import Fidelity

PARAMS = Path("params.yaml")
TABLES = [Path("data", name) for name in ("manifest.csv", "metadata.csv", "splits/corpus.csv")]
IMAGES, SUBSETS, SIZE = 500, 100, 250
OURS = (12, 16, STEPS)
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


@dataclass(frozen=True)
class Beside:
    """What our images are held against: the pipeline that draws, what it is asked, and features of the others."""

    pipeline: StableDiffusionPipeline
    order: Order
    sampling: Sampling
    see: Callable[[np.ndarray], np.ndarray]
    seen: np.ndarray  # of radiographs
    theirs: np.ndarray
    real: np.ndarray  # of other radiographs


@pytest.fixture(scope="module")
def beside():
    """The finished root study's base model, and what 50 PNDM steps draw of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parent.parent)
        params, known = read_params(PARAMS), captions.of_corpus(*TABLES)
        chosen = np.random.default_rng(seed_for("quality")).permutation(len(known))[: 2 * IMAGES]
        rows = known.iloc[chosen]
        real = images.load(list(rows["file"]), read_checksums(Path("data/images.sha256")))
        order = plain(list(rows["prompt"][:IMAGES]), range(IMAGES))
        sampling = read_section(params, "base", Base, PARAMS).sampling
        pipeline = load(Path("models/base")).to(device())
        looking = read_section(params, "fidelity", Fidelity, PARAMS)
        see = witness(Path("models/backbone.safetensors"), looking.model, None, looking.precision).features
    theirs = by_pndm(StableDiffusionPipeline(**pipeline.components, requires_safety_checker=False), order, sampling)
    return Beside(pipeline, order, sampling, see, see(real[:IMAGES]), see(theirs), see(real[IMAGES:]))


@pytest.mark.parametrize("steps", OURS, ids="{} steps".format)
def test_quality_beside_50_pndm_steps(benchmark, beside, steps):
    sampling = replace(beside.sampling, steps=steps)
    drawn = benchmark.pedantic(lambda: draw(beside.pipeline, beside.order, sampling), rounds=1)
    looks = {"ours": beside.see(drawn), "theirs": beside.theirs, "real": beside.real}
    found = {name: kid(beside.seen, look, SUBSETS, SIZE, np.random.default_rng(0)) for name, look in looks.items()}
    gap = difference(beside.seen, looks["ours"], looks["theirs"])
    benchmark.extra_info.update(images=IMAGES, subset=SIZE, steps=steps, kid=found, difference=gap)
    print(
        f"\nKID of {IMAGES} images in {steps} steps, in {PNDM_STEPS} PNDM steps, and of as many real ones: "
        + ", ".join(f"{mean:.5f} (SD of subsets {spread:.5f})" for mean, spread in found.values())
        + f"; ours less theirs {gap[0]:+.5f} ± {gap[1]:.5f}"
    )
