"""Images of a pipeline, each with a seed of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from numpy.typing import NDArray

from raremix.data.images import save
from raremix.generator.latents import decode
from raremix.generator.latents import encode as latents_of
from raremix.generator.tokens import encode
from raremix.runtime.device import Precision, arithmetic, device
from raremix.runtime.files import replacing
from raremix.runtime.progress import track


@dataclass(frozen=True)
class Sampling:
    """How images are drawn."""

    steps: int  # of DPM-Solver++ from pure noise to the image
    guidance: float
    precision: Precision


@torch.no_grad()
def draw(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    originals: NDArray[np.uint8] | None = None,
    strength: float = 1.0,
) -> NDArray[np.uint8]:
    """One grey image ``[size, size]`` per prompt and seed, as ``[n, size, size]``, with classifier-free guidance.

    The initial noise of an image comes from its seed alone, and DPM-Solver++ adds none. At a ``strength`` below 1 an
    image starts from its original (``originals [n, size, size]``), noised to that share of the schedule (SDEdit, Meng
    et al. 2022), and keeps the original's build; at 1 it starts from pure noise.
    """
    pipeline.set_progress_bar_config(disable=True)
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler.set_timesteps(sampling.steps)
    timesteps = pipeline.scheduler.timesteps[round(sampling.steps * (1 - strength)) :]
    latents = _noise(pipeline, seeds)
    with arithmetic(sampling.precision):
        if originals is not None and strength < 1:
            clean = latents_of(pipeline.vae, originals, sampling.precision)
            latents = schedule.add_noise(clean, latents, timesteps[:1].cpu())
        text = encode(prompts, pipeline.tokenizer, pipeline.text_encoder)
        empty = encode([""], pipeline.tokenizer, pipeline.text_encoder).expand_as(text)
        latents = pipeline(
            prompt_embeds=text,
            negative_prompt_embeds=empty,
            latents=latents.to(device()),
            timesteps=timesteps.tolist(),
            guidance_scale=sampling.guidance,
            output_type="latent",
        ).images
    return decode(pipeline.vae, latents, sampling.precision)


def _noise(pipeline: StableDiffusionPipeline, seeds: Sequence[int]) -> torch.Tensor:
    unet = pipeline.unet.config
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def draw_all(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    files: Sequence[Path],
    sampling: Sampling,
    batch: int,
    originals: NDArray[np.uint8],
    strength: float,
) -> None:
    """Draw an image into each of ``files``, batch by batch; a batch whose files are all there is not drawn again."""
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for start in track(range(0, len(files), batch), f"synthesize {files[0].stem.rsplit('-', 2)[0]}"):
        part = slice(start, start + batch)
        if all(file.is_file() for file in files[part]):
            continue
        drawn = draw(pipeline, prompts[part], seeds[part], sampling, originals[part], strength)
        for image, file in zip(drawn, files[part], strict=True):
            with replacing(file) as temporary:
                save(image, temporary)
