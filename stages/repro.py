"""``dvc repro`` with members of a matrix side by side: ``python -m stages.repro`` in the root or a profile's folder.

Targets after it, as ``compare``, are those of ``dvc repro``; they must be ones that wait for the classifiers.
One on each GPU that this process may use. Where there is none, one on each core, as a member of a matrix uses a single
one there (``raremix.runtime.device.one_core``).
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from raremix.runtime.cores import cores

DVC = [sys.executable, "-m", "dvc", "--wait-for-lock"]


@dataclass(frozen=True)
class Matrix:
    """A stage of which there are many, none waiting for another."""

    stage: str
    after: list[str]  # the stages before it that are not members of a matrix themselves


MATRICES = (
    Matrix("dreambooth", ["base"]),
    Matrix("synthesize", []),
    Matrix("classify", ["mix", "backbone"]),
)


def main(targets: Sequence[str] = ()) -> int:
    """Bring the pipeline up to date, or what ``targets`` need; the exit code of DVC's first run that fails, else 0."""
    there = places()
    for matrix in MATRICES if len(there) > 1 else ():
        code = _dvc("repro", *matrix.after) if matrix.after else 0
        code = code or _side_by_side(matrix.stage, there)
        if code:
            return code
    return _dvc("repro", *targets)


def places() -> list[Mapping[str, str]]:
    """Where members of a matrix can run at once: the environment variables that put one there."""
    if count := torch.cuda.device_count():
        named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in named.split(",")[:count]]
    return [{} for _ in range(cores())]


def _side_by_side(stage: str, there: Sequence[Mapping[str, str]]) -> int:
    """Run the members of ``stage``, in each place its share of them one after the other."""
    listed = subprocess.run([*DVC, "stage", "list", "--name-only", stage], stdout=subprocess.PIPE, text=True)
    if listed.returncode:
        return listed.returncode
    members = listed.stdout.split()
    shares = [(members[k :: len(there)], place) for k, place in enumerate(there)]
    return _codes(
        [
            subprocess.Popen([*DVC, "repro", "--single-item", *share], env=os.environ | dict(place))
            for share, place in shares
            if share
        ]
    )


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
