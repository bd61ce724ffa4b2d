"""``dvc repro`` with stages side by side: ``python -m stages.repro`` in the root or a profile's folder.

Targets after it, as ``compare``, are those of ``dvc repro``. At a time runs all that waits for nothing more: one stage, or
member of a matrix, on each GPU that this process may use. Where there is none, one on each core, as a stage uses a
single one there (``raremix.runtime.device.one_core``) unless it is one of ``ALL_CORES``.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from graphlib import TopologicalSorter

import torch

from raremix.runtime.cores import cores

DVC = [sys.executable, "-m", "dvc", "--wait-for-lock"]
ALL_CORES = ("base", "sensitivity")  # where there is no GPU they run alone


def main(targets: Sequence[str] = ()) -> int:
    """Bring the pipeline up to date, or what ``targets`` need; the exit code of DVC's first run that fails, else 0."""
    there = places()
    try:
        for wave in _stale_waves(targets) if len(there) > 1 else ():
            if code := _side_by_side(wave, there):
                return code
    except subprocess.CalledProcessError as failed:  # DVC has said why
        return failed.returncode
    return _dvc("repro", *targets)


def _stale_waves(targets: Sequence[str]) -> Iterator[list[str]]:
    """What is to run again, or may be, in the ``waves`` of its graph."""
    graph = _graph(_told("dag", "--dot", *targets))
    stale = set(json.loads(_told("status", "--json", *targets)))
    for wave in waves(graph):
        stale.update(stage for stage in wave if graph[stage] & stale)
        if again := [stage for stage in wave if stage in stale]:
            yield again


def waves(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The stages of a ``graph`` (stage -> those it waits for) in lists, none of which waits for another of its list."""
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        alone = [] if torch.cuda.is_available() else [stage for stage in ready if stage in ALL_CORES]
        yield from ([stage] for stage in alone)
        yield [stage for stage in ready if stage not in alone]
        sorter.done(*ready)


def _graph(dot: str) -> dict[str, set[str]]:
    """Each stage that DVC draws of this folder's dvc.yaml, and those it waits for; others' names have a colon."""
    graph: dict[str, set[str]] = {name: set() for name in re.findall(r'^"([^":]+)";$', dot, re.M)}
    for before, after in re.findall(r'^"([^":]+)" -> "([^":]+)";$', dot, re.M):
        graph[after].add(before)
    return graph


def places() -> list[Mapping[str, str]]:
    """Where members of a matrix can run at once: the environment variables that put one there."""
    if count := torch.cuda.device_count():
        named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in named.split(",")[:count]]
    return [{} for _ in range(cores())]


def _side_by_side(stages: Sequence[str], there: Sequence[Mapping[str, str]]) -> int:
    """Run ``stages``, in each place its share of them one after the other."""
    shares = [(stages[k :: len(there)], place) for k, place in enumerate(there)]
    return _codes(
        [
            subprocess.Popen([*DVC, "repro", "--single-item", *share], env=os.environ | dict(place))
            for share, place in shares
            if share
        ]
    )


def _told(*arguments: str) -> str:
    return subprocess.run([*DVC, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def _dvc(*arguments: str) -> int:
    return _codes([subprocess.Popen([*DVC, *arguments])])


def _codes(runs: Sequence["subprocess.Popen[bytes]"]) -> int:
    """The exit code of the runs, 0 if all ended well. Ctrl-C reaches them as well, and is left to them."""
    codes: list[int] = []
    while len(codes) < len(runs):
        with suppress(KeyboardInterrupt):
            codes.append(runs[len(codes)].wait())
    return max(codes, key=abs, default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
