"""A folder of images with a manifest: a row per image, 0/1 columns of findings, optional patient and boxes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from raremix.data.cells import whole, zero_or_one
from raremix.data.inventory import IMAGES
from raremix.data.records import (
    Bad,
    Box,
    Record,
    Source,
    check_finding,
    check_id,
    corners,
    read_labels,
    tell_unlisted,
)
from raremix.runtime.errors import UserError

TABLE, BOXES = "manifest", "boxes"  # .csv or .parquet
NEEDED = ("image_id", "file")
OPTIONAL = ("patient_id", "visit", "part", "view", "sex")
FACTS = ("patient_id", "visit", "view", "sex")
SPELT = {  # as tables have them, in upper case, and as the pipeline does
    "view": {"": "", "PA": "PA", "AP": "AP"},
    "sex": {"": "", "M": "M", "F": "F", "MALE": "M", "FEMALE": "F"},
}
SHOWN = 8  # columns of a table that lacks one


def read(
    root: Path, inventory: dict[str, str], columns: Mapping[str, str], findings: Mapping[str, Sequence[str]]
) -> Source:
    """The images that ``root/manifest.csv`` (or ``.parquet``) lists; a listed image that is not there is ``bad``.

    ``columns`` maps our names (``image_id, file``; if wanted ``patient_id, visit, part, view, sex``) to the table's.
    ``findings`` maps a slug to the table's columns that mean it: any of them makes the label. A source may also be
    a name that only ``boxes.csv`` (or ``.parquet``; ``image_id, finding, x, y, w, h`` in pixels of the image) uses.

    Raises:
        UserError: names the key, or the file and row, that is wrong.
    """
    listing, boxing = (_name(stem, root, inventory) for stem in (TABLE, BOXES))
    table, file = read_labels(root, listing, inventory), root / listing
    _check_columns(table, columns, file)
    table[columns["file"]] = [path if path in inventory else _posix(path) for path in table[columns["file"]]]
    _check_ids(table[columns["image_id"]], file)
    _spell(table, columns, file)
    drawn = _drawn(root, boxing, inventory)
    votes = _votes(table, findings, set(drawn["finding"]), file)
    boxes = _boxes(drawn, findings, set(table[columns["image_id"]]), root / boxing)
    records = [
        _record(row, columns, counts, boxes)
        for row, counts in zip(table.to_dict("records"), votes.to_dict("records"), strict=True)
    ]
    tell_unlisted(root, (p for p in inventory if p.lower().endswith(IMAGES)), (r.path for r in records), listing)
    absent = [Bad(r.path, f"listed in {listing}, but missing") for r in records if r.path not in inventory]
    return Source(list(findings), [r for r in records if r.path in inventory], absent)


def _posix(path: str) -> str:
    """``path`` as the inventory spells it: Windows' separators and ``./`` mean the same file."""
    return PurePosixPath(path.replace("\\", "/")).as_posix()


def _name(stem: str, root: Path, inventory: Mapping[str, str]) -> str:
    """The table's file: CSV, unless it is there as Parquet."""
    as_csv, as_parquet = f"{stem}.csv", f"{stem}.parquet"
    if as_csv in inventory and as_parquet in inventory:
        raise UserError(f"{root}: holds both {as_csv} and {as_parquet}; keep one and run `dvc repro -f acquire`")
    return as_parquet if as_parquet in inventory else as_csv


def _check_columns(table: pd.DataFrame, columns: Mapping[str, str], file: Path) -> None:
    for name in NEEDED:
        if name not in columns:
            raise UserError(
                f"params.yaml, ingest.columns: '{name}' is missing; name the column of {file} that holds it"
            )
    choice = NEEDED + OPTIONAL
    for name, column in columns.items():
        if name not in choice:
            raise UserError(f"params.yaml, ingest.columns: unknown '{name}'; choose among {', '.join(choice)}")
        if column not in table:
            raise UserError(
                f"{file}: no column '{column}', which params.yaml, ingest.columns.{name} names; {_there(table)}"
            )
    for row, path in enumerate(table[columns["file"]]):
        if not path.lower().endswith(IMAGES):
            raise UserError(f"{file}, row {row + 2}: '{path}' is no image file ({', '.join(IMAGES)})")
        if _posix(path).startswith("/") or ".." in PurePosixPath(_posix(path)).parts:
            raise UserError(f"{file}, row {row + 2}: '{path}' leads out of data.root; give its path from there")
    if "visit" in columns:
        whole(table[columns["visit"]], file)
    for row, part in enumerate(table[columns["part"]] if "part" in columns else ()):
        if part not in ("train", "test"):
            raise UserError(f"{file}, row {row + 2}, column '{columns['part']}': '{part}' is neither train nor test")


