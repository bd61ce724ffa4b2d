"""Files that are whole or absent, and their hashes."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raremix.runtime.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def sha256(path: Path) -> str:
    """Hex SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes ``path``'s place if the block ends well, else it is removed.

    What a killed process has left of the same file is overwritten. Two must not write it at once; DVC keeps two runs of
    a stage from that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with full_disk(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def copy(file: Path, target: Path) -> None:
    """Copy ``file`` to ``target``, which is there whole or not at all."""
    with replacing(target) as temporary:
        temporary.write_bytes(file.read_bytes())  # shutil would name the one that is there when the disk is full


def give(folder: Path, target: Path) -> None:
    """Have at ``target``, in place of what is there, what is in ``folder``, which stays; on one disk as hard links."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(folder, target, copy_function=_link)


def discard(folder: Path) -> None:
    """Remove ``folder``; what a kill leaves of it has another name."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    folder.rename(part)
    shutil.rmtree(part)


def _link(file: str, target: str) -> None:
    try:
        os.link(file, target)
    except OSError:  # another disk, or a file system without links
        copy(Path(file), Path(target))


def write_json(path: Path, value: object) -> None:
    """Indented JSON with a newline at its end; NaN is refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text)


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The mapping in the JSON file ``path``.

    Raises:
        UserError: there is none, or it is not whole; ``remedy`` is what to do then.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {remedy}") from None
    except ValueError as error:
        raise UserError(f"{path}: no whole JSON ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: no mapping in JSON; {remedy}")
    return value


@contextmanager
def full_disk(path: Path | str) -> Iterator[None]:
    """Make a full disk an OSError that names a file, ``path`` if nothing better is known, whatever library met it.

    safetensors and tokenizers raise errors of their own, which spell the number; torch.save raises one of its own over
    the OSError, but only if it is given an open file.
    """
    try:
        yield
    except Exception as error:
        number = _number(error)
        if number is None or getattr(error, "filename", None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _number(error: BaseException | None) -> int | None:
    """The errno of a full disk that ``error``, or one that it was raised over, is or spells."""
    while error is not None:
        spelled = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else spelled and int(spelled[1])
        if number in FULL:
            return number
        error = error.__context__
    return None
