"""Which bytes each image has: lists in the form that ``sha256sum --check`` reads.

A stage depends on such a list instead of on thousands of files, and ``images.load`` holds each file against it.
"""

from collections.abc import Mapping
from pathlib import Path

from raremix.runtime.errors import UserError
from raremix.runtime.files import replacing

Checksums = Mapping[str, str]  # file -> hex SHA-256


def write_checksums(checksums: Checksums, out: Path) -> None:
    """Write a line per file, in the order given."""
    with replacing(out) as temporary:
        temporary.write_text("".join(f"{digest}  {file}\n" for file, digest in checksums.items()))


def read_checksums(path: Path) -> dict[str, str]:
    """The list that ``write_checksums`` wrote to ``path``.

    Raises:
        UserError: it is missing or no text, or a line is no checksum and file.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; run `dvc repro`")
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: no text; run `dvc repro`") from None
    checksums = {}
    for number, line in enumerate(lines, 1):
        digest, gap, file = line.partition("  ")
        if len(digest) != 64 or not gap or not file:
            raise UserError(f"{path}, line {number}: not a SHA-256, two blanks and a file; run `dvc repro`")
        checksums[file] = digest
    return checksums
