"""A classifier's step on a CPU with its smallest convolutions as products, beside oneDNN's convolutions alone."""

import pytest
import torch
from models import here
from torch.nn.functional import binary_cross_entropy_with_logits

from raremix.classifier.model import build, normalised, on_device
from raremix.runtime.device import arithmetic, one_core

STEPS, BATCH, SIZE, FINDINGS, ROUNDS = 5, 48, 64, 4, 5  # the root's batch, side and findings


def steps(network):
    """``STEPS`` of training, a call, as every arm's classifier has them."""
    optimizer = torch.optim.AdamW(network.train().parameters(), 1e-3, fused=True)
    images, labels = torch.rand(BATCH, 1, SIZE, SIZE), torch.zeros(BATCH, FINDINGS)

    def run():
        for _ in range(STEPS):
            with arithmetic(here()):
                logits = network(normalised(images)).float()
            binary_cross_entropy_with_logits(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's convolutions stay what they are")
def test_products_against_convolutions(times_as_fast):
    with one_core():
        plain = build("resnet18", FINDINGS).to(memory_format=torch.channels_last)
        ratio = times_as_fast(steps(on_device(build("resnet18", FINDINGS))), steps(plain), ROUNDS)
    print(f"\nresnet18 at {SIZE} pixels, one core, {here()}: {ratio:.2f} times as fast with products")
