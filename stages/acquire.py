"""In: the phantom's tables, or real radiographs. Out: the phantom's data set, and an inventory of either."""

import os
from dataclasses import dataclass
from pathlib import Path

from raremix.data import inventory
from raremix.data.phantom import cohort, dataset
from stages.cli import run
from stages.sections import Data, Study


@dataclass(frozen=True)
class Phantom:
    """The embedded data set; not read for real data."""

    seed: int
    train_images: int
    test_images: int
    test_positives: int  # at least so many of each of study.findings in the test part
    height: int  # native pixels
    enrich: float  # factor on the share of label sets with a minority finding; 1: VinDr-CXR's prevalence


def acquire(data: Data, phantom: Phantom, study: Study, out: Path) -> None:
    """Render the phantom into ``out``, or leave real radiographs where they are; write ``out``/inventory.csv."""
    out.mkdir(parents=True, exist_ok=True)
    root = Path(data.root)
    if data.layout == "phantom":
        dataset.write(_images(phantom, study, root), phantom.seed, phantom.height, out, os.cpu_count() or 1)
        root = out
    inventory.write(root, out / "inventory.csv")


def _images(phantom: Phantom, study: Study, root: Path) -> list[cohort.Image]:
    table = cohort.enriched(cohort.tables(root), study.minority, phantom.enrich)
    cohort.check_size(table, study.minority, max(study.shots), phantom.train_images)
    train = cohort.training_part(table, phantom.seed, phantom.train_images)
    first = 1 + max(image.patient for image in train)
    test = cohort.test_part(table, phantom.seed, phantom.test_images, study.findings, phantom.test_positives, first)
    return train + test


if __name__ == "__main__":
    run(acquire)
