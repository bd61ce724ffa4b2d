"""In: the phantom's tables, or real radiographs. Out: the phantom's data set, and an inventory of either."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from raremix.data import inventory
from raremix.data.findings import FINDINGS, known
from raremix.data.phantom import cohort, dataset
from raremix.runtime.cores import cores
from raremix.runtime.errors import UserError
from stages.cli import run
from stages.sections import Data, Study

LEAST_HEIGHT = 16  # pixels, below which nothing is left of a chest


@dataclass(frozen=True)
class Phantom:
    """The embedded data set; not read for real data."""

    seed: int
    train_images: PositiveInt
    test_images: PositiveInt
    test_positives: NonNegativeInt  # at least so many of each of study.findings in the test part
    reserve_positives: NonNegativeInt  # and so many in the reserve, which the ceiling alone trains on
    height: int  # native pixels
    enrich: PositiveFloat  # factor on the share of label sets with a minority finding; 1: VinDr-CXR's prevalence

    def __post_init__(self) -> None:
        if self.height < LEAST_HEIGHT:
            raise UserError(f"params.yaml, phantom.height: {self.height} is too small; give {LEAST_HEIGHT} or more")
        if not math.isfinite(self.enrich):
            raise UserError(f"params.yaml, phantom.enrich: {self.enrich:g} is no factor; give a finite number")


def acquire(data: Data, phantom: Phantom, study: Study, out: Path) -> None:
    """Render the phantom into ``out``, or leave real radiographs where they are; write ``out``/inventory.csv."""
    if data.layout in ("phantom", "vindr"):
        known(study.findings, FINDINGS, "study.findings")
    root = Path(data.root)
    if root.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{out}: holds data.root, {root}; write to another directory")
    if data.layout == "phantom":
        images = _images(phantom, study, root)
        _clear(out)
        dataset.write(images, phantom.seed, phantom.height, out, cores())
        root = out
    inventory.write(root, out / "inventory.csv")


def _images(phantom: Phantom, study: Study, root: Path) -> list[cohort.Image]:
    table = cohort.enriched(cohort.tables(root), study.minority, phantom.enrich)
    cohort.check_size(table, study.minority, max(study.shots), phantom.train_images)
    train = cohort.training_part(table, phantom.seed, phantom.train_images)
    first = 1 + max(image.patient for image in train)
    test = cohort.test_part(table, phantom.seed, phantom.test_images, study.findings, phantom.test_positives, first)
    first += len(test)
    return train + test + cohort.reserve_part(table, phantom.seed, study.findings, phantom.reserve_positives, first)


def _clear(out: Path) -> None:
    """Make ``out`` an empty directory but for an inventory.csv, by which the next run knows it for acquire's."""
    listed = out / "inventory.csv"
    if out.exists() and any(out.iterdir()) and not listed.is_file():
        raise UserError(f"{out}: holds files, but no inventory.csv; empty it or write to another directory")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    listed.touch()


if __name__ == "__main__":
    run(acquire)
