"""NIH ChestX-ray14 on disk (Wang et al., CVPR 2017): images in any folders, labels in ``Data_Entry_2017*.csv``."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from raremix.data.cells import whole
from raremix.data.findings import slug
from raremix.data.inventory import IMAGES, TEST_LIST, TRAIN_LIST
from raremix.data.records import (
    Bad,
    Box,
    Record,
    Source,
    check_finding,
    check_id,
    corners,
    read_labels,
    read_listed,
    tell_unlisted,
)
from raremix.runtime.errors import UserError

LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
NOTHING = "No Finding"
ENTRIES, BOXES = r"Data_Entry_2017\w*\.csv", "BBox_List_2017.csv"
IMAGE, FINDINGS, PATIENT, VISIT, VIEW = "Image Index", "Finding Labels", "Patient ID", "Follow-up #", "View Position"
SEX = ("Patient Gender", "Patient Sex")  # until 2020, and since
PARTS = {"train": TRAIN_LIST, "test": TEST_LIST}
BOXED = {"Infiltrate": "Infiltration"}  # as the list of boxes spells it


def read(root: Path, inventory: Mapping[str, str], findings: Mapping[str, Sequence[str]]) -> Source:
    """The images that the table of entries lists; a listed image that is not there is ``bad``.

    ``findings`` maps a slug to the labels that mean it; empty, each of the fourteen is a finding of its own. Where
    ``train_val_list.txt`` and ``test_list.txt`` are there, they are the official parts.

    Raises:
        UserError: names the file and row, or the key, that is wrong.
    """
    name = _entries(root, inventory)
    table, file = read_labels(root, name, inventory), root / name
    sex = _check_columns(table, file)
    meant = {finding: list(labels) for finding, labels in findings.items()} or {
        slug(label): [label] for label in LABELS
    }
    _check_findings(meant)
    whole(table[VISIT], file)
    carried = _carried(table, file)
    paths, parts = _paths(inventory, root), _parts(root, inventory)
    boxes = _boxes(root, inventory, meant)
    records = []
    for row, (entry, labels) in enumerate(zip(table.to_dict("records"), carried, strict=True)):
        image = PurePosixPath(entry[IMAGE]).stem
        check_id(image, file, row)
        records.append(
            Record(
                image_id=image,
                path=paths.get(entry[IMAGE], entry[IMAGE]),
                part=parts.get(entry[IMAGE], ""),
                votes={finding: int(not labels.isdisjoint(names)) for finding, names in meant.items()},
                boxes=tuple(boxes.get(entry[IMAGE], ())),
                facts={
                    "patient_id": entry[PATIENT],
                    "visit": entry[VISIT],
                    "view": entry[VIEW] if entry[VIEW] in ("PA", "AP") else "",
                    "sex": entry[sex] if entry[sex] in ("M", "F") else "",
                },
            )
        )
    tell_unlisted(root, paths.values(), (record.path for record in records), name)
    absent = [Bad(record.path, f"listed in {name}, but missing") for record in records if record.path not in inventory]
    return Source(list(meant), [record for record in records if record.path in inventory], absent)


def _entries(root: Path, inventory: Mapping[str, str]) -> str:
    """The path of the one table of entries."""
    found = [path for path in inventory if re.fullmatch(ENTRIES, PurePosixPath(path).name)]
    if len(found) != 1:
        there = f"{len(found)}: {', '.join(found)}" if found else "none"
        raise UserError(
            f"{root}: one Data_Entry_2017*.csv is needed, there is {there}; is data.root ChestX-ray14's own?"
        )
    return found[0]


def _check_columns(table: pd.DataFrame, file: Path) -> str:
    """Refuse a table without the release's columns, or with an image twice; the name of the column of sexes."""
    sex = next((name for name in SEX if name in table), SEX[0])
    if missing := [name for name in (IMAGE, FINDINGS, PATIENT, VISIT, VIEW, sex) if name not in table]:
        raise UserError(f"{file}: no column {', '.join(missing)}; its header must be ChestX-ray14's")
    doubled = table[IMAGE].duplicated()
    if doubled.any():
        row = int(doubled.to_numpy().argmax())
        raise UserError(f"{file}, row {row + 2}: image '{table[IMAGE].iloc[row]}' is there twice; remove one")
    return sex


def _check_findings(meant: Mapping[str, Sequence[str]]) -> None:
    for finding, names in meant.items():
        check_finding(finding)
        for name in names:
            if name not in LABELS:
                raise UserError(
                    f"params.yaml, ingest.findings.{finding}: '{name}' is no label of ChestX-ray14; choose among "
                    f"{', '.join(LABELS)}"
                )


def _carried(table: pd.DataFrame, file: Path) -> list[set[str]]:
    """The labels of each row, joined by ``|`` in the table."""
    carried = []
    for row, text in enumerate(table[FINDINGS]):
        names = set(text.split("|")) - {NOTHING}
        if unknown := sorted(names - set(LABELS)):
            raise UserError(f"{file}, row {row + 2}: '{unknown[0]}' is no label of ChestX-ray14; correct its spelling")
        carried.append(names)
    return carried


def _paths(inventory: Mapping[str, str], root: Path) -> dict[str, str]:
    """By a file's name its path, as the release spreads the images over twelve folders."""
    paths: dict[str, str] = {}
    for path in inventory:
        name = PurePosixPath(path).name
        if path.lower().endswith(IMAGES) and paths.setdefault(name, path) != path:
            raise UserError(f"{root}: image '{name}' is there twice, {paths[name]} and {path}; remove one")
    return paths


def _parts(root: Path, inventory: Mapping[str, str]) -> dict[str, str]:
    """The official part of each image's name; nothing unless both lists are there."""
    listed = {part: [path for path in inventory if PurePosixPath(path).name == name] for part, name in PARTS.items()}
    if not all(listed.values()):
        return {}
    return {name: part for part, (path, *_) in listed.items() for name in read_listed(root, path, inventory)}


def _boxes(root: Path, inventory: Mapping[str, str], meant: Mapping[str, Sequence[str]]) -> dict[str, list[Box]]:
    """Boxes by an image's name, of the findings that are meant; the header of x, y, w and h is split by its commas."""
    found = next((path for path in inventory if PurePosixPath(path).name == BOXES), None)
    if found is None:
        return {}
    table, file = read_labels(root, found, inventory), root / found
    if list(table.columns[:2]) != [IMAGE, "Finding Label"] or len(table.columns) < 6:
        raise UserError(f"{file}: its first columns must be {IMAGE}, Finding Label and four of the box")
    slugs = defaultdict(list)
    for finding, names in meant.items():
        for name in names:
            slugs[name].append(finding)
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row, (image, label, *box) in enumerate(table.iloc[:, :6].itertuples(index=False)):
        around = corners(box, file, row)
        for finding in slugs[BOXED.get(label, label)]:
            boxes[image].append(Box(finding, "", around))
    return boxes
