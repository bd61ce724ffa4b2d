"""Two ways of one thing, timed in turn, so that a noisy machine is as noisy for either."""

import gc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import models
import pytest
import torch

from raremix.generator import sample
from raremix.runtime import checkpoints
from raremix.runtime.provenance import provenance


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Date, commit, hardware and versions, into what ``--benchmark-json`` writes."""
    machine_info["raremix"] = provenance(Path(__file__).parent.parent)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """States of trainings that are measured are nobody's to go on from."""
    monkeypatch.setattr(checkpoints, "SCRATCH", tmp_path / "scratch")


@pytest.fixture(autouse=True)
def memory_to_itself() -> None:
    """Nothing of the benchmark before is on the device."""
    gc.collect()
    if models.GPU:
        torch.cuda.empty_cache()


@pytest.fixture(autouse=True)
def whole_batches(monkeypatch):
    """Where memory is too short for a batch, a smaller one is no measurement of it."""

    def fewer(images: int) -> int:
        raise MemoryError(f"no memory for {images} images at once: measure a smaller batch")

    monkeypatch.setattr(sample, "_fewer", fewer)


@pytest.fixture(scope="session")
def full_size(tmp_path_factory):
    """A pipeline of Stable Diffusion v1.4's sizes on disk."""
    folder = tmp_path_factory.mktemp("models") / "full_size"
    models.as_published().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory, request):
    """A pipeline on disk: of Stable Diffusion v1.4's sizes on a GPU, of the root profile's elsewhere."""
    if models.GPU:
        return request.getfixturevalue("full_size")
    folder = tmp_path_factory.mktemp("models") / "base"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SCRATCH", folder.parent / "scratch")
        made = models.as_the_root_s()
    made.save_pretrained(folder)
    return folder


@pytest.fixture
def times_as_fast(benchmark: Any) -> Callable[..., float]:
    """``times_as_fast(ours, other, rounds)``: the other's fastest round over our fastest, kept with the benchmark."""

    def measure(ours: Callable[[], object], other: Callable[[], object], rounds: int) -> float:
        seconds = []

        def the_other() -> None:
            began = perf_counter()
            other()
            seconds.append(perf_counter() - began)

        the_other()
        seconds.clear()
        benchmark.pedantic(ours, setup=the_other, rounds=rounds, warmup_rounds=1)
        ratio = min(seconds[-rounds:]) / benchmark.stats.stats.min
        benchmark.extra_info["times_as_fast"] = round(ratio, 3)
        return float(ratio)

    return measure
