"""DreamBooth (Ruiz et al. 2022): bind a finding's token to a handful of radiographs; keep what normal ones look like.

A faint finding is a tiny share of the latent error, and a plain mean over the latent then learns the chests and not the
nodules. So the readers' boxes hold a set share of an instance's loss: a fixed weight would do for nodules, and leave
nothing of the chest around a large heart.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.training_utils import EMAModel
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from numpy.typing import NDArray

from raremix.data.views import Views, affine
from raremix.generator.latents import encode as encode_images
from raremix.generator.loss import Noised, box_weights, denoising_loss, min_snr, noised
from raremix.generator.optimizers import OptimizerName, optimizer
from raremix.generator.tokens import encode as encode_text
from raremix.runtime import processes
from raremix.runtime.checkpoints import Checkpoint, Learned
from raremix.runtime.device import Precision, arithmetic, device, laid_out, seeded, sent
from raremix.runtime.errors import UserError, no_memory
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
    accumulation: PositiveInt  # parts in which those are worked through, one after the other: less memory
    gradient_checkpointing: bool  # activations are computed again when gradients need them: less memory, more time
    compiled: bool  # torch.compile; it pays where a step's kernels are small and steps are many
    optimizer: OptimizerName  # adafactor keeps less of each weight; lr is a share of a weight's own size there
    lr: PositiveFloat
    text_encoder: bool  # whether the text encoder learns too
    prior_weight: NonNegativeFloat
    box_share: ClosedUnitInterval  # of an instance's loss, to be held by the readers' boxes
    snr_gamma: PositiveFloat | None  # of min-SNR weights, see ``loss.min_snr``; null: every noise level counts alike
    ema_decay: ClosedUnitInterval | None  # of the averaged weights that are kept; null keeps the last ones
    encoded_views: PositiveInt  # augmented and encoded views an instance, made once
    views: Views
    sample_every: NonNegativeInt  # steps between sample grids; 0 for none

    def __post_init__(self) -> None:
        if self.accumulation > 2 * self.batch:
            raise UserError(
                f"params.yaml, dreambooth.training.accumulation: {self.accumulation} parts of {2 * self.batch} images; "
                "give as many as there are images, or fewer"
            )


@dataclass(frozen=True)
class _Batch:
    """What one step learns from: instances, then as many prior images."""

    noised: Noised
    prompts: list[str]
    positions: torch.Tensor  # weights [n, 1, side, side] within an image
    shares: torch.Tensor  # [n], of each image in the step's loss

    def parts(self, count: int) -> Iterator["_Batch"]:
        for indices in torch.arange(len(self.prompts)).tensor_split(count):
            part = slice(int(indices[0]), int(indices[-1]) + 1)
            yield _Batch(self.noised[part], self.prompts[part], self.positions[part], self.shares[part])


@dataclass(frozen=True)
class _Lessons:
    """All that is learned from, encoded."""

    latents: torch.Tensor  # of views of the instances
    positions: torch.Tensor
    prompts: list[str]
    prior_latents: torch.Tensor
    prior_prompts: Sequence[str]

    def batch(self, training: DreamBoothTraining, schedule: DDPMScheduler, random: torch.Generator) -> _Batch:
        """A step's batch, of which accumulation changes nothing."""
        size = training.batch
        chosen = torch.randint(len(self.latents), (size,), generator=random)
        kept = torch.randint(len(self.prior_latents), (size,), generator=random)
        batch = noised(schedule, torch.cat([self.latents[chosen], self.prior_latents[kept]]), random)
        shares = torch.tensor([1.0, training.prior_weight]).repeat_interleave(size) / size
        if training.snr_gamma is not None:
            shares = shares * min_snr(schedule, batch.steps, training.snr_gamma)
        even = torch.ones(size, *self.positions.shape[1:])
        prompts = [self.prompts[index] for index in chosen] + [self.prior_prompts[index] for index in kept]
        return _Batch(batch, prompts, torch.cat([self.positions[chosen], even]), shares)


