"""The base model: knows radiographs and captions, but none of the task's findings.

In: manifest, metadata, votes and the corpus that split allows. Out: a StableDiffusionPipeline, losses, a sample grid.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from torch.nn.functional import adaptive_max_pool2d

from raremix.data import captions, images
from raremix.data.instances import box_masks
from raremix.generator import autoencoder, denoiser
from raremix.generator.base import assemble, published
from raremix.generator.latents import encode, roundtrip
from raremix.generator.sample import Sampling, draw
from raremix.generator.tokens import tokenizer
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, device
from raremix.runtime.seeds import seed_for
from stages.cli import run

SHOWN = 24  # real images in the grid, and as many reconstructions and samples


@dataclass(frozen=True)
class Base:
    """Either a published model, or the size and training of a small one."""

    pretrained: str | None  # local folder or hub repository; null trains the small model
    revision: str | None  # of the hub repository
    precision: Precision
    autoencoder: autoencoder.AutoencoderTraining
    denoiser: denoiser.DenoiserTraining
    sampling: Sampling  # of the sample grid


def base(base: Base, manifest: Path, metadata: Path, boxes: Path, corpus: Path, out: Path, log: Path) -> None:
    """Train the small Stable Diffusion on the corpus, or take a published one."""
    prompts = captions.of_corpus(manifest, metadata, corpus)
    pixels = images.load(prompts["file"])
    marks = pd.read_csv(boxes, dtype={"image_id": str})
    masks = box_masks(marks, prompts["image_id"], marks["finding"].unique(), pixels.shape[-1])
    inputs = [base, manifest, metadata, boxes, corpus]
    checkpoints = Checkpoint("autoencoder", *inputs), Checkpoint("denoiser", *inputs)
    if base.pretrained:
        pipeline, losses = published(base.pretrained, base.revision).to(device()), dict[str, list[float]]()
    else:
        pipeline, losses = _trained(base, pixels, masks, list(prompts["prompt"]), *checkpoints)
    pipeline.save_pretrained(out)
    for checkpoint in checkpoints:
        checkpoint.clear()
    log.mkdir(parents=True, exist_ok=True)
    for name, values in losses.items():
        pd.DataFrame({"step": range(1, len(values) + 1), "loss": values}).to_csv(log / f"{name}.csv", index=False)
    shown = pixels[:SHOWN]
    seeds = [seed_for("base sample", index) for index in range(SHOWN)]
    drawn = draw(pipeline, list(prompts["prompt"][:SHOWN]), seeds, base.sampling)
    pairs = np.concatenate([shown, roundtrip(pipeline.vae, shown, base.precision), drawn])
    images.save(images.grid(pairs, SHOWN // 2), log / "real_reconstructed_sampled.png")


def _trained(
    base: Base,
    pixels: NDArray[np.uint8],
    masks: NDArray[np.float32],
    prompts: list[str],
    first: Checkpoint,
    second: Checkpoint,
) -> tuple[StableDiffusionPipeline, dict[str, list[float]]]:
    vae, reconstruction = autoencoder.train(pixels, base.autoencoder, base.precision, first)
    tokens = tokenizer(captions.vocabulary(prompts), base.denoiser.text_length)
    latents = encode(vae, pixels, base.precision)
    inside = adaptive_max_pool2d(torch.from_numpy(masks)[:, None], latents.shape[-1])
    unet, encoder, denoising = denoiser.train(latents, inside, prompts, tokens, base.denoiser, base.precision, second)
    return assemble(vae, unet, encoder, tokens), {"autoencoder": reconstruction, "denoiser": denoising}


if __name__ == "__main__":
    run(base)
