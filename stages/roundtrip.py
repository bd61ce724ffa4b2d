"""What the autoencoder leaves of the radiographs that carry a finding: material for a control, nothing is generated.

In: the manifest, splits, images and their checksums, the base model. Out: PNGs, and manifest.csv with their checksums.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from raremix.data import images
from raremix.data.checksums import read_checksums
from raremix.data.findings import known
from raremix.data.manifest import findings, read_manifest, write_csv
from raremix.data.trial import read_trial, training_rows
from raremix.generator.base import load
from raremix.generator.latents import roundtrip as rebuild
from raremix.runtime.device import Precision, device, one_core
from raremix.runtime.files import sha256
from stages.cli import run
from stages.sections import Study


@dataclass(frozen=True)
class Roundtrip:
    """How images go through the autoencoder."""

    precision: Precision


@one_core()
def roundtrip(
    study: Study, roundtrip: Roundtrip, manifest: Path, splits: Path, checksums: Path, pipeline: Path, out: Path
) -> None:
    """Encode and decode every image that trains in some trial and carries a finding of the task."""
    rows = read_manifest(manifest)
    task = known(study.findings, findings(rows), "study.findings")
    trials = [read_trial(splits / f"trial{trial}.csv") for trial in study.trials]
    training = pd.concat([training_rows(rows, trial, max(study.shots)) for trial in trials]).drop_duplicates("image_id")
    carriers = training[training[task].any(axis=1)].sort_values("image_id")
    pixels = images.load(list(carriers["file"]), read_checksums(checksums))
    rebuilt = rebuild(load(pipeline).vae.to(device()), pixels, roundtrip.precision)
    files = [out / f"{image}.png" for image in carriers["image_id"]]
    for file, image in zip(files, rebuilt, strict=True):
        images.save(image, file)
    table = {"image_id": carriers["image_id"], "file": map(str, files), "sha256": map(sha256, files)}
    write_csv(pd.DataFrame(table), out / "manifest.csv")


if __name__ == "__main__":
    run(roundtrip)
