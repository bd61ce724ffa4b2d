"""Training a multi-label classifier for a fixed number of steps; nothing is selected on the way."""

from dataclasses import dataclass

import numpy as np
import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raremix.classifier.augment import Augmentation, augment
from raremix.classifier.model import normalised, on_device
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, arithmetic, device, seeded
from raremix.runtime.losses import Losses
from raremix.runtime.progress import track
from raremix.runtime.schedule import cosine
from raremix.runtime.seeds import seed_for


@dataclass(frozen=True)
class ClassifierTraining:
    """The budget every arm gets."""

    steps: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    ema_decay: ClosedUnitInterval
    precision: Precision
    augmentation: Augmentation


@dataclass(frozen=True)
class Examples:
    """Images ``[n, side, side]`` in 0..255, labels ``[n, outputs]`` 0 or 1, and how often each is drawn ``[n]``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.float32]
    weights: NDArray[np.float64]


def train(
    model: nn.Module, examples: Examples, training: ClassifierTraining, seed: str, checkpoint: Checkpoint
) -> tuple[nn.Module, list[float]]:
    """Fit ``model`` by binary cross entropy to batches drawn by weight; its averaged weights, and the losses."""
    model = on_device(model).train()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(training.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), training.lr, weight_decay=training.weight_decay, fused=True)
    images = torch.from_numpy(examples.images)[:, None]
    labels, weights = torch.tensor(examples.labels), torch.tensor(examples.weights)
    losses = Losses()
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer, "losses": losses}
    start = checkpoint.restore(**parts)
    for step in track(range(start, training.steps), f"classifier {seed}", training.steps, start):
        random = seeded("classifier", seed, step)
        torch.manual_seed(seed_for("classifier", seed, step))  # some networks drop out
        chosen = torch.multinomial(weights, training.batch, replacement=True, generator=random)
        seen = augment(images[chosen].float() / 255, training.augmentation, random).to(device())
        optimizer.param_groups[0]["lr"] = training.lr * cosine(step, training.steps, warmup=training.steps // 10)
        with arithmetic(training.precision):
            logits = model(normalised(seen)).float()
        loss = binary_cross_entropy_with_logits(logits, labels[chosen].to(device()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(model)
        losses.append(loss)
        checkpoint.save_if_due(step + 1, **parts)
    return averaged.module.eval(), losses.values
