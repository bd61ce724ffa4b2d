"""The fine-tuned models of several findings: side by side on one core each, as ``stages.repro`` makes them, or in turn.

On one GPU there is nothing to be had from it, and with several each takes a member.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from fine_tuning import noise, ours

from raremix.runtime.cores import cores
from raremix.runtime.device import one_core

FINDINGS, STEPS, BATCH, INSTANCES, PRIOR, ROUNDS = 4, 12, 12, 5, 40, 2


def tuned(base: Path, alone: bool) -> None:
    """One finding's model in a process of its own, which loads the base model: on all cores if ``alone``."""
    images = noise(base, INSTANCES + PRIOR)
    if alone:
        ours(base, images, INSTANCES, STEPS, BATCH)
        return
    with one_core():
        ours(base, images, INSTANCES, STEPS, BATCH)


def all_findings(base: Path, at_once: int) -> None:
    with ProcessPoolExecutor(at_once, get_context("spawn"), max_tasks_per_child=1) as pool:
        list(pool.map(tuned, [base] * FINDINGS, [at_once == 1] * FINDINGS))


@pytest.mark.skipif(torch.cuda.is_available() or cores() == 1, reason="it takes several cores and no GPU")
def test_all_findings_side_by_side_against_in_turn(times_as_fast, base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ratio = times_as_fast(lambda: all_findings(base, cores()), lambda: all_findings(base, 1), ROUNDS)
    print(f"\n{FINDINGS} findings, {cores()} at once: {ratio:.2f} times as fast as one after the other")
