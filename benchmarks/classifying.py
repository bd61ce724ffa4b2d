"""A classifier's steps as the root's arms have them; run as a script, it prints the seconds that the fastest took."""

from collections.abc import Callable
from itertools import pairwise
from time import perf_counter

import torch
from models import here
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from raremix.classifier.model import build, normalised, on_device
from raremix.runtime.device import Precision, arithmetic, one_core

STEPS, BATCH, SIZE, FINDINGS, ROUNDS = 5, 48, 64, 4, 5  # the root's batch, side and findings


def steps(network: nn.Module, precision: Precision | None = None) -> Callable[[], None]:
    """``STEPS`` of training, a call; in the precision that is native unless told otherwise."""
    optimizer = torch.optim.AdamW(network.train().parameters(), 1e-3, fused=True)
    images, labels = torch.rand(BATCH, 1, SIZE, SIZE), torch.zeros(BATCH, FINDINGS)

    def run() -> None:
        for _ in range(STEPS):
            with arithmetic(precision or here()):
                logits = network(normalised(images)).float()
            binary_cross_entropy_with_logits(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def seconds_a_step() -> float:
    """Of the fastest of ``ROUNDS`` calls, after two that are not counted."""
    run, ends = steps(on_device(build("resnet18", FINDINGS))), []
    for _ in range(ROUNDS + 2):
        run()
        ends.append(perf_counter())
    return min(after - before for before, after in pairwise(ends[1:])) / STEPS


if __name__ == "__main__":
    with one_core():
        print(seconds_a_step())
