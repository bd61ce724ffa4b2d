"""The source files that each stage is made of, and what they say: lists that stand for them among its dependencies.

In: the sources. Out: results/code/<stage>.txt, a line a file: the SHA-256 of what it says, and its name.
Comments, docstrings and layout say nothing there, so that a change of those runs no other stage again.
"""

from pathlib import Path

from raremix.data.checksums import write_checksums
from raremix.runtime.sources import digest, entry_points, repository, sources
from stages.cli import run


def code(out: Path) -> None:
    """List the source files of every entry point."""
    root, known = repository(), dict[str, str]()
    for stage in entry_points(root):
        files = sources(root, f"stages.{stage}")
        known |= {file: digest(root / file) for file in files if file not in known}
        write_checksums({file: known[file] for file in files}, out / f"{stage}.txt")


if __name__ == "__main__":
    run(code)
