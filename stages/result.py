"""Show the result: ``python -m stages.result`` prints it; with ``--readme README.md`` it writes README's block.

Not a stage of the pipeline: it reads ``metrics/``, which git has.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from raremix.evaluation.result import check_block, print_result, write_block
from raremix.runtime.errors import UserError


def main(args: Sequence[str] | None = None) -> int:
    """Print the result, write it into a README, or check that it is there; the exit code, 2 for a user's error."""
    parser = argparse.ArgumentParser(prog="python -m stages.result", description="Show the study's result.")
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="the metrics' directory")
    parser.add_argument("--readme", type=Path, help="write the result between this file's <!-- results --> markers")
    parser.add_argument("--check", action="store_true", help="only check that the file of --readme is up to date")
    flags = parser.parse_args(args)
    if flags.check and not flags.readme:
        parser.error("--check needs --readme")
    try:
        if flags.check:
            check_block(flags.readme, flags.metrics)
        elif flags.readme:
            write_block(flags.readme, flags.metrics)
        else:
            print_result(flags.metrics, Console())
    except UserError as error:
        print(f"stages.result: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
