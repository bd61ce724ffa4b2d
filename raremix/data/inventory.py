"""What lies under a data directory: every image and table with its size and hash."""

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raremix.runtime.cores import cores
from raremix.runtime.errors import UserError
from raremix.runtime.files import replacing, sha256
from raremix.runtime.progress import track

DICOM = (".dicom", ".dcm")
PICTURES = (".png", ".jpg", ".jpeg")
IMAGES = DICOM + PICTURES
TABLES = (".csv",)
COLUMNS = ("path", "size", "sha256")


def write(root: Path, out: Path) -> None:
    """List the images and tables under ``root`` in ``out`` (``path,size,sha256``, sorted by path), ``out`` not itself.

    Raises:
        UserError: ``root`` is missing or holds no image.
    """
    files = _files(root, out)
    with ThreadPoolExecutor(cores()) as pool:
        hashes = list(track(pool.map(sha256, files), "hash files", total=len(files)))
    names = [file.relative_to(root).as_posix() for file in files]
    rows = zip(names, (file.stat().st_size for file in files), hashes, strict=True)
    with replacing(out) as part, part.open("w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sorted(rows))


def _files(root: Path, out: Path) -> Sequence[Path]:
    if not root.is_dir():
        raise UserError(f"data.root: {root} is no directory; set it to where the radiographs are")
    files = [file for file in sorted(root.rglob("*")) if file.suffix.lower() in IMAGES + TABLES and file.is_file()]
    if not any(file.suffix.lower() in IMAGES for file in files):
        raise UserError(f"data.root: {root} holds no image ({', '.join(IMAGES)}); set it to where the radiographs are")
    return [file for file in files if file.resolve() != out.resolve()]
