"""Write where a profile's metrics come from: ``python -m stages.provenance metrics/provenance.json``.

Not a stage of the pipeline: run it in the profile's folder when its run is finished, and commit both.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from raremix.runtime.files import replacing
from raremix.runtime.provenance import provenance


def main(args: Sequence[str] | None = None) -> int:
    """Write the provenance of a run made here and now."""
    parser = argparse.ArgumentParser(prog="python -m stages.provenance", description="Tell where metrics come from.")
    parser.add_argument("out", type=Path, help="the JSON file to write")
    out: Path = parser.parse_args(args).out
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(provenance(Path.cwd()), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
