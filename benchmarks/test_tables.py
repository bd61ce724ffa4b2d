"""What reading VinDr-CXR's tables costs, a label row and a box a reader, at its own size and at a quarter of it."""

from pathlib import Path

import pandas as pd

from raremix.data.findings import FINDINGS, NAMES
from raremix.data.vindr import read
from raremix.runtime.files import sha256

IMAGES, READERS, ROUNDS = 15_000, 3, 3


def tree(root: Path, images: int) -> dict[str, str]:
    """Label files of ``images`` in train and a tenth as many in test; an inventory as if their DICOM were there."""
    listed = {}
    for part, count in (("train", images), ("test", images // 10)):
        ids = [f"{part}{number:06d}" for number in range(count)]
        readers = [f"R{8 + number}" for number in range(READERS)] if part == "train" else [""]
        rows = pd.DataFrame([(image, reader) for image in ids for reader in readers], columns=["image_id", "rad_id"])
        marks = {name: (rows.index % (7 + place) == 0).astype(int) for place, name in enumerate(NAMES)}
        boxes = rows.assign(class_name="Nodule/Mass", x_min=1.5, y_min=2.5, x_max=30.5, y_max=40.5)
        for name, table in ((f"image_labels_{part}", rows.assign(**marks)), (f"annotations_{part}", boxes)):
            file = root / "annotations" / f"{name}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            (table if part == "train" else table.drop(columns="rad_id")).to_csv(file, index=False)
            listed[f"annotations/{name}.csv"] = sha256(file)
        listed |= {f"{part}/{image}.dicom": "" for image in ids}
    return listed


def test_reading_15000_images_labels_against_four_quarters_of_them(times_as_fast, tmp_path):
    whole, quarter = (tree(tmp_path / name, count) for name, count in (("whole", IMAGES), ("quarter", IMAGES // 4)))

    def all_at_once() -> None:
        found = read(tmp_path / "whole", whole)
        assert (len(found.records), len(found.findings)) == (IMAGES + IMAGES // 10, len(FINDINGS))

    def in_quarters() -> None:
        for _ in range(4):
            read(tmp_path / "quarter", quarter)

    ratio = times_as_fast(all_at_once, in_quarters, ROUNDS)
    print(f"\nlabels of {IMAGES} images: {ratio:.2f} times as fast as four quarters, so cost grows with their number")
