"""Open a page in a browser: ``python -m stages.show report/index.html``; its address is printed where there is none.

Not a stage of the pipeline.
"""

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path


def main(args: Sequence[str] | None = None) -> int:
    """Print where the page is, and open it; the exit code, 2 if there is no such page."""
    parser = argparse.ArgumentParser(prog="python -m stages.show", description="Open a page in a browser.")
    parser.add_argument("page", type=Path, help="the HTML file")
    page: Path = parser.parse_args(args).page
    if not page.is_file():
        print(f"stages.show: {page}: no such page; run: dvc repro report", file=sys.stderr)
        return 2
    print(f"The report: {page.resolve().as_uri()}")
    if has_display():
        webbrowser.open(page.resolve().as_uri())
    return 0


def has_display() -> bool:
    """Whether a window can be opened: a browser of the terminal would take it over and draw no chart."""
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


if __name__ == "__main__":
    sys.exit(main())