def _there(table: pd.DataFrame) -> str:
    """Which columns there are, or why there seems to be but one."""
    names = [str(name) for name in table.columns]
    if len(names) == 1 and (mark := next((mark for mark in (";", "\t", "|") if mark in names[0]), "")):
        return f"its columns are parted by {mark!r}; save it with commas"
    more = ", ..." if len(names) > SHOWN else ""
    return f"its columns are {', '.join(names[:SHOWN])}{more}"


def _spell(table: pd.DataFrame, columns: Mapping[str, str], file: Path) -> None:
    """Put views and sexes as the pipeline has them."""
    for name in [name for name in SPELT if name in columns]:
        told, known = table[columns[name]], ", ".join(filter(None, SPELT[name]))
        spelt = told.str.strip().str.upper().map(SPELT[name])
        others = told[spelt.isna()]
        table[columns[name]] = spelt.fillna("")
        if len(others) and not table[columns[name]].any():
            raise UserError(
                f"{file}, row {others.index[0] + 2}, column '{columns[name]}': '{others.iloc[0]}' is none of {known}, "
                f"nor is any other; correct the column, or take ingest.columns.{name} out of params.yaml"
            )
        if len(others):
            said = f"{file}, column '{columns[name]}': {len(others)} values are none of {known}, as '{others.iloc[0]}'"
            print(f"{said}; they count as not known")


def _check_ids(ids: "pd.Series[str]", file: Path) -> None:
    for row, image_id in enumerate(ids):
        check_id(image_id, file, row)
    if ids.duplicated().any():
        row = int(ids.duplicated().to_numpy().argmax())
        raise UserError(f"{file}, row {row + 2}: image id '{ids.iloc[row]}' is there twice; remove one")


def _votes(table: pd.DataFrame, findings: Mapping[str, Sequence[str]], boxed: set[str], file: Path) -> pd.DataFrame:
    if not findings:
        raise UserError(f"params.yaml, ingest.findings: empty; map slugs to columns of {file}, e.g. edema: [Edema]")
    votes = {}
    for finding, sources in findings.items():
        check_finding(finding)
        for source in sources:
            if source not in table and source not in boxed:
                raise UserError(
                    f"{file}: no column '{source}', which params.yaml, ingest.findings.{finding} names; {_there(table)}"
                )
        marks = [zero_or_one(table[source], file) for source in sources if source in table]
        if not marks:
            raise UserError(f"params.yaml, ingest.findings.{finding}: no column of {file} among its sources")
        votes[finding] = pd.concat(marks, axis=1).max(axis=1)
    return pd.DataFrame(votes)


def _record(
    row: Mapping[Any, Any], columns: Mapping[str, str], votes: Mapping[Any, int], boxes: Mapping[str, list[Box]]
) -> Record:
    known = {name: row[columns[name]] for name in columns}
    return Record(
        image_id=known["image_id"],
        path=known["file"],
        part=known.get("part", ""),
        votes=dict(votes),
        boxes=tuple(boxes.get(known["image_id"], ())),
        facts={name: known[name] for name in FACTS if name in known},
    )


def _drawn(root: Path, file: str, inventory: dict[str, str]) -> pd.DataFrame:
    names = ["image_id", "finding", "x", "y", "w", "h"]
    drawn = read_labels(root, file, inventory) if file in inventory else pd.DataFrame(columns=names, dtype=str)
    if missing := [name for name in names if name not in drawn]:
        raise UserError(f"{root / file}: no column {', '.join(missing)}; its header must be {','.join(names)}")
    return drawn


def _boxes(
    drawn: pd.DataFrame, findings: Mapping[str, Sequence[str]], images: set[str], file: Path
) -> dict[str, list[Box]]:
    """Boxes of the mapped findings by image; those of other findings are left out."""
    slugs = {source: finding for finding, sources in findings.items() for source in sources}
    boxes = defaultdict(list)
    for number, row in enumerate(drawn.to_dict("records")):
        if row["image_id"] not in images:
            raise UserError(f"{file}, row {number + 2}: unknown image '{row['image_id']}'; remove the row")
        if row["finding"] in slugs:
            around = corners((row[c] for c in "xywh"), file, number)
            boxes[row["image_id"]].append(Box(slugs[row["finding"]], "", around))
    return boxes
