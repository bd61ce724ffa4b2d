"""The most memory that DreamBooth takes, in a process of its own."""

import re
from pathlib import Path
from typing import Any

import torch
from fine_tuning import Run, alone, noise, ours
from models import GPU, here

from raremix.generator.base import load


def of_dreambooth(benchmark: Any, base: Path, run: Run, **changes: object) -> None:
    """Of a ``run`` with ``changes`` of our params: on a GPU its memory, else all that the process takes."""
    taken = benchmark.pedantic(lambda: alone(_most, base, run, changes), rounds=1)
    benchmark.extra_info.update(precision=here(), peak_gigabytes=round(taken / 1e9, 2))
    print(f"\nDreamBooth, {2 * run.batch} images a step, {changes or 'plain'}: {taken / 1e9:.2f} GB at most")


def _most(base: Path, run: Run, changes: dict[str, object]) -> int:
    """Bytes: of what a GPU has given out, or of this process alone (getrusage counts what began it, too)."""
    pipeline = load(base)
    ours(pipeline, noise(pipeline, run), run, **changes)
    if GPU:
        return torch.cuda.max_memory_reserved()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])
