"""Pipelines to measure with: random weights, as speed and memory do not depend on them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from jsonargparse import get_loader
from transformers import CLIPTextConfig, CLIPTextModel

from raremix.data import captions
from raremix.generator import autoencoder, denoiser
from raremix.generator.base import assemble
from raremix.generator.latents import encode
from raremix.generator.tokens import tokenizer
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, native
from stages.base import Base
from stages.cli import read_section

PARAMS = Path(__file__).parent.parent / "params.yaml"
# Stable Diffusion v1.4's sizes, where they are not diffusers' and transformers' defaults.
UNET: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 512,
}
WORDS, LENGTH = 49408, 77
TEXT: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}


GPU = torch.cuda.is_available()
LARGE, FIXED = 80.0, 18.0  # gigabytes of the GPU that batches are meant for, and what weights and their like take


def fitting(images: int) -> int:
    """``images`` a step, or the share of them that a GPU of less memory has room for."""
    free = torch.cuda.get_device_properties(0).total_memory / 1e9 - FIXED
    return max(1, int(images * min(1, free / (LARGE - FIXED))))


def here() -> Precision:
    """What either side of a benchmark computes in: bfloat16, or float32 on a CPU that only imitates it."""
    return native("bfloat16")


def full_size() -> tuple[AutoencoderKL, UNet2DConditionModel, CLIPTextModel]:
    """Networks of Stable Diffusion v1.4's sizes."""
    text = CLIPTextConfig(**TEXT, vocab_size=WORDS, num_hidden_layers=12, max_position_embeddings=LENGTH)
    return AutoencoderKL(**VAE), UNet2DConditionModel(**UNET), CLIPTextModel(text)


def as_published() -> StableDiffusionPipeline:
    """A pipeline of Stable Diffusion v1.4's sizes, with a tokenizer of as many words."""
    named = [captions.CLASS_PROMPT, *captions.vocabulary([captions.CLASS_PROMPT])]
    spelled = len(tokenizer([], LENGTH))
    words = [*dict.fromkeys([*named, *(f"word{number}" for number in range(WORDS))])][: WORDS - spelled]
    vae, unet, text = full_size()
    return assemble(vae, unet, text, tokenizer(words, LENGTH))


def as_the_root_s() -> StableDiffusionPipeline:
    """A pipeline of the root profile's sizes, after a single step of training."""
    params = get_loader("yaml")(PARAMS.read_text())
    base, size = read_section(params, "base", Base, PARAMS), params["ingest"]["size"]
    pixels = np.random.default_rng(0).integers(0, 256, (64, size, size), np.uint8)
    prompts = [captions.CLASS_PROMPT] * len(pixels)
    images, texts = replace(base.autoencoder, steps=1), replace(base.denoiser, steps=1)
    vae, _ = autoencoder.train(pixels, images, "float32", Checkpoint("benchmark autoencoder"))
    latents, tokens = encode(vae, pixels, "float32"), tokenizer(captions.vocabulary(prompts), texts.text_length)
    boxes = torch.zeros(len(latents), 1, *latents.shape[-2:])
    trained = denoiser.train(latents, boxes, prompts, tokens, texts, "float32", Checkpoint("benchmark denoiser"))
    return assemble(vae, *trained[:2], tokens)
