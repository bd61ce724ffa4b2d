"""Training a multi-label classifier for a fixed number of steps; nothing is selected on the way."""

from dataclasses import dataclass

import numpy as np
import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raremix.classifier.augment import Augmentation, augment, randaugment
from raremix.classifier.loss import loss_of
from raremix.classifier.model import last_layer, normalised, on_device
from raremix.classifier.recipe import Recipe
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, arithmetic, device, seeded, sent
from raremix.runtime.losses import Losses
from raremix.runtime.progress import track
from raremix.runtime.schedule import cosine
from raremix.runtime.seeds import seed_for

EVERYONES = Recipe()


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
    late: NDArray[np.float64] | None = None  # how often in the late phase of a recipe that has one


@dataclass(frozen=True)
class _Phase:
    """Steps that are drawn and weighted alike, and the span of their learning rate and of their average of weights."""

    begin: int
    end: int
    late: bool
    weights: torch.Tensor  # how often each example is drawn

    @property
    def length(self) -> int:
        return self.end - self.begin

    def lr(self, highest: float, step: int) -> float:
        return highest * cosine(step - self.begin, self.length, warmup=self.length // 10)

    def ema_decay(self, training: ClassifierTraining) -> float:
        """The ``training``'s, told of all its steps: a span of fewer forgets in the same share of them."""
        return float(training.ema_decay ** (training.steps / self.length))


def train(
    model: nn.Module,
    examples: Examples,
    training: ClassifierTraining,
    seed: str,
    checkpoint: Checkpoint,
    recipe: Recipe = EVERYONES,
) -> tuple[nn.Module, list[float]]:
    """Fit ``model`` to batches drawn by weight; its averaged weights, and each step's loss.

    Batches are augmented and normalised here. Each phase of the ``recipe`` has a learning rate and an average of its
    own, unless it says otherwise. ``seed`` names the draws: trainings of one name draw and augment alike.
    ``checkpoint`` is where a killed training goes on from.

    Raises:
        UserError: a loss is not finite.
    """
    model = on_device(model)
    averaged = AveragedModel(model, use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), training.lr, weight_decay=training.weight_decay, fused=True)
    images = torch.from_numpy(examples.images)[:, None]
    labels = torch.tensor(examples.labels)
    criterion = loss_of(recipe.loss, examples.labels)
    turn = training.steps - round(recipe.late * training.steps)
    early, late = _phases(examples, training.steps, turn, recipe)
    losses = Losses()
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer, "losses": losses}
    start = checkpoint.restore(**parts)
    for step in track(range(start, training.steps), f"classifier {seed}", training.steps, start):
        random = seeded("classifier", seed, step)
        torch.manual_seed(seed_for("classifier", seed, step))  # some networks drop out, and RandAugment draws from it
        phase = late if step >= turn else early
        if step == phase.begin:
            averaged.n_averaged.zero_()
        averaged.multi_avg_fn = get_ema_multi_avg_fn(phase.ema_decay(training))
        _trainable(model, head_only=phase.late and recipe.head_only)
        chosen = torch.multinomial(phase.weights, training.batch, replacement=True, generator=random)
        seen = augment(sent(images[chosen], device()).float() / 255, training.augmentation, random)
        seen = randaugment(seen) if recipe.randaugment else seen
        optimizer.param_groups[0]["lr"] = phase.lr(training.lr, step)
        with arithmetic(training.precision):
            logits = model(normalised(seen)).float()
        loss = criterion(logits, sent(labels[chosen], device()), phase.late)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(model)
        losses.append(loss)
        checkpoint.save_if_due(step + 1, **parts)
    return averaged.module.eval(), losses.values


def _phases(examples: Examples, steps: int, turn: int, recipe: Recipe) -> tuple[_Phase, _Phase]:
    """The one before step ``turn`` and the late one, which is empty for most recipes."""
    weights = torch.tensor(examples.weights)
    late = weights if examples.late is None else torch.tensor(examples.late)
    spans = ((0, turn), (turn, steps)) if recipe.anew else ((0, steps), (0, steps))
    return _Phase(*spans[0], False, weights), _Phase(*spans[1], True, late)


def _trainable(model: nn.Module, head_only: bool) -> None:
    """Let all of ``model`` learn, or its last layer alone, on features that stand still."""
    model.train(not head_only)
    model.requires_grad_(not head_only)
    last_layer(model)[1].requires_grad_(True)
