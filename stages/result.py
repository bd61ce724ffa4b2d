"""Show the result: ``python -m stages.result`` prints it; with ``--pages README.md`` it writes that page's figures.

Not a stage of the pipeline: it reads ``metrics/``, which git has.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from raremix.evaluation.result import check_blocks, print_result, write_blocks
from raremix.runtime.errors import UserError
from stages.cli import told


def main(args: Sequence[str] | None = None) -> int:
    """Print the result, write it into pages, or check that it is there; the exit code, 2 for a user's error."""
    parser = argparse.ArgumentParser(prog="python -m stages.result", description="Show the study's result.")
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="the metrics' directory")
    parser.add_argument("--pages", type=Path, nargs="+", help="write the figures between these files' markers")
    parser.add_argument("--check", action="store_true", help="only check that the files of --pages are up to date")
    flags = parser.parse_args(args)
    if flags.check and not flags.pages:
        parser.error("--check needs --pages")
    try:
        for page in flags.pages or []:
            (check_blocks if flags.check else write_blocks)(page, flags.metrics)
        if not flags.pages:
            print_result(flags.metrics, Console())
    except (UserError, OSError) as error:
        print(f"stages.result: {told(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
