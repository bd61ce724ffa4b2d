"""A classifier's training beside the bare step on a batch that is already where it is needed."""

from uuid import uuid4

import numpy as np
import torch
from models import GPU, here
from torch.nn.functional import binary_cross_entropy_with_logits

from raremix.classifier.augment import Augmentation
from raremix.classifier.model import build, normalised, on_device
from raremix.classifier.train import ClassifierTraining, Examples, train
from raremix.data.views import Views
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import arithmetic, device

STEPS, BATCH, SIZE, FINDINGS, ROUNDS = (100, 64, 224, 14, 3) if GPU else (6, 8, 224, 14, 3)
TRAINING = ClassifierTraining(
    STEPS, BATCH, 1e-3, 0.05, 0.98, here(), Augmentation(Views(8.0, 0.06, 0.1), brightness=0.1, contrast=0.2)
)


def bare():
    """The same network, precision, layout and optimizer; no data, augmentation, average, checkpoint or progress."""
    model = on_device(build("resnet50", FINDINGS)).train()
    optimizer = torch.optim.AdamW(model.parameters(), TRAINING.lr, weight_decay=TRAINING.weight_decay, fused=True)
    images = torch.rand(BATCH, 1, SIZE, SIZE, device=device())
    labels = torch.zeros(BATCH, FINDINGS, device=device())
    for _ in range(STEPS):
        with arithmetic(TRAINING.precision):
            logits = model(normalised(images)).float()
        binary_cross_entropy_with_logits(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return logits.sum().item()


def test_training_against_the_bare_step(times_as_fast, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4 * BATCH, SIZE, SIZE), np.uint8)
    examples = Examples(pixels, np.zeros((4 * BATCH, FINDINGS), np.float32), np.ones(4 * BATCH))

    def ours():
        train(build("resnet50", FINDINGS), examples, TRAINING, "benchmark", Checkpoint("benchmark", uuid4().hex))

    ratio = times_as_fast(ours, bare, ROUNDS)
    print(f"\nresnet50 at {SIZE} pixels, {device().type}: {100 * ratio:.0f} % of the bare step's images a second")
