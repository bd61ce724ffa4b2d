"""Images and labels of a data set to the pipeline's own form.

In: the files under data.root (for the phantom: data/raw) that data/raw/inventory.csv lists.
Out: data/images/<image_id>.png and their checksums, data/{manifest,votes,boxes,metadata,quarantine}.csv,
metrics/ingest/summary.json.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jsonargparse.typing import ClosedUnitInterval, PositiveInt

from raremix.data import ingest as room
from raremix.data import nih, table, vindr
from raremix.data import tables as known
from raremix.data.checksums import write_checksums
from raremix.data.dicom import Window
from raremix.data.labels import Rule
from raremix.data.manifest import write_csv
from raremix.data.records import read_inventory
from raremix.runtime.errors import UserError
from raremix.runtime.files import write_json
from stages.cli import run
from stages.sections import Data


@dataclass(frozen=True)
class Ingest:
    """How images and votes are read."""

    size: PositiveInt  # pixels a side
    rule: Rule  # of an image's readers
    window: Window  # of DICOM: the header's, or between percentiles
    max_bad: ClosedUnitInterval  # share of the images that may be set aside
    columns: dict[str, str]  # layout table only: image_id, file, patient_id, visit, part, view, sex -> its column
    findings: dict[str, list[str]]  # layouts table and nih: slug -> its columns or labels, any of which makes the label

    def __post_init__(self) -> None:
        if self.size % 8:
            raise UserError(f"params.yaml, ingest.size: {self.size} is not a multiple of 8; give 64, for example")


def ingest(data: Data, ingest: Ingest, inventory: Path, images: Path, tables: Path, metrics: Path) -> None:
    """Convert every image to PNG, decide the labels, and write the manifest."""
    root = inventory.parent if data.layout == "phantom" else Path(data.root)
    listed = read_inventory(inventory)
    if data.layout == "table":
        source = table.read(root, listed, ingest.columns, ingest.findings)
    elif data.layout == "nih":
        source = nih.read(root, listed, ingest.findings)
    else:
        source = vindr.read(root, listed)
    with room.converted(source.records, root, listed, images, ingest.size, ingest.window) as (seen, failed):
        bad = sorted([*source.bad, *failed], key=lambda b: b.path)
        quarantine = tables / "quarantine.csv"
        write_csv(pd.DataFrame([(b.path, b.reason) for b in bad], columns=["path", "reason"]), quarantine)
        room.check_bad(seen, bad, ingest.max_bad, quarantine)
        if told := known.crowd(seen):
            print(told)
        written = known.tables(seen, source.findings, ingest.rule, images, ingest.size, real=data.layout != "phantom")
        for name, frame in written.items():
            write_csv(frame, tables / f"{name}.csv", float_format="%.2f")
        of_image = {one.record.image_id: one.png for one in seen}
        names = written["manifest"][["file", "image_id"]].itertuples(index=False)
        write_checksums({file: of_image[image] for file, image in names}, tables / "images.sha256")
        write_json(metrics / "summary.json", known.summary(written, bad, ingest.rule))


if __name__ == "__main__":
    run(ingest)
