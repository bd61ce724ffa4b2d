"""How near DreamBooth's and a classifier's step come to what the chip can do, and the memory DreamBooth takes."""

import memory
import pytest
import roofline
import torch
from fine_tuning import Run
from models import GPU, fitting, here
from torch.nn.functional import binary_cross_entropy_with_logits

from raremix.classifier.model import build, normalised, on_device
from raremix.runtime.device import arithmetic, device

RUN = Run(30, 5, fitting(8), 5, 40) if GPU else Run(12, 5, 12, 5, 40)
IMAGES, SIZE, FINDINGS = (64, 224, 14) if GPU else (8, 224, 14)  # of a classifier's step


def test_roofline_of_dreambooth(benchmark, base):
    roofline.of_dreambooth(benchmark, base, RUN)


def test_roofline_of_a_classifier(benchmark):
    model = on_device(build("resnet50", FINDINGS)).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images, labels = torch.rand(IMAGES, 1, SIZE, SIZE, device=device()), torch.zeros(IMAGES, FINDINGS, device=device())

    def step() -> torch.Tensor:
        with arithmetic(here()):
            logits = model(normalised(images)).float()
        return binary_cross_entropy_with_logits(logits, labels)

    def whole() -> None:
        step().backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = benchmark.pedantic(lambda: roofline.fastest(whole), rounds=1)
    print(f"\nResNet-50: {roofline.keep(benchmark, step, model.parameters(), seconds)}")


SAVING = {"gradient_checkpointing": True}


@pytest.mark.parametrize(
    "changes",
    [{}, SAVING, SAVING | {"optimizer": "adafactor"}],
    ids=["plain", "gradient checkpointing", "gradient checkpointing, Adafactor"],
)
def test_memory_of_dreambooth(benchmark, base, tmp_path, monkeypatch, changes):
    """What an instance and a prior image a step take, in a process of its own: on a GPU of its memory, else of all."""
    monkeypatch.chdir(tmp_path)
    memory.of_dreambooth(benchmark, base, Run(6, 1, 1, 5, 40), **changes)
