"""What lies under a data directory: every image and table with its size and hash, held against the publisher's list."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from raremix.runtime.cores import cores
from raremix.runtime.errors import UserError
from raremix.runtime.files import replacing, sha256
from raremix.runtime.progress import track

DICOM = (".dicom", ".dcm")
PICTURES = (".png", ".jpg", ".jpeg")
IMAGES = DICOM + PICTURES
TABLES = (".csv", ".parquet")
TRAIN_LIST, TEST_LIST = "train_val_list.txt", "test_list.txt"  # ChestX-ray14's official parts
COLUMNS = ("path", "size", "sha256")
SUMS = "SHA256SUMS.txt"  # PhysioNet's name for its list; it parts sum and path by one space, coreutils by two


def write(root: Path, out: Path) -> None:
    """List the images and tables under ``root`` in ``out`` (``path,size,sha256``, sorted by path), ``out`` not itself.

    What an interrupted run has hashed is noted beside ``out``'s folder, and not hashed again if size and times are the
    same.

    Raises:
        UserError: ``root`` is missing or holds no image; a folder under it, or a line of its ``SHA256SUMS.txt``, if it
        has one, can't be read; or a file is not as that says.
    """
    files, published = _files(root, out), _published(root / SUMS)
    folder = out.parent.resolve()
    notes = folder.with_name(f".{folder.name}.hashes")
    hashes = _hashes(files, notes)
    names = [file.relative_to(root).as_posix() for file in files]
    if published:
        _verify(dict(zip(names, hashes, strict=True)), published, root)
    rows = zip(names, (file.stat().st_size for file in files), hashes, strict=True)
    with replacing(out) as part, part.open("w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sorted(rows))
    notes.unlink()


def _hashes(files: Sequence[Path], notes: Path) -> list[str]:
    """Each file's SHA-256, in ``notes`` as soon as it is known."""
    stamps = [_stamp(file) for file in files]
    known = _noted(notes)
    notes.parent.mkdir(parents=True, exist_ok=True)
    with notes.open("a", encoding="utf-8") as noted, ThreadPoolExecutor(cores()) as pool:
        left = [file for file, stamp in zip(files, stamps, strict=True) if stamp not in known]
        found = pool.map(sha256, left)
        hashes = []
        for stamp in track(stamps, "hash files", total=len(files)):
            if stamp not in known:
                known[stamp] = next(found)
                print(known[stamp], stamp, file=noted, flush=True)
            hashes.append(known[stamp])
    return hashes


def _stamp(file: Path) -> str:
    """What is another when the file is: a copy that keeps its time of change, as downloads may, has another ctime."""
    known = file.stat()
    return f"{known.st_size} {known.st_mtime_ns} {known.st_ctime_ns} {file.as_posix()}"


def _noted(notes: Path) -> dict[str, str]:
    """The hashes that an interrupted run has noted, by size, time and path; a line that was cut off is none."""
    text = notes.read_text(encoding="utf-8", errors="replace") if notes.is_file() else ""
    lines = text.splitlines(keepends=True)
    whole = (re.fullmatch(r"([0-9a-f]{64}) (.+)\n", line) for line in lines)
    return {line[2]: line[1] for line in whole if line}


def _files(root: Path, out: Path) -> Sequence[Path]:
    if not root.is_dir():
        raise UserError(f"data.root: {root} is no directory; set it to where the radiographs are")
    files = [file for file in sorted(_walk(root)) if _listed(file) and file.is_file()]
    if wrong := [file for file in files if not _spelt(file)]:
        raise UserError(
            f"data.root: the name {wrong[0].as_posix()!a} is no UTF-8, or has a line break; rename file or folder"
        )
    if not any(file.suffix.lower() in IMAGES for file in files):
        raise UserError(f"data.root: {root} holds no image ({', '.join(IMAGES)}); set it to where the radiographs are")
    return [file for file in files if file.resolve() != out.resolve()]


def _spelt(file: Path) -> bool:
    """Whether the path is text that a table can hold, and of one line."""
    try:
        return bool(str(file).encode()) and len(str(file).splitlines()) == 1
    except UnicodeEncodeError:
        return False


def _walk(root: Path) -> Iterator[Path]:
    """All that is no folder under ``root``; unlike ``rglob``, passes over no folder that can't be read."""
    for folder, _, names in os.walk(root, onerror=_stop):
        yield from (Path(folder, name) for name in names)


def _stop(error: OSError) -> NoReturn:
    raise UserError(
        f"{error.filename}: the folder can't be read ({error.strerror}); mend its permissions or its disk, or take it "
        "out of data.root"
    ) from None


def _published(file: Path) -> dict[str, str]:
    """SHA-256 by path from the publisher's list; nothing if there is none."""
    if not file.is_file():
        return {}
    published = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        if not (found := re.fullmatch(r"([0-9a-fA-F]{64}) [ *]?(?:\./)?(.+)", line.strip())):
            raise UserError(f"{file}, line {number}: no SHA-256 and path; get the file again")
        published[found[2]] = found[1].lower()
    return published


def _verify(hashes: dict[str, str], published: dict[str, str], root: Path) -> None:
    """Refuse files that are not as published; say how many are, and what is not here."""
    wrong = [name for name, digest in hashes.items() if published.get(name, digest) != digest]
    if wrong:
        raise UserError(
            f"{root / wrong[0]}: not as {root / SUMS} says"
            + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else "")
            + "; get it again"
        )
    absent = sum(name.lower().endswith(IMAGES + TABLES) for name in published.keys() - hashes.keys())
    agreeing = len(hashes.keys() & published.keys())
    print(f"{agreeing} of {len(hashes)} files are listed in {SUMS} and agree; {absent} that it lists are not here")


def _listed(file: Path) -> bool:
    return file.suffix.lower() in IMAGES + TABLES or file.name in (TRAIN_LIST, TEST_LIST)
