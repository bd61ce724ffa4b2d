"""``dvc repro`` with stages side by side: ``python -m stages.repro`` in the root or a profile's folder.

Targets after it, as ``compare``, are those of ``dvc repro``. A stage, or member of a matrix, begins once those it waits
for are done and a place is free: a GPU that this process may use or, where there is none, a core, as a network is
trained and run on a single one there (``raremix.runtime.device.one_core``) but in ``ALL_CORES``. Of those that may
begin, first is what most of the ``LONG`` stages wait for, then what most others wait for. Where ``launch`` in
params.yaml is anything but ``python -m``, a stage may be of several processes that share all GPUs, and stages run one
after the other. A second run in the same folder waits for the first. Before all else params are held against every
stage (``stages.check``), if they or the stages have changed since that was last done.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from raremix.runtime.checkpoints import SCRATCH
from raremix.runtime.cores import cores
from raremix.runtime.errors import UserError
from stages.cli import leave, read_params

DVC = [sys.executable, "-m", "dvc", "--wait-for-lock"]
PIPELINE, PARAMS = "dvc.yaml", Path("params.yaml")
LOCK, CHECKED = SCRATCH / "repro.lock", SCRATCH / "checked"
# Where there is no GPU it runs alone: threads of its would wait for the one whose core another stage has.
ALL_CORES = "base"
CODE = "code"
LONG = frozenset({"sensitivity", "audit"})  # begun last, they would have a core to themselves for minutes
# glibc hands back what a training step on a CPU frees, and the next step gets it anew, zeroed, in pages of 4 KB. Kept,
# and in huge pages, it is there at once (benchmarks/test_kept_memory.py). Other C libraries, and glibc before 2.35, do
# not heed it.
MEMORY = {
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in {"hugetlb": 1, "mmap_threshold": 2**33, "trim_threshold": 2**34, "top_pad": 2**26}.items()
    )
}
INTERRUPTED, STOPPED = 130, "stages.repro: stopped; run it again to go on"
Graph = dict[str, set[str]]  # stage -> those it waits for
Running = dict[str, tuple["subprocess.Popen[bytes]", Mapping[str, str]]]  # stage -> its run and its place


def main(targets: Sequence[str] = ()) -> int:
    """Bring the pipeline up to date, or what ``targets`` need; the exit code of the first that fails, else 0."""
    if {"-h", "--help"} & {*targets}:
        print(__doc__)
        return 0
    if options := [target for target in targets if target.startswith("-")]:
        leave(f"stages.repro: '{options[0]}' is no stage; for options use dvc repro", 2)
    with _alone():
        if code := _checked():
            return code
        there = places()
        if len(there) > 1 and _of_one_process():
            try:
                code = _side_by_side(_stale(targets), there)
            except subprocess.CalledProcessError as failed:  # DVC has said why
                code = failed.returncode
            if code == INTERRUPTED:
                print(STOPPED, file=sys.stderr)
            if code:
                return code
        return _dvc("repro", *targets)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other run of this is at work in the folder.

    DVC refuses a stage that another is at, and then each of two runs may stop over one that the other has begun.
    """
    LOCK.parent.mkdir(exist_ok=True)
    lock = FileLock(LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print("stages.repro: another run is at work in this folder; waiting for it to end", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _checked() -> int:
    """Hold params against every stage, unless that was done with them as they are; the exit code."""
    says = [PARAMS, Path(PIPELINE), *Path(__file__).parent.glob("*.py")]
    done = CHECKED.stat().st_mtime if CHECKED.is_file() else 0.0
    if all(file.is_file() and file.stat().st_mtime < done for file in says):
        return 0
    code = subprocess.run([sys.executable, "-m", "stages.check"]).returncode
    if code == 0:
        CHECKED.touch()
    return code


def places() -> list[Mapping[str, str]]:
    """Where stages can run at once: the environment variables that put one there."""
    if count := torch.cuda.device_count():
        named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in named.split(",")[:count]]
    return [{} for _ in range(cores())]


def _of_one_process() -> bool:
    try:
        return read_params(PARAMS).get("launch") == "python -m"
    except UserError:  # DVC says what is wrong with the file
        return False


def _stale(targets: Sequence[str]) -> Graph:
    """What is to run again of the pipeline, or of what ``targets`` need, and what comes after it and so may be."""
    changed = _changed()
    if CODE in changed:  # all comes after it, and its lists say what changes
        subprocess.run([*DVC, "repro", "--single-item", CODE], check=True)
        changed = _changed()
    graph: Graph = {}
    for target in (targets or [PIPELINE]) if changed else ():
        graph |= _graph(_told("dag", "--dot", target))
    stale: set[str] = set()
    for stage in TopologicalSorter(graph).static_order():
        if stage in changed or graph[stage] & stale:
            stale.add(stage)
    return {stage: before & stale for stage, before in graph.items() if stage in stale}


def _changed() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_told("status", "--json", PIPELINE))
    return told


def _graph(dot: str) -> Graph:
    """The stages that DVC draws."""
    graph: Graph = {name: set() for name in re.findall(r'^"([^"]+)";$', dot, re.M)}
    for before, after in re.findall(r'^"([^"]+)" -> "([^"]+)";$', dot, re.M):
        graph[after].add(before)
    return graph


def _side_by_side(graph: Graph, there: Sequence[Mapping[str, str]]) -> int:
    """Run the stages of ``graph``. After one that fails, or Ctrl-C, which reaches all, no other begins."""
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    free, waiting, after, code = list(there), list[str](), _after(graph), 0
    running: Running = {}
    while running or (sorter.is_active() and not code):
        waiting += sorter.get_ready()
        waiting.sort(key=lambda stage: (len(after[stage] & LONG), len(after[stage])), reverse=True)
        try:
            while free and waiting and not code and (free[0] or _may_begin(waiting[0], running)):
                stage, place = waiting.pop(0), free.pop(0)
                running[stage] = _begin(place, "repro", "--single-item", stage), place
            ended = _first_ended(running)
        except KeyboardInterrupt:
            code = INTERRUPTED
            continue
        run, place = running.pop(ended)
        free.append(place)
        sorter.done(ended)
        code = code or run.returncode
    return code


def _after(graph: Graph) -> Graph:
    """Each stage with those that wait for it or for one of these, and itself."""
    after = {stage: {stage} for stage in graph}
    for stage in reversed([*TopologicalSorter(graph).static_order()]):
        for before in graph[stage]:
            after[before] |= after[stage]
    return after


def _may_begin(stage: str, running: Mapping[str, object]) -> bool:
    """Whether there are cores for ``stage`` beside those ``running``."""
    return not running or ALL_CORES not in [stage, *running]


def _first_ended(running: Running) -> str:
    while True:
        for stage, (run, _) in running.items():
            if run.poll() is not None:
                return stage
        time.sleep(0.02)


def _dvc(*arguments: str) -> int:
    """Run DVC for its exit code. Ctrl-C reaches it as well, and is left to it."""
    run = _begin({}, *arguments)
    while True:
        with suppress(KeyboardInterrupt):
            return run.wait()


def _begin(place: Mapping[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
    memory = {} if torch.cuda.device_count() else MEMORY
    return subprocess.Popen([*DVC, *arguments], env={**memory, **os.environ, **place})


def _told(*arguments: str) -> str:
    return subprocess.run([*DVC, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        leave(STOPPED, INTERRUPTED)
