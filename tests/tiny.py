"""The smallest real models, for tests: the classes of the study at a size that trains in a second."""

from pathlib import Path

import numpy as np
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from raremix.classifier.augment import Augmentation
from raremix.classifier.train import ClassifierTraining
from raremix.data.views import Views
from raremix.generator.autoencoder import AutoencoderTraining
from raremix.generator.denoiser import DenoiserTraining
from raremix.generator.dreambooth import DreamBoothTraining
from raremix.generator.sample import Sampling
from raremix.generator.tokens import tokenizer

SIZE = 16
SAMPLING = Sampling(3, 2.0, 2, "float32")
PROMPTS = ["chest x-ray pa view female", "chest x-ray ap view male pacemaker", "chest x-ray pa view <calcification>"]
VIEWS = Views(rotation=5.0, shift=0.05, zoom=0.05)
AUTOENCODER = AutoencoderTraining([8, 8, 8], 4, steps=4, batch=2, lr=1e-3, edge_weight=1.0, kl_weight=1e-6)
DENOISER = DenoiserTraining(
    [16, 16], [False, True], text_width=8, text_layers=1, text_length=12, steps=4, batch=2, lr=1e-3,
    box_weight=2.0, caption_dropout=0.5, ema_decay=0.9,
)  # fmt: skip
DREAMBOOTH = DreamBoothTraining(
    steps=4,
    batch=2,
    accumulation=1,
    gradient_checkpointing=False,
    compiled=False,
    optimizer="adamw",
    lr=1e-3,
    text_encoder=False,
    prior_weight=1.0,
    box_share=0.5,
    snr_gamma=None,
    ema_decay=None,
    encoded_views=2,
    views=VIEWS,
    sample_every=0,
)
CLASSIFIER = ClassifierTraining(
    steps=4, batch=4, lr=1e-3, weight_decay=0.0, ema_decay=0.5, precision="float32",
    augmentation=Augmentation(VIEWS, brightness=0.1, contrast=0.1),
)  # fmt: skip

CLIP = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def save_clip(path: Path, phrases: list[str]) -> None:
    """A CLIP model of random weights that knows the words of ``phrases``, as one would be downloaded."""
    tokens = tokenizer(phrases, 16)
    text = CLIP | {"vocab_size": len(tokens), "max_position_embeddings": 16, "eos_token_id": tokens.eos_token_id}
    vision = CLIP | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(path)
    tokens.save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)


def images(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Smooth random grey images ``[count, size, size]``."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    slopes = rng.normal(size=(count, 3, 1, 1))
    return np.clip(128 + 50 * (slopes[:, 0] * x + slopes[:, 1] * y + slopes[:, 2] * x * y), 0, 255).astype(np.uint8)
