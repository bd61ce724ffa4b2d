"""Images of a pipeline, each with a seed of its own."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray

from raremix.data.images import save
from raremix.generator.guidance import limited
from raremix.generator.latents import decode
from raremix.generator.latents import encode as latents_of
from raremix.generator.tokens import encode
from raremix.runtime import processes
from raremix.runtime.device import Precision, arithmetic, device, laid_out
from raremix.runtime.errors import UserError, no_memory
from raremix.runtime.progress import track

Sampler = Literal["ddim", "dpmsolver++"]
ORDERS: dict[Sampler, int] = {"ddim": 1, "dpmsolver++": 2}  # DPM-Solver++ of the first order is DDIM (Lu et al. 2022)


@dataclass(frozen=True)
class Sampling:
    """How images are drawn."""

    steps: PositiveInt  # from pure noise to the image
    guidance: float  # away from the negative prompt; 1 is none
    batch: PositiveInt
    precision: Precision


@dataclass(frozen=True)
class Order:
    """Images to draw, an entry each."""

    prompts: Sequence[str]
    negative_prompts: Sequence[str]  # what classifier-free guidance leads away from; "" for the empty prompt
    seeds: Sequence[int]
    originals: NDArray[np.uint8] | None = None  # [n, size, size], to start from; None starts from noise
    inside: NDArray[np.float32] | None = None  # [n, size, size], 1 where guidance leads, else 0; None is everywhere

    def __getitem__(self, part: slice) -> "Order":
        """The entries of ``part``."""
        return Order(
            self.prompts[part],
            self.negative_prompts[part],
            self.seeds[part],
            None if self.originals is None else self.originals[part],
            None if self.inside is None else self.inside[part],
        )

    def __len__(self) -> int:
        """How many images."""
        return len(self.prompts)


def set_up(pipeline: StableDiffusionPipeline, sampler: Sampler, compiled: bool) -> None:
    """Have ``pipeline`` draw by ``sampler``, DPM-Solver++ unless told otherwise, and its UNet compiled if asked.

    What is compiled is the UNet's ``forward`` alone: torch.compile of the module may go on with the hook that limits
    guidance as it was in the first batch. Each size of a batch is compiled by itself, and nothing is left of what other
    networks of this process were compiled to: what was drawn before must not change a network's images.
    """
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, solver_order=ORDERS[sampler])
    if compiled:
        torch.compiler.reset()
        pipeline.unet.forward = torch.compile(pipeline.unet.forward, dynamic=False)


def plain(prompts: Sequence[str], seeds: Sequence[int]) -> Order:
    """An order that is guided away from the empty prompt."""
    return Order(prompts, [""] * len(prompts), seeds)


def draw(
    pipeline: StableDiffusionPipeline,
    order: Order,
    sampling: Sampling,
    strength: float = 1.0,
    guidance_limit: float | None = None,
) -> NDArray[np.uint8]:
    """One grey image ``[size, size]`` per entry of ``order``, as ``[n, size, size]``, by classifier-free guidance.

    Where prompt and negative prompt are the same, guidance is none; ``guidance_limit`` is the one of ``limited``. The
    initial noise of an image comes from its seed alone, and samplers add none. At a ``strength`` below 1 an image
    starts from its original, noised to that share of the schedule (SDEdit, Meng et al. 2022), and keeps the original's
    build; at 1 it starts from pure noise. Where the device has no memory for a batch, halves of it are drawn for the
    rest of the call.

    Raises:
        UserError: it has none for a single image.
    """
    return _as_fits(pipeline, order, sampling, strength, guidance_limit, sampling.batch)[0]


def _as_fits(
    pipeline: StableDiffusionPipeline,
    order: Order,
    sampling: Sampling,
    strength: float,
    guidance_limit: float | None,
    most: int,
) -> tuple[NDArray[np.uint8], int]:
    """The images of ``order``, drawn in batches of ``most`` or, where memory is short, fewer; and of how many."""
    laid_out(pipeline.unet)
    images, start = [], 0
    while start < len(order):
        part = slice(start, start + most)
        try:
            images.append(_batch(pipeline, order[part], sampling, strength, guidance_limit))
            start += most
            continue
        except RuntimeError as error:
            if not no_memory(error):
                raise
        most = _fewer(len(order[part]))  # out here, where nothing holds the tensors of the attempt
    return np.concatenate(images), most


def _fewer(images: int) -> int:
    """How many to try at once where the device has no memory for ``images``.

    Raises:
        UserError: it has none for a single one.
    """
    if images == 1:
        raise UserError(f"the {device().type} has no memory left for a single image; close what else runs on it")
    torch.cuda.empty_cache()
    half = (images + 1) // 2
    print(f"no memory for {images} images at once; drawing {half}: lower sampling.batch to save the attempt")
    return half


@torch.no_grad()
def _batch(
    pipeline: StableDiffusionPipeline,
    order: Order,
    sampling: Sampling,
    strength: float,
    guidance_limit: float | None,
) -> NDArray[np.uint8]:
    pipeline.set_progress_bar_config(disable=True)
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler.set_timesteps(sampling.steps)
    timesteps = pipeline.scheduler.timesteps[skipped(sampling, strength) :]
    latents = _noise(pipeline, order.seeds)
    guidance = 1.0 if list(order.prompts) == list(order.negative_prompts) else sampling.guidance
    with ExitStack() as stack:
        stack.enter_context(arithmetic(sampling.precision))
        if guidance > 1:
            inside = None if order.inside is None else _pooled(order.inside, latents.shape[-1])
            stack.enter_context(limited(pipeline.unet, guidance, guidance_limit, inside))
        if order.originals is not None and strength < 1:
            clean = latents_of(pipeline.vae, order.originals, sampling.precision)
            latents = schedule.add_noise(clean, latents, timesteps[:1].cpu())
        latents = pipeline(
            prompt_embeds=encode(order.prompts, pipeline.tokenizer, pipeline.text_encoder),
            negative_prompt_embeds=encode(order.negative_prompts, pipeline.tokenizer, pipeline.text_encoder),
            latents=latents.to(device()),
            timesteps=timesteps.tolist(),
            guidance_scale=guidance,
            output_type="latent",
        ).images
    return decode(pipeline.vae, latents, sampling.precision)


def _pooled(masks: NDArray[np.float32], side: int) -> torch.Tensor:
    """``masks [n, size, size]`` at the size of the latents: ``[n, 1, side, side]``, 1 where anything of one is."""
    return torch.nn.functional.adaptive_max_pool2d(torch.from_numpy(masks)[:, None], side).to(device())


def skipped(sampling: Sampling, strength: float) -> int:
    """How many of the first sampling steps an edit of that ``strength`` leaves out.

    Raises:
        UserError: all of them.
    """
    left_out = round(sampling.steps * (1 - strength))
    if left_out >= sampling.steps:
        raise UserError(
            f"params.yaml: a strength of {strength:g} leaves none of {sampling.steps} sampling steps; raise either"
        )
    return left_out


def _noise(pipeline: StableDiffusionPipeline, seeds: Sequence[int]) -> torch.Tensor:
    unet = pipeline.unet.config
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def draw_all(
    pipeline: StableDiffusionPipeline,
    order: Order,
    files: Sequence[Path],
    sampling: Sampling,
    strength: float,
    guidance_limit: float | None,
) -> None:
    """Draw an image into each of ``files``, batch by batch; a batch whose files are all there is not drawn again.

    Where the device has no memory for a batch, halves of it are drawn from then on. What is killed within a batch draws
    it whole again: in bfloat16 an image's last digits depend on its company.

    Where there are several processes, each draws its share of the batches, and all return when all are there.
    """
    mine, most = processes.share(range(0, len(files), sampling.batch)), sampling.batch
    for start in track(mine, f"synthesize {files[0].stem.rsplit('-', 2)[0]}"):
        part = slice(start, start + sampling.batch)
        if all(file.is_file() for file in files[part]):
            continue
        drawn, most = _as_fits(pipeline, order[part], sampling, strength, guidance_limit, most)
        for image, file in zip(drawn, files[part], strict=True):
            save(image, file)
    processes.wait()
