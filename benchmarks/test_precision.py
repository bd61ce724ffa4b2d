"""A classifier's step on a CPU in the precision that is taken for native there, beside the same step in the other."""

import pytest
import torch
from classifying import FINDINGS, ROUNDS, SIZE, steps
from models import here

from raremix.classifier.model import build, on_device
from raremix.runtime import device


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's bfloat16 is taken for granted")
def test_native_precision_against_the_other(times_as_fast, monkeypatch):
    native = here()
    other: device.Precision = "float32" if native == "bfloat16" else "bfloat16"
    monkeypatch.setattr(device, "native", lambda precision: precision)
    with device.one_core():
        ours, theirs = (steps(on_device(build("resnet18", FINDINGS)), kind) for kind in (native, other))
        ratio = times_as_fast(ours, theirs, ROUNDS)
    print(f"\nresnet18 at {SIZE} pixels, one core: {ratio:.2f} times as fast in {native} as in {other}")
