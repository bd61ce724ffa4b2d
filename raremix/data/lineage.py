"""Which radiographs a fine-tuned model has learned from: its instances, its prior images, its base model's corpus."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import pandas as pd

from raremix.data.cells import read_table
from raremix.data.manifest import write_csv
from raremix.runtime.errors import UserError

FILE = "lineage.csv"


def write_lineage(learned_from: Mapping[str, Iterable[str]], folder: Path) -> None:
    """Write ``folder``/lineage.csv (``image_id,role``) from image ids by role."""
    rows = [(image, role) for role, images in learned_from.items() for image in images]
    write_csv(pd.DataFrame(rows, columns=["image_id", "role"]), folder / FILE)


def read_lineage(folder: Path) -> pd.DataFrame:
    """What ``write_lineage`` wrote to ``folder``.

    Raises:
        UserError: it is missing or no such table.
    """
    return read_table(folder / FILE, ["image_id", "role"], "run `dvc repro -f dreambooth synthesize`")


def check_lineage(ancestors: Iterable[str], training: AbstractSet[str], descendant: str) -> None:
    """Refuse a ``descendant`` (its file and name) of an image outside ``training``.

    Raises:
        UserError: names the first such ancestor.
    """
    for image in ancestors:
        if image not in training:
            raise UserError(
                f"{descendant} descends from '{image}', which is no training image of this trial and shots; "
                "run `dvc repro -f dreambooth synthesize`"
            )
