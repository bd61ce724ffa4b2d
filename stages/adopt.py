"""Let a profile start from what another has made: ``python -m stages.adopt ../..`` in the profile's folder.

Not a stage of the pipeline. DVC knows a stage by its paths, and from a profile the source files have other ones, so
that it would make again what the root has. What is taken over are entries of ``dvc.lock`` and the files they name; the
next ``dvc repro`` holds each against the profile's own code, params and data, as ever, and makes anew what differs.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc.stage.utils import split_params_deps
from ruamel.yaml import YAML

from raremix.runtime.files import replacing

LOCK = Path("dvc.lock")


def main(args: Sequence[str] | None = None) -> int:
    """Take over what this profile lacks; the exit code, 2 if the other folder has made nothing."""
    parser = argparse.ArgumentParser(prog="python -m stages.adopt", description="Start from another profile's results.")
    parser.add_argument("other", type=Path, help="the folder whose dvc.lock and results to start from")
    other: Path = parser.parse_args(args).other
    if not (other / LOCK).is_file():
        print(f"stages.adopt: {other / LOCK}: no such file; run `dvc repro` there", file=sys.stderr)
        return 2
    made, own = (_entries(folder / LOCK) for folder in (other, Path()))
    with Repo() as repo:
        lacking = {stage.name: stage for stage in repo.stage.load_all() if stage.name in made.keys() - own.keys()}
        found = {name: _entry(stage, made[name], other) for name, stage in lacking.items()}
        uncached = {name: [out.def_path for out in stage.outs if not out.use_cache] for name, stage in lacking.items()}
    taken = {name: entry for name, entry in found.items() if entry}
    with replacing(LOCK) as temporary:
        YAML().dump({"schema": "2.0", "stages": own | taken}, temporary)
    with Repo() as repo:  # anew, as it has read the lock
        repo.checkout(list(taken), allow_missing=True)
    for folder in (folder for name in taken for folder in uncached[name]):
        shutil.copytree(other / folder, folder, dirs_exist_ok=True)
    print(f"{len(taken)} stages of {other} taken over; `dvc repro` makes the rest, and of these what differs here")
    return 0


def _entries(lock: Path) -> dict[str, Any]:
    return dict(YAML().load(lock)["stages"]) if lock.is_file() else {}


def _entry(stage: PipelineStage, made: dict[str, Any], other: Path) -> dict[str, Any] | None:
    """The lock's entry ``made`` in the ``other`` folder, by the paths of ``stage``; none if it is not of the same."""
    by_place = {(other / dep["path"]).resolve(): dep for dep in made["deps"]}
    by_path = {dep["path"]: dep for dep in made["deps"]}
    deps = []
    for path in sorted(dep.def_path for dep in split_params_deps(stage)[1]):
        same = by_path.get(path) or by_place.get(Path(path).resolve())
        if same is None:
            return None
        deps.append({**same, "path": path})
    if sorted(out.def_path for out in stage.outs) != [out["path"] for out in made["outs"]]:
        return None
    return {**made, "cmd": stage.cmd, "deps": deps}


if __name__ == "__main__":
    sys.exit(main())
