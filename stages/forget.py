"""Take out of dvc.lock what is of stages that the pipeline has no more: ``python -m stages.forget``.

Not a stage of the pipeline. A stage that was renamed, or a member of a matrix that params.yaml no longer names, keeps
its entry: DVC reads and writes it at every stage that runs, and who reviews a pull request takes it for a result. What
such a stage has made stays where it is, and in DVC's cache.
"""

import argparse
import sys

from dvc.dvcfile import load_file
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.serialize import modify_yaml

from raremix.runtime.errors import one_line

PIPELINE, LOCK = "dvc.yaml", "dvc.lock"


def main() -> int:
    """Forget what is dead in this folder's dvc.lock; the exit code, 2 if it or the pipeline can't be read."""
    try:
        with Repo() as repo, repo.lock:
            gone = dead(repo)
            if gone:
                with modify_yaml(LOCK) as held:
                    for name in gone:
                        del held["stages"][name]
    except DvcException as error:
        print(f"stages.forget: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{len(gone)} entries taken out of {LOCK}" if gone else f"{LOCK} has no entry of a stage that there is not")
    return 0


def dead(repo: Repo) -> list[str]:
    """The names of dvc.lock's entries, in the folder of ``repo``, that no stage of its dvc.yaml has.

    Raises:
        DvcException: one of the two files is not whole.
    """
    alive = {stage.name for stage in repo.stage.load_all(PIPELINE)}
    return sorted((load_file(repo, PIPELINE).lockfile_contents.get("stages") or {}).keys() - alive)


if __name__ == "__main__":
    about = "Take out of this folder's dvc.lock what is of stages that the pipeline has no more."
    argparse.ArgumentParser(prog="python -m stages.forget", description=about).parse_args()
    sys.exit(main())
