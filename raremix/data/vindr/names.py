"""VinDr-CXR's names for findings and columns, whatever their spelling.

PhysioNet labels 22 local findings and 6 impressions of the whole image. Kaggle's release counts eight of the local ones
as "Other lesion", and so do we; the impressions are not used. labels.csv is that table, a row a label.
"""

import csv
import re
from pathlib import Path

import pandas as pd

from raremix.data.findings import slug
from raremix.runtime.errors import UserError

IDS = {"imageid": "image_id"}
READERS = {
    "reader": "reader",
    "radid": "reader",
    "radiologistid": "reader",
    "readerid": "reader",
    "radiologist": "reader",
}


def _table() -> dict[str, str]:
    with Path(__file__).with_name("labels.csv").open(newline="") as file:
        return {slug(row["label"]): row["finding"] for row in csv.DictReader(file)}


LABELS = _table()  # slug of a label -> one of the fourteen findings, or '' for an impression of the whole image


def finding(name: str, file: Path, where: str) -> str | None:
    """One of the fourteen findings' slugs for a label's spelling in a file, or None for an impression of the image.

    Raises:
        UserError: the name is none of VinDr-CXR's.
    """
    if (word := slug(name)) not in LABELS:
        raise UserError(f"{file}, {where}: '{name}' is no finding of VinDr-CXR; correct its spelling")
    return LABELS[word] or None


def with_columns(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """``table`` with its columns ``image_id`` and ``reader`` (all '' where it has none: a consensus) so named.

    A spelling that is not PhysioNet's own is said.

    Raises:
        UserError: there is no column of images, or several columns may be one of the two.
    """
    for choice, needed in ((IDS, True), (READERS, False)):
        found = [column for column in table.columns if _letters(column) in choice]
        name = next(iter(choice.values()))
        if len(found) > 1:
            raise UserError(f"{file}: the columns '{found[0]}' and '{found[1]}' may both be the {name}; keep one")
        if needed and not found:
            raise UserError(f"{file}: no column '{name}'; its header must be VinDr-CXR's")
        if found and found[0] not in ("image_id", "rad_id"):
            print(f"{file}: takes the column '{found[0]}' for the {name}")
        table = table.rename(columns=dict.fromkeys(found, name)) if found else table.assign(**{name: ""})
    return table


def _letters(column: str) -> str:
    return re.sub(r"[^a-z]", "", column.lower())