def check_parts(training: DreamBoothTraining) -> None:
    """Refuse more processes than there are images in a part of a step.

    Raises:
        UserError: there are.
    """
    count = training.accumulation * processes.count()
    if count > 2 * training.batch:
        raise UserError(
            f"params.yaml, dreambooth.training: {2 * training.batch} images a step are too few for {count} parts "
            "(accumulation times processes); raise batch, or start fewer processes"
        )


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

    ``on_sample(step)`` is called now and then. Where weights are averaged, the pipeline ends with the averages. Several
    processes share out each step's images and add up their gradients, so that all end with the same weights; the first
    alone samples and saves. Where the device has no memory for a part of a step, it is worked through in more parts
    from then on.

    Raises:
        UserError: it has none for a single image, or processes that share a step lack memory; or a loss is not finite.
    """
    count = training.accumulation * processes.count()
    pipeline.to(device())
    laid_out(pipeline.unet)
    unet, schedule = pipeline.unet, DDPMScheduler.from_config(pipeline.scheduler.config)
    views = _encoded_views(pipeline, instances, training, precision, seed)
    lessons = _Lessons(*views, encode_images(pipeline.vae, prior.images, precision), prior.prompts)
    embed = _embedding(pipeline, training.text_encoder, precision, [*lessons.prompts, *prior.prompts])
    encoder = pipeline.text_encoder.requires_grad_(training.text_encoder)
    for model in (unet, encoder):
        model.train()  # gradient checkpointing asks for it; neither drops out
    if training.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        encoder.activation_checkpointing_enable()
    idle = [pipeline.vae, *([] if training.text_encoder else [encoder])]
    _put(idle, torch.device("cpu"))
    if training.compiled:
        torch.compiler.reset()  # it keeps what networks before this one became, and of one class compiles but a few
    forward = torch.compile(unet) if training.compiled else unet
    learned = [p for model in (unet, encoder) for p in model.parameters() if p.requires_grad]
    stepping = optimizer(training.optimizer, learned, training.lr)
    averaged = [] if training.ema_decay is None else learned
    ema = EMAModel(averaged, decay=training.ema_decay or 0.0, use_ema_warmup=True, power=0.75)
    losses = Losses()
    models = {"unet": Learned(unet), "encoder": Learned(encoder)}
    parts = models | {"optimizer": stepping, "ema": ema, "losses": losses}
    start = checkpoint.restore(**parts)
    processes.wait()  # the first is to save a new state when all have read the old one
    ema.to(device())
    for step in track(range(start, training.steps), f"dreambooth {seed}", training.steps, start):
        stepping.param_groups[0]["lr"] = training.lr * cosine(step, training.steps, warmup=training.steps // 20)
        batch = lessons.batch(training, schedule, seeded("dreambooth", seed, step))
        loss, count = _as_fits(batch, count, lambda part: _learn(forward, part, embed, precision), stepping.zero_grad)
        processes.add_up([loss, *(p.grad for p in learned if p.grad is not None)])
        length = torch.nn.utils.clip_grad_norm_(learned, 1.0)
        losses.append(torch.where(length.isfinite(), loss, length))
        if processes.count() > 1:
            losses.values  # noqa: B018 - a loss that is not finite must stop all processes at the same step
        stepping.step()
        stepping.zero_grad()
        ema.step(averaged)
        if processes.first():
            if training.sample_every and (step + 1) % training.sample_every == 0:
                with _back(idle):
                    on_sample(step + 1)
            checkpoint.save_if_due(step + 1, **parts)
    ema.copy_to(averaged)
    _put(idle, device())
    for model in (unet, encoder):
        model.eval().requires_grad_(False)
    return losses.values


def _put(models: Sequence[torch.nn.Module], where: torch.device) -> None:
    """Move ``models``; a GPU's memory is the others' then."""
    for model in models:
        model.to(where)
    if device().type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _back(idle: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Have models on the device for once that no step needs: all is encoded before the first."""
    _put(idle, device())
    try:
        yield
    finally:
        _put(idle, torch.device("cpu"))


def _as_fits(
    batch: _Batch, count: int, learn: Callable[[_Batch], torch.Tensor], forget: Callable[[], None]
) -> tuple[torch.Tensor, int]:
    """The loss of what is this process's of ``batch``, worked through in ``count`` parts or more; and in how many.

    ``learn`` adds a part's gradients, which ``forget`` takes back after an attempt that memory was too short for.
    """
    while True:
        try:
            return torch.stack([learn(part) for part in processes.share(list(batch.parts(count)))]).sum(), count
        except RuntimeError as error:
            if not no_memory(error):
                raise
        forget()  # out here, where nothing holds the tensors of the attempt
        count = _more(count, len(batch.prompts))


def _more(parts: int, images: int) -> int:
    """In how many parts to try the ``images`` of a step where the device has no memory for one of ``parts``.

    Raises:
        UserError: a part is a single image, or others are at the same step, and can't be told.
    """
    if parts == images or processes.count() > 1:
        raise UserError(
            f"the {device().type} has no memory left for {-(-images // parts)} of a step's images at once; raise "
            "params.yaml, dreambooth.training.accumulation, set gradient_checkpointing there or dreambooth.lora_rank, "
            "or use adafactor"
        )
    if device().type == "cuda":
        torch.cuda.empty_cache()
    more = min(2 * parts, images)
    print(f"no memory for a step in {parts} parts; trying {more}: raise accumulation to save the attempt")
    return more


def _learn(
    unet: Callable[..., Any], batch: _Batch, embed: Callable[[Sequence[str]], torch.Tensor], precision: Precision
) -> torch.Tensor:
    """Add the gradients of ``batch``; its part of the step's loss."""
    with arithmetic(precision):
        error = denoising_loss(unet, batch.noised, embed(batch.prompts), batch.positions)
    loss = (error * sent(batch.shares, device())).sum()
    with arithmetic("float32"):  # what gradient checkpointing computes again must take the attention kernel it took
        loss.backward()
    return loss.detach()


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
    return lambda asked: table[sent(torch.tensor([rows[prompt] for prompt in asked]), table.device)]


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
