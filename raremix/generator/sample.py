"""Images of a pipeline, each with a seed of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray

from raremix.data.images import save
from raremix.generator.latents import decode
from raremix.generator.tokens import encode
from raremix.runtime.device import Precision, arithmetic, device
from raremix.runtime.files import replacing
from raremix.runtime.progress import track


@torch.no_grad()
def draw(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    precision: Precision,
) -> NDArray[np.uint8]:
    """One grey image ``[size, size]`` per prompt and seed, as ``[n, size, size]``, with classifier-free guidance.

    The initial noise of an image comes from its seed alone, and DPM-Solver++ adds none.
    """
    pipeline.set_progress_bar_config(disable=True)
    with arithmetic(precision):
        text = encode(prompts, pipeline.tokenizer, pipeline.text_encoder)
        empty = encode([""], pipeline.tokenizer, pipeline.text_encoder).expand_as(text)
        latents = pipeline(
            prompt_embeds=text,
            negative_prompt_embeds=empty,
            latents=_noise(pipeline, seeds),
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="latent",
        ).images
    return decode(pipeline.vae, latents, precision)


def _noise(pipeline: StableDiffusionPipeline, seeds: Sequence[int]) -> torch.Tensor:
    unet = pipeline.unet.config
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(device())


def draw_all(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    files: Sequence[Path],
    steps: int,
    guidance: float,
    precision: Precision,
    batch: int,
) -> None:
    """Draw an image into each of ``files``, batch by batch; a batch whose files are all there is not drawn again."""
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for start in track(range(0, len(files), batch), f"synthesize {files[0].stem.rsplit('-', 2)[0]}"):
        part = slice(start, start + batch)
        if all(file.is_file() for file in files[part]):
            continue
        drawn = draw(pipeline, prompts[part], seeds[part], steps, guidance, precision)
        for image, file in zip(drawn, files[part], strict=True):
            with replacing(file) as temporary:
                save(image, temporary)
