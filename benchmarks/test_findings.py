"""The fine-tuned models of several findings as the study makes them: a trial's in one process, which loads the base
model once, and without a GPU as many trials at once as there are cores, on one each.

Beside it a process for each finding: in turn, on all that the machine has, and as many at once as there are cores.
"""

from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path

import pytest
from fine_tuning import Run, noise, ours
from models import GPU, fitting

from raremix.generator.base import load
from raremix.runtime.cores import cores
from raremix.runtime.device import one_core

TRIALS, BATCH = (1, fitting(4)) if GPU else (cores(), 12)
FINDINGS, ROUNDS, RUN = 3, 1, Run(30, 5, BATCH, 5, 40)


def taught(base: Path, findings: int) -> None:
    """As many findings' models, one after the other, on all cores."""
    loaded = load(base)
    images = noise(loaded, RUN)
    for _ in range(findings):
        ours(deepcopy(loaded) if findings > 1 else loaded, images, RUN)


def taught_on_one_core(base: Path, findings: int) -> None:
    with one_core():
        taught(base, findings)


def a_process_a_trial(base: Path) -> None:
    with ProcessPoolExecutor(TRIALS, get_context("spawn"), max_tasks_per_child=1) as pool:
        list(pool.map(taught_on_one_core, [base] * TRIALS, [FINDINGS] * TRIALS))


def a_process_a_finding(base: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        list(pool.map(taught, [base] * TRIALS * FINDINGS, [1] * TRIALS * FINDINGS))


def a_process_a_finding_side_by_side(base: Path) -> None:
    with ProcessPoolExecutor(TRIALS, get_context("spawn"), max_tasks_per_child=1) as pool:
        list(pool.map(taught_on_one_core, [base] * TRIALS * FINDINGS, [1] * TRIALS * FINDINGS))


def test_all_findings_against_a_process_a_finding(times_as_fast, base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ratio = times_as_fast(lambda: a_process_a_trial(base), lambda: a_process_a_finding(base), ROUNDS)
    print(f"\n{FINDINGS} findings in {TRIALS} trials: {ratio:.2f} times as fast as a process a finding")


@pytest.mark.skipif(GPU, reason="a GPU has one trial at once: the same comparison")
def test_all_findings_against_as_many_processes_at_once(times_as_fast, base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ratio = times_as_fast(lambda: a_process_a_trial(base), lambda: a_process_a_finding_side_by_side(base), ROUNDS)
    print(
        f"\n{FINDINGS} findings in {TRIALS} trials: {ratio:.2f} times as fast as a process a finding, {TRIALS} at once"
    )
