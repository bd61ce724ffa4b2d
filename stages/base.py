"""The base model: knows radiographs and captions, but none of the task's findings.

In: manifest, metadata, boxes and the corpus that split allows. Out: a StableDiffusionPipeline, losses, a sample grid.
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
from raremix.data.checksums import read_checksums
from raremix.data.instances import box_masks
from raremix.data.lineage import write_lineage
from raremix.data.manifest import read_boxes, write_csv
from raremix.generator import autoencoder, denoiser
from raremix.generator.base import assemble, published
from raremix.generator.latents import encode, roundtrip
from raremix.generator.sample import Sampling, draw, plain
from raremix.generator.tokens import tokenizer
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, device
from raremix.runtime.errors import UserError
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


def base(
    base: Base, manifest: Path, metadata: Path, boxes: Path, corpus: Path, checksums: Path, out: Path, log: Path
) -> None:
    """Train the small Stable Diffusion on the corpus, or take a published one."""
    listed, rows = read_checksums(checksums), captions.of_corpus(manifest, metadata, corpus)
    if base.pretrained:
        pipeline = published(base.pretrained, base.revision).to(device())
        shown = images.load(list(rows["file"][:SHOWN]), listed)
        _check_size(pipeline, shown.shape[-1])
        pipeline.save_pretrained(out)
        write_lineage({"corpus": []}, out)
        _picture(pipeline, rows, shown, base, log)
        return
    pixels = images.load(list(rows["file"]), listed)
    marks = read_boxes(boxes)
    masks = box_masks(marks, rows["image_id"], marks["finding"].unique(), pixels.shape[-1])
    inputs = [base, manifest, metadata, boxes, corpus, checksums]
    checkpoints = Checkpoint("autoencoder", *inputs), Checkpoint("denoiser", *inputs)
    pipeline, losses = _trained(base, pixels, masks, list(rows["prompt"]), *checkpoints)
    pipeline.save_pretrained(out)
    write_lineage({"corpus": rows["image_id"]}, out)
    for name, values in losses.items():
        write_csv(pd.DataFrame({"step": range(1, len(values) + 1), "loss": values}), log / f"{name}.csv")
    _picture(pipeline, rows, pixels[:SHOWN], base, log)
    for checkpoint in checkpoints:
        checkpoint.clear()


def _check_size(pipeline: StableDiffusionPipeline, size: int) -> None:
    wanted = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    if size != wanted:
        raise UserError(f"params.yaml, ingest.size: {size} pixels, but base.pretrained draws {wanted}; set it to that")


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


def _picture(
    pipeline: StableDiffusionPipeline, rows: pd.DataFrame, shown: NDArray[np.uint8], base: Base, log: Path
) -> None:
    """Real images, their reconstructions, and samples with their captions."""
    seeds = [seed_for("base sample", index) for index in range(len(shown))]
    drawn = draw(pipeline, plain(list(rows["prompt"][: len(shown)]), seeds), base.sampling)
    pairs = np.concatenate([shown, roundtrip(pipeline.vae, shown, base.precision), drawn])
    images.save(images.grid(pairs, SHOWN // 2), log / "real_reconstructed_sampled.png")


if __name__ == "__main__":
    run(base)
