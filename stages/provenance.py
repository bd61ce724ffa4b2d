"""Write where a profile's metrics come from: ``python -m stages.provenance metrics/provenance.json``.

Date, commit, files that differed from it, hardware, versions, and the profile's params but for ``data``. Not a stage of
the pipeline: run it in the profile's folder when its run is finished, and commit both.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from raremix.runtime.errors import UserError
from raremix.runtime.files import write_json
from raremix.runtime.provenance import provenance
from stages.cli import read_params, told


def main(args: Sequence[str] | None = None) -> int:
    """Write the provenance of a run made here and now; the exit code, 2 where that can't be told or written."""
    parser = argparse.ArgumentParser(prog="python -m stages.provenance", description="Tell where metrics come from.")
    parser.add_argument("out", type=Path, help="the JSON file to write")
    out: Path = parser.parse_args(args).out
    try:
        params = read_params(Path("params.yaml"))
        params.pop("data", None)  # a folder's name may tell whose machine it was
        write_json(out, provenance(Path.cwd()) | {"params": params})
    except (UserError, OSError) as error:
        print(f"stages.provenance: {told(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
