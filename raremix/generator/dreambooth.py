"""DreamBooth (Ruiz et al. 2022): bind a finding's token to a handful of radiographs; keep what normal ones look like.

A faint finding is a tiny share of the latent error, and a plain mean over the latent then learns the chests and not the
nodules. So the readers' boxes hold a set share of an instance's loss: a fixed weight would do for nodules, and leave
nothing of the chest around a large heart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from numpy.typing import NDArray

from raremix.data.views import Views, affine
from raremix.generator.latents import encode as encode_images
from raremix.generator.loss import box_weights, denoising_loss
from raremix.generator.tokens import encode as encode_text
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, arithmetic, device, seeded
from raremix.runtime.losses import Losses
from raremix.runtime.progress import track
from raremix.runtime.schedule import cosine


@dataclass(frozen=True)
class Captioned:
    """Radiographs ``[n, size, size]`` in 0..255, their prompts, and the readers' boxes ``[n, size, size]``, 0 or 1."""

    images: NDArray[np.uint8]
    prompts: Sequence[str]
    boxes: NDArray[np.float32]


@dataclass(frozen=True)
class DreamBoothTraining:
    """How long and how hard to fine-tune."""

    steps: PositiveInt
    batch: PositiveInt  # instances a step; as many prior images again
    lr: PositiveFloat
    text_encoder: bool  # whether the text encoder learns too
    prior_weight: NonNegativeFloat
    box_share: ClosedUnitInterval  # of an instance's loss, to be held by the readers' boxes
    encoded_views: PositiveInt  # augmented and encoded views an instance, made once
    views: Views
    sample_every: NonNegativeInt  # steps between sample grids; 0 for none


def fine_tune(
    pipeline: StableDiffusionPipeline,
    instances: Captioned,
    prior: Captioned,
    training: DreamBoothTraining,
    precision: Precision,
    seed: str,
    checkpoint: Checkpoint,
    on_sample: Callable[[int], None],
) -> list[float]:
    """Fine-tune the pipeline's UNet, and text encoder if asked, in place; the loss of each step.

    ``on_sample(step)`` is called now and then.
    """
    pipeline.to(device())
    unet, schedule = pipeline.unet, DDPMScheduler.from_config(pipeline.scheduler.config)
    latents, weights, prompts = _encoded_views(pipeline, instances, training, precision, seed)
    prior_latents = encode_images(pipeline.vae, prior.images, precision)
    embed = _embedding(pipeline, training.text_encoder, precision, [*prompts, *prior.prompts])
    encoder = pipeline.text_encoder.requires_grad_(training.text_encoder)
    learned = [p for model in (unet, encoder) for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, training.lr, (0.9, 0.99), weight_decay=0.01, fused=True)
    losses = Losses()
    parts = {"unet": unet, "encoder": encoder, "optimizer": optimizer, "losses": losses}
    start = checkpoint.restore(**parts)
    flat = torch.ones(training.batch, *weights.shape[1:])
    for step in track(range(start, training.steps), f"dreambooth {seed}", training.steps, start):
        random = seeded("dreambooth", seed, step)
        chosen = torch.randint(len(latents), (training.batch,), generator=random)
        kept = torch.randint(len(prior_latents), (training.batch,), generator=random)
        optimizer.param_groups[0]["lr"] = training.lr * cosine(step, training.steps, warmup=training.steps // 20)
        with arithmetic(precision):
            error = denoising_loss(
                unet,
                schedule,
                torch.cat([latents[chosen], prior_latents[kept]]),
                embed([prompts[index] for index in chosen] + [prior.prompts[index] for index in kept]),
                random,
                torch.cat([weights[chosen], flat]),
            )
        instance_loss, prior_loss = error.chunk(2)
        loss = instance_loss.mean() + training.prior_weight * prior_loss.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        if training.sample_every and (step + 1) % training.sample_every == 0:
            unet.eval()
            on_sample(step + 1)
            unet.train()
        checkpoint.save_if_due(step + 1, **parts)
    for model in (unet, encoder):
        model.eval().requires_grad_(False)
    return losses.values


def _embedding(
    pipeline: StableDiffusionPipeline, learns: bool, precision: Precision, prompts: Sequence[str]
) -> Callable[[Sequence[str]], torch.Tensor]:
    """From prompts to embeddings: by the text encoder as it learns, or looked up where it does not."""
    if learns:
        return lambda asked: encode_text(asked, pipeline.tokenizer, pipeline.text_encoder)
    distinct = list(dict.fromkeys(prompts))
    with torch.no_grad(), arithmetic(precision):
        table = encode_text(distinct, pipeline.tokenizer, pipeline.text_encoder).float()
    rows = {prompt: row for row, prompt in enumerate(distinct)}
    return lambda asked: table[[rows[prompt] for prompt in asked]]


def _encoded_views(
    pipeline: StableDiffusionPipeline,
    instances: Captioned,
    training: DreamBoothTraining,
    precision: Precision,
    seed: str,
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Latents, box weights at the latents' size and prompts of ``encoded_views`` random views of each instance."""
    times = training.encoded_views
    images = torch.from_numpy(instances.images).float().repeat(times, 1, 1)
    boxes = torch.from_numpy(instances.boxes).repeat(times, 1, 1)
    both = affine(torch.stack([images, boxes], 1), training.views, seeded("views", seed))
    latents = encode_images(pipeline.vae, both[:, 0].round().to(torch.uint8).numpy(), precision)
    inside = torch.nn.functional.adaptive_max_pool2d((both[:, 1:] >= 0.5).float(), latents.shape[-1])
    return latents, box_weights(inside, training.box_share), list(instances.prompts) * times
