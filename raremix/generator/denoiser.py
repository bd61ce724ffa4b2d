"""The small UNet and text encoder of the phantom profile, trained from scratch on captioned latents."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from raremix.generator.loss import denoising_loss, noised
from raremix.generator.tokens import token_ids
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, arithmetic, device, seeded
from raremix.runtime.losses import Losses
from raremix.runtime.progress import track
from raremix.runtime.schedule import cosine


@dataclass(frozen=True)
class DenoiserTraining:
    """Size and training of the UNet and its text encoder."""

    channels: list[PositiveInt]  # of each level
    attention: list[bool]  # whether the level attends to the caption
    text_width: PositiveInt
    text_layers: PositiveInt
    text_length: PositiveInt  # tokens
    steps: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat
    box_weight: PositiveFloat  # of the error inside the readers' boxes, against 1 outside
    caption_dropout: ClosedUnitInterval  # share of captions left out, for classifier-free guidance
    ema_decay: ClosedUnitInterval


def noise_schedule() -> DDPMScheduler:
    """Stable Diffusion's noise schedule; the small UNet predicts v (Salimans & Ho 2022, appendix D)."""
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def train(
    latents: torch.Tensor,
    boxes: torch.Tensor,
    captions: Sequence[str],
    tokens: CLIPTokenizer,
    training: DenoiserTraining,
    precision: Precision,
    checkpoint: Checkpoint,
) -> tuple[UNet2DConditionModel, CLIPTextModel, list[float]]:
    """Fit both models to captioned latents; they (averaged), and the losses.

    Images with rare words are drawn more often, by the square root of the rarest one's inverse frequency (the repeat
    factor of Gupta et al. 2019, LVIS); else a word of every thirtieth caption is not learned in minutes.

    Args:
        latents: ``[n, channels, side, side]``.
        boxes: 1 inside any reader's box, else 0, ``[n, 1, side, side]``.
    """
    unet = _unet(training, latents.shape[1], latents.shape[-1]).to(device())
    encoder = _text_encoder(training, tokens).to(device())
    learned = list(chain(unet.parameters(), encoder.parameters()))
    optimizer = torch.optim.AdamW(learned, training.lr, (0.9, 0.99), weight_decay=0.01, fused=True)
    ema = EMAModel(learned, decay=training.ema_decay, use_ema_warmup=True, power=0.75)
    ids, empty = token_ids(captions, tokens), token_ids([""], tokens)
    schedule, losses = noise_schedule(), Losses()
    repeat = torch.tensor(rarity(captions))
    weights = 1 + (training.box_weight - 1) * boxes
    weights = weights / weights.mean((1, 2, 3), keepdim=True)
    parts = {"unet": unet, "encoder": encoder, "optimizer": optimizer, "ema": ema, "losses": losses}
    start = checkpoint.restore(**parts)
    ema.to(device())
    for step in track(range(start, training.steps), "denoiser", training.steps, start):
        random = seeded("denoiser", step)
        chosen = torch.multinomial(repeat, training.batch, replacement=True, generator=random)
        dropped = torch.rand(training.batch, 1, generator=random) < training.caption_dropout
        optimizer.param_groups[0]["lr"] = training.lr * cosine(step, training.steps, warmup=training.steps // 20)
        with arithmetic(precision):
            text = encoder(torch.where(dropped, empty, ids[chosen]).to(device()))[0]
            loss = denoising_loss(unet, noised(schedule, latents[chosen], random), text, weights[chosen]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(learned)
        losses.append(loss)
        checkpoint.save_if_due(step + 1, **parts)
    ema.copy_to(learned)
    return unet.eval(), encoder.eval(), losses.values


def rarity(captions: Sequence[str]) -> list[float]:
    """How often each caption is to be drawn: the square root of the inverse frequency of its rarest word."""
    count = Counter(word for caption in captions for word in set(caption.split()))
    return [max((len(captions) / count[word]) ** 0.5 for word in caption.split()) for caption in captions]


def _unet(training: DenoiserTraining, channels: int, side: int) -> UNet2DConditionModel:
    torch.manual_seed(0)
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in training.attention]
    up = ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(training.attention)]
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        block_out_channels=tuple(training.channels),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=training.text_width,
        attention_head_dim=4,
        # Cross-attention alone had not learned the word "pacemaker" after 2,000 steps; pooled text reaches every block.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def _text_encoder(training: DenoiserTraining, tokens: CLIPTokenizer) -> CLIPTextModel:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=training.text_width,
        intermediate_size=2 * training.text_width,
        num_hidden_layers=training.text_layers,
        num_attention_heads=4,
        max_position_embeddings=training.text_length,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    return CLIPTextModel(config)
