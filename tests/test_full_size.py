"""What the benchmarks call Stable Diffusion v1.4 is as large as that."""

from importlib import import_module
from pathlib import Path

import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PUBLISHED = {"AutoencoderKL": 83_653_863, "UNet2DConditionModel": 859_520_964, "CLIPTextModel": 123_060_480}


def test_the_benchmarks_networks_have_the_published_counts_of_parameters(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    with torch.device("meta"):
        networks = import_module("models").full_size()
    counts = {type(network).__name__: sum(p.numel() for p in network.parameters()) for network in networks}
    assert counts == PUBLISHED
