"""The base model: knows radiographs and captions, but none of the task's findings.

In: manifest, metadata, votes and the corpus that split allows. Out: a StableDiffusionPipeline, losses, a sample grid.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray


from raremix.data import captions, images
from raremix.generator import autoencoder, denoiser
from raremix.generator.base import assemble, published
from raremix.generator.latents import encode, roundtrip
from raremix.generator.sample import draw
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
    sample_steps: int  # of the sample grid
    guidance: float


def base(base: Base, manifest: Path, metadata: Path, corpus: Path, out: Path, plots: Path) -> None:
    """Train the small Stable Diffusion on the corpus, or take a published one."""
    prompts = captions.of_corpus(manifest, metadata, corpus)
    pixels = images.load(prompts["file"])
    if base.pretrained:
        pipeline, losses = published(base.pretrained, base.revision).to(device()), {}
    else:
        pipeline, losses = _trained(base, pixels, list(prompts["prompt"]), [manifest, metadata, corpus])
    pipeline.save_pretrained(out)
    plots.mkdir(parents=True, exist_ok=True)
    for name, values in losses.items():
        pd.DataFrame({"step": range(1, len(values) + 1), "loss": values}).to_csv(plots / f"{name}.csv", index=False)
    shown = pixels[:SHOWN]
    seeds = [seed_for("base sample", index) for index in range(SHOWN)]
    drawn = draw(pipeline, list(prompts["prompt"][:SHOWN]), seeds, base.sample_steps, base.guidance, base.precision)
    pairs = np.concatenate([shown, roundtrip(pipeline.vae, shown, base.precision), drawn])
    images.save(images.grid(pairs, SHOWN // 2), plots / "real_reconstructed_sampled.png")


def _trained(
    base: Base, pixels: NDArray[np.uint8], prompts: list[str], inputs: list[Path]
) -> tuple[StableDiffusionPipeline, dict[str, list[float]]]:
    first = Checkpoint("autoencoder", base.autoencoder, base.precision, *inputs)
    second = Checkpoint("denoiser", base, *inputs)
    vae, reconstruction = autoencoder.train(pixels, base.autoencoder, base.precision, first)
    tokens = tokenizer(captions.vocabulary(prompts), base.denoiser.text_length)
    latents = encode(vae, pixels, base.precision)
    unet, encoder, denoising = denoiser.train(latents, prompts, tokens, base.denoiser, base.precision, second)
    return assemble(vae, unet, encoder, tokens), {"autoencoder": reconstruction, "denoiser": denoising}


if __name__ == "__main__":
    run(base)
