"""Let a profile start from what another has made: ``python -m stages.adopt ../..`` in the profile's folder.

Not a stage of the pipeline. DVC knows what a folder has made by that folder's dvc.lock, and so would make again what
the root has. What is taken over are entries of ``dvc.lock`` and the files they name; the next ``dvc repro`` holds each
against the profile's own code, params and data, as ever, and makes anew what differs.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.stage import PipelineStage
from dvc.stage.utils import split_params_deps
from dvc.utils import strictyaml
from ruamel.yaml import YAML

from raremix.runtime.errors import UserError, one_line
from raremix.runtime.files import replacing
from stages.cli import told

LOCK = Path("dvc.lock")
REMEDY = "restore it from git, or remove it and run `dvc repro` there"


def main(args: Sequence[str] | None = None) -> int:
    """Take over what this profile lacks; the exit code, 2 if the other folder's results can't be had."""
    parser = argparse.ArgumentParser(prog="python -m stages.adopt", description="Start from another profile's results.")
    parser.add_argument("other", type=Path, help="the folder whose dvc.lock and results to start from")
    other: Path = parser.parse_args(args).other
    try:
        taken = adopt(other)
    except (UserError, DvcException, OSError) as error:
        print(f"stages.adopt: {told(error) or one_line(error)}", file=sys.stderr)
        return 2
    print(f"{taken} stages of {other} taken over; `dvc repro` makes the rest, and of these what differs here")
    return 0


def adopt(other: Path) -> int:
    """Take over what this profile lacks and the folder ``other`` has made: how many stages.

    Raises:
        UserError: a dvc.lock is missing there, or not whole here or there.
    """
    if not (other / LOCK).is_file():
        raise UserError(f"{other / LOCK}: no such file; run `dvc repro` there")
    made, own = (_entries(folder / LOCK) for folder in (other, Path()))
    with Repo() as repo:
        lacking = {stage.name: stage for stage in repo.stage.load_all() if stage.name in made.keys() - own.keys()}
        found = {name: _entry(stage, made[name], other) for name, stage in lacking.items()}
        uncached = {name: [out.def_path for out in stage.outs if not out.use_cache] for name, stage in lacking.items()}
    taken = {name: entry for name, entry in found.items() if entry}
    with replacing(LOCK) as temporary:
        YAML().dump({"schema": "2.0", "stages": own | taken}, temporary)
    if taken:  # without a name, DVC would check out whatever any folder has
        with Repo() as repo:  # anew, as it has read the lock
            repo.checkout(list(taken), allow_missing=True)
    for folder in (folder for name in taken for folder in uncached[name]):
        shutil.copytree(other / folder, folder, dirs_exist_ok=True)
    return len(taken)


def _entries(lock: Path) -> dict[str, Any]:
    """The stages in ``lock``, by name; none where there is no such file."""
    if not lock.is_file():
        return {}
    try:
        held, text = strictyaml.load(str(lock), COMPILED_LOCKFILE_SCHEMA, round_trip=True)
    except DvcException as error:
        raise UserError(f"{lock}: no whole dvc.lock ({one_line(error)}); {REMEDY}") from None
    if not text.endswith("\n"):
        raise UserError(f"{lock}: no whole dvc.lock (it ends within a line); {REMEDY}")
    return dict(held.get("stages") or {})


def _entry(stage: PipelineStage, made: dict[str, Any], other: Path) -> dict[str, Any] | None:
    """The lock's entry ``made`` in the ``other`` folder, by the paths of ``stage``; none if it is not of the same."""
    by_place = {(other / dep["path"]).resolve(): dep for dep in made.get("deps", [])}
    by_path = {dep["path"]: dep for dep in made.get("deps", [])}
    deps = []
    for path in sorted(dep.def_path for dep in split_params_deps(stage)[1]):
        same = by_path.get(path) or by_place.get(Path(path).resolve())
        if same is None:
            return None
        deps.append({**same, "path": path})
    if sorted(out.def_path for out in stage.outs) != [out["path"] for out in made.get("outs", [])]:
        return None
    return {**made, "cmd": stage.cmd, "deps": deps}


if __name__ == "__main__":
    sys.exit(main())
