"""A classifier's step in a process that keeps freed memory, in huge pages, as stages do, beside one that does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import here

from stages.repro import MEMORY

PLAIN = {name: value for name, value in os.environ.items() if name not in MEMORY}


def seconds_a_step(environment: dict[str, str]) -> float:
    """What ``classifying`` prints in a process of its own: glibc reads its tunables when one begins."""
    script = [sys.executable, Path(__file__).parent / "classifying.py"]
    return float(subprocess.run(script, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.mark.skipif(torch.cuda.is_available() or sys.platform != "linux", reason="it is glibc's memory, not a GPU's")
def test_kept_memory_against_handed_back(benchmark):
    kept: list[float] = []
    handed_back: list[float] = []

    def both() -> None:
        handed_back.append(seconds_a_step(PLAIN))
        kept.append(seconds_a_step(PLAIN | MEMORY))

    benchmark.pedantic(both, rounds=3)
    ratio = min(handed_back) / min(kept)
    benchmark.extra_info.update(times_as_fast=round(ratio, 3), seconds_a_step=min(kept), theirs=min(handed_back))
    print(f"\nresnet18 on one core, {here()}: {ratio:.2f} times as fast with memory kept")
