"""A classifier's step on a CPU with its smallest convolutions as products, beside oneDNN's convolutions alone."""

import pytest
import torch
from classifying import FINDINGS, ROUNDS, SIZE, steps
from models import here

from raremix.classifier.model import build, on_device
from raremix.runtime.device import one_core


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's convolutions stay what they are")
def test_products_against_convolutions(times_as_fast):
    with one_core():
        plain = build("resnet18", FINDINGS).to(memory_format=torch.channels_last)
        ratio = times_as_fast(steps(on_device(build("resnet18", FINDINGS))), steps(plain), ROUNDS)
    print(f"\nresnet18 at {SIZE} pixels, one core, {here()}: {ratio:.2f} times as fast with products")
