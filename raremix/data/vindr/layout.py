"""VinDr-CXR on disk: PhysioNet's tree (three readers an image in train, a consensus in test) and Kaggle's train.csv.

The phantom has PhysioNet's tree, and a third part of carriers, ``reserve``, read as train is.
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from raremix.data.cells import zero_or_one
from raremix.data.findings import FINDINGS
from raremix.data.records import Bad, Box, Record, Source, check_id, read_labels
from raremix.data.vindr.names import finding, with_columns
from raremix.runtime.errors import UserError

CORNERS = ["x_min", "y_min", "x_max", "y_max"]


def read(root: Path, inventory: dict[str, str]) -> Source:
    """The labelled images under ``root``; those without a label row, and labels without an image, are ``bad``.

    Raises:
        UserError: names file and row of a box on an image without labels, a reader's second row, an unknown finding or
        a bad value.
    """
    kaggle = "train.csv" in inventory and "annotations/image_labels_train.csv" not in inventory
    if kaggle:
        parts = {"train": ("train.csv", "train.csv")}
    else:
        parts = {
            part: (f"annotations/image_labels_{part}.csv", f"annotations/annotations_{part}.csv")
            for part in ("train", "test", "reserve")
            if part != "reserve" or "annotations/image_labels_reserve.csv" in inventory
        }
    records: list[Record] = []
    bad: list[Bad] = []
    found = {part: _images(inventory, part, root) for part in parts}
    _check_parts(found, root)
    if not any(found.values()):
        raise UserError(f"{root}: no image train/<image_id>.dicom; is data.root VinDr-CXR's own directory?")
    for part, (labels, boxes) in parts.items():
        paths = found[part]
        marks = _kaggle_marks(root, labels, inventory) if kaggle else _marks(root, labels, inventory)
        labelled = set(marks["image_id"])
        marked = _boxes(root, boxes, inventory, labelled)
        records += _records(marks[marks["image_id"].isin(paths.keys())], paths, part, marked)
        bad += [Bad(paths[i], f"no row in {labels}") for i in sorted(paths.keys() - labelled)]
        bad += [Bad(f"{part}/{i}.dicom", f"listed in {labels}, but missing") for i in sorted(labelled - paths.keys())]
    if kaggle and (unlabelled := sum(path.startswith("test/") for path in inventory)):
        print(f"{root / 'test'}: {unlabelled} files left out, as Kaggle's release has no labels of them")
    return Source(list(FINDINGS), records, bad)


def _images(inventory: dict[str, str], part: str, root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in inventory:
        if match := re.fullmatch(rf"{part}/([^/]+)\.(?i:dicom|dcm)", path):
            if match[1] in found:
                raise UserError(f"{root}: image '{match[1]}' is there twice, {found[match[1]]} and {path}; remove one")
            found[match[1]] = path
    return found


def _check_parts(found: dict[str, dict[str, str]], root: Path) -> None:
    """Refuse an image id of two parts: one image would be written over the other."""
    seen: dict[str, str] = {}
    for paths in found.values():
        for image, path in paths.items():
            if image in seen:
                raise UserError(f"{root}: image '{image}' is there twice, {seen[image]} and {path}; remove one")
            seen[image] = path


def _marks(root: Path, name: str, inventory: dict[str, str]) -> pd.DataFrame:
    """A row per image and reader: ``image_id, reader`` and 0/1 columns of the fourteen findings."""
    file = root / name
    table = with_columns(read_labels(root, name, inventory), file)
    sources = defaultdict(list)
    for column in table.columns.drop(["image_id", "reader"]):
        sources[finding(column, file, "header")].append(column)
    if missing := [f for f in FINDINGS if f not in sources]:
        raise UserError(f"{file}: no column for {', '.join(missing)}; its header must be VinDr-CXR's")
    doubled = table.duplicated(["image_id", "reader"])
    if doubled.any():
        row = int(doubled.to_numpy().argmax())
        image, reader = table["image_id"].iloc[row], table["reader"].iloc[row] or "the consensus"
        raise UserError(f"{file}, row {row + 2}: a second row of {reader} for image '{image}'; remove one")
    marks = {f: pd.concat([zero_or_one(table[c], file) for c in sources[f]], axis=1).max(axis=1) for f in FINDINGS}
    return pd.concat([table[["image_id", "reader"]], pd.DataFrame(marks)], axis=1)


def _kaggle_marks(root: Path, name: str, inventory: dict[str, str]) -> pd.DataFrame:
    table, file = _classes(root, name, inventory), root / name
    marks = pd.DataFrame({f: (table["finding"] == f).astype(int) for f in FINDINGS})
    _check_readers(table, file)
    return pd.concat([table[["image_id", "reader"]], marks], axis=1).groupby(["image_id", "reader"]).max().reset_index()


def _check_readers(table: pd.DataFrame, file: Path) -> None:
    if (table["reader"] == "").any():
        row = int((table["reader"] == "").to_numpy().argmax())
        raise UserError(f"{file}, row {row + 2}: no reader; the column 'rad_id' must be filled")


def _classes(root: Path, name: str, inventory: dict[str, str]) -> pd.DataFrame:
    file = root / name
    table = with_columns(read_labels(root, name, inventory), file)
    if missing := [c for c in ("class_name", *CORNERS) if c not in table]:
        raise UserError(f"{file}: no column {', '.join(missing)}; its header must be VinDr-CXR's")
    rows = table["class_name"].drop_duplicates()
    known = {name: finding(name, file, f"row {row + 2}") for row, name in zip(rows.index, rows, strict=True)}
    return table.assign(finding=table["class_name"].map(known))


def _boxes(root: Path, name: str, inventory: dict[str, str], labelled: set[str]) -> dict[str, list[Box]]:
    table, file = _classes(root, name, inventory), root / name
    _check_images(table, labelled, file)
    drawn = table[table["finding"].notna() & (table[CORNERS] != "").any(axis=1)]
    corners = drawn[CORNERS].apply(pd.to_numeric, errors="coerce")
    wrong = ~np.isfinite(corners.to_numpy(float)).all(axis=1)
    if wrong.any():
        row = corners.index[int(wrong.argmax())]
        raise UserError(f"{file}, row {row + 2}: a box's corner is no number; correct it or leave all four empty")
    turned = (corners["x_min"] > corners["x_max"]) | (corners["y_min"] > corners["y_max"])
    if turned.any():
        raise UserError(f"{file}, row {turned.idxmax() + 2}: a box's corner max is before its min; correct it")
    boxes = defaultdict(list)
    columns = (drawn["image_id"], drawn["finding"], drawn["reader"], corners.to_numpy())
    for image, what, reader, (x0, y0, x1, y1) in zip(*columns, strict=True):
        boxes[image].append(Box(what, reader, (float(x0), float(y0), float(x1), float(y1))))
    return boxes


def _check_images(table: pd.DataFrame, labelled: set[str], file: Path) -> None:
    unknown = ~table["image_id"].isin(labelled)
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        image = table["image_id"].iloc[row]
        raise UserError(f"{file}, row {row + 2}: image '{image}' has no labels; get the file again")


def _records(marks: pd.DataFrame, paths: dict[str, str], part: str, boxes: dict[str, list[Box]]) -> list[Record]:
    votes = marks.groupby("image_id")[list(FINDINGS)].sum()
    readers = {image: tuple(sorted(names)) for image, names in marks.groupby("image_id")["reader"]}
    records = []
    for row, (image, counts) in enumerate(zip(votes.index, votes.to_numpy().tolist(), strict=True)):
        check_id(image, Path(part), row)
        found = dict(zip(FINDINGS, counts, strict=True))
        records.append(Record(image, paths[image], part, found, readers[image], tuple(boxes.get(image, ()))))
    return records
