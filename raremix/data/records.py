"""What a reader of some data set's layout hands to ingest, and the files it may read."""

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pandas.api.types import is_float_dtype

from raremix.data.cells import parse_table, read_table
from raremix.data.manifest import FIXED
from raremix.runtime.errors import UserError, one_line

MISSING = ("NA", "NULL", "NaN", "None", "nan", "null")  # what pandas reads as a missing value


@dataclass(frozen=True)
class Box:
    """A reader's rectangle around a finding, in pixels of the original image."""

    finding: str
    reader: str  # '' for a consensus
    corners: tuple[float, float, float, float]  # x_min, y_min, x_max, y_max


@dataclass(frozen=True)
class Record:
    """One labelled image."""

    image_id: str
    path: str  # relative to the root of the data
    part: str  # the official part: train, test or ''
    votes: dict[str, int]  # by finding: how many readers marked it
    readers: tuple[str, ...] = ("",)  # sorted; one without a name for consensus or table labels
    boxes: tuple[Box, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)  # what a table knows; it overrules the image's header


@dataclass(frozen=True)
class Bad:
    """An image set aside."""

    path: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A data set as its layout's reader found it."""

    findings: list[str]
    records: list[Record]
    bad: list[Bad]


def read_inventory(path: Path) -> dict[str, str]:
    """SHA-256 by path (relative to the data's root) from an ``inventory.csv`` that acquire wrote.

    Raises:
        UserError: it is missing, or no such table; names the row of what is no SHA-256.
    """
    remedy = "run `dvc repro -f acquire`"
    if not path.is_file():
        raise UserError(f"{path}: the inventory is missing; {remedy}")
    listed = read_table(path, ["path", "sha256"], remedy)
    for row, digest in enumerate(listed["sha256"]):
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise UserError(f"{path}, row {row + 2}: '{digest}' is no SHA-256; {remedy}")
    if listed.empty:
        raise UserError(f"{path}: no rows; {remedy}")
    return dict(zip(listed["path"], listed["sha256"], strict=True))


def read_labels(root: Path, name: str, inventory: Mapping[str, str]) -> pd.DataFrame:
    """The CSV or Parquet file ``name`` under ``root`` as strings; its bytes must be those that acquire saw.

    Of a Parquet file, true is '1', false '0', and what is missing ''.

    Raises:
        UserError: it is missing, changed since, or not a table, or two of its columns have one name.
    """
    content, file, remedy = _content(root, name, inventory), root / name, "mend it and run `dvc repro -f acquire`"
    if file.suffix != ".parquet":
        _refuse_doubled(content, file)
        return parse_table(content, file, remedy)
    try:
        table = pd.read_parquet(io.BytesIO(content), dtype_backend="numpy_nullable")
        unnamed = isinstance(table.index, pd.RangeIndex) or table.index.name in table
        return _as_text(table if unnamed else table.reset_index())
    except Exception as error:  # Arrow raises what it likes
        raise UserError(f"{file}: not a table ({one_line(error)}); {remedy}") from None


def read_listed(root: Path, name: str, inventory: Mapping[str, str]) -> list[str]:
    """The lines of the text ``name`` under ``root``, blank ones left out; its bytes must be those that acquire saw.

    Raises:
        UserError: it is missing, changed since, or no text.
    """
    try:
        lines = _content(root, name, inventory).decode().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{root / name}: no text; get it again and run `dvc repro -f acquire`") from None
    return [line.strip() for line in lines if line.strip()]


def _content(root: Path, name: str, inventory: Mapping[str, str]) -> bytes:
    file = root / name
    if name not in inventory or not file.is_file():
        raise UserError(f"{file}: missing, or not in inventory.csv; check data.root and run `dvc repro -f acquire`")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != inventory[name]:
        raise UserError(f"{file}: changed since acquire listed it; run `dvc repro -f acquire`")
    return content


def _refuse_doubled(content: bytes, file: Path) -> None:
    """Refuse a CSV with two columns of one name, of which pandas would rename the second."""
    text = io.StringIO(content.decode("utf-8-sig", "replace").lstrip("\r\n"), newline=None)
    try:
        names = next(csv.reader(text), [])
    except csv.Error:  # pandas says of it what is wrong
        return
    if doubled := [name for name in names if name.strip() and names.count(name) > 1]:
        raise UserError(f"{file}: two columns are called '{doubled[0]}'; rename one and run `dvc repro -f acquire`")


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """The values of a typed ``table`` as a CSV would hold them; whole numbers beside a missing one are whole ones."""
    flags = table.select_dtypes("boolean").columns
    whole = [name for name in table if is_float_dtype(table[name]) and (table[name].dropna() % 1 == 0).all()]
    kinds = dict.fromkeys(flags, "Int8") | dict.fromkeys(whole, "Int64")
    return table.astype(kinds).astype("string").fillna("").astype(object)


def tell_unlisted(root: Path, images: Iterable[str], named: Iterable[str], listing: str) -> None:
    """Print how many of the ``images`` under ``root`` the table ``listing`` has no row of."""
    if unlisted := sorted({*images} - {*named}):
        print(f"{root}: {len(unlisted)} images have no row in {listing} and are left out, {unlisted[0]} among them")


def corners(box: Iterable[str], file: Path, row: int) -> tuple[float, float, float, float]:
    """The ``x_min, y_min, x_max, y_max`` of a ``box`` given as ``x, y, w, h``; ``row`` counts from 0.

    Raises:
        UserError: one of them is no finite number; names the file and row.
    """
    try:
        x, y, w, h = map(float, box)
    except ValueError:
        x = y = w = h = math.nan
    if not all(map(math.isfinite, (x, y, x + w, y + h))):
        raise UserError(f"{file}, row {row + 2}: x, y, w or h is no number; correct it")
    return x, y, x + w, y + h


def check_finding(name: str) -> None:
    """Refuse a key of ``ingest.findings`` that can't be a column of the manifest."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in FIXED:
        raise UserError(
            f"params.yaml, ingest.findings: '{name}' can't name a finding; use lower-case letters, digits and '_', and "
            f"none of {', '.join(FIXED)}"
        )


def check_id(image_id: str, file: Path, row: int) -> None:
    """Refuse an image id that can't be a file's name, or that tables read as none; ``row`` counts from 0."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", image_id):
        raise UserError(f"{file}, row {row + 2}: image id '{image_id}' is not of letters, digits, '.', '_' and '-'")
    if image_id in MISSING:
        raise UserError(f"{file}, row {row + 2}: image id '{image_id}' stands for none; give the image another")
