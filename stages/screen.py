"""Which synthetic images are copies, and whether anything that trains is also tested; before any arm sees them.

In: real images, all synthetic images, and a network that extracts the features: the backbone, or torchxrayvision's
DenseNet-121 from a file. Out: copies-<shots>-<trial>.csv (the copies of training images, which mix leaves out with
their pairs), memorisation.csv, nearest.png. Validation also says what is ordinary, so which distances are a copy's. The
radiograph that an image is laid over is not held against it, and pairs that are such radiographs are not looked at.
Pixels of validation and test are held against the real and synthetic images that train, and a near-duplicate there
stops the run.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse.typing import OpenUnitInterval, PositiveInt

from raremix.classifier.witness import witness
from raremix.data import images
from raremix.data.checksums import read_checksums
from raremix.data.leaks import check_leaks
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, write_csv
from raremix.data.synthetic import radiographs, read_drawn
from raremix.data.trial import read_trial, training_rows
from raremix.evaluation.gallery import Gallery, look
from raremix.evaluation.memorisation import Memorised, Seen, memorised, worst_pairs
from raremix.evaluation.population import natural_and_test
from raremix.runtime.device import Precision, one_core
from raremix.runtime.progress import track
from stages.cli import run
from stages.sections import Study

UNSEEN = ["validation", "held_back"]  # no generator has learned from these
CEILING = ["held_back", "reserve"]  # from these one arm learns, real_ceiling


@dataclass(frozen=True)
class Screen:
    """How copies are told from ordinary synthetic images."""

    model: str  # a torchvision classifier, the backbone's, which extracts the features
    xrayvision: str | None  # weights of torchxrayvision's DenseNet-121, which then does so in its place
    precision: Precision
    false_alarms: OpenUnitInterval  # share of ordinary images that may pass for copies
    shown: PositiveInt  # synthetic images beside the training images that are nearest to them


@one_core()
def screen(
    study: Study,
    screen: Screen,
    manifest: Path,
    splits: Path,
    checksums: Path,
    synthetic: Path,
    weights: Path,
    out: Path,
    metrics: Path,
    pictures: Path,
) -> None:
    """Look for leaks and for copies among the synthetic images of every shots and trial."""
    rows, listed = read_manifest(manifest), read_checksums(checksums)
    extract = witness(weights, screen.model, screen.xrayvision, screen.precision).features
    _, test = natural_and_test(rows, splits, study.trials, study.findings)
    tested = images.load(list(test["file"]), listed)
    everything = look(rows[~rows["image_id"].isin(test["image_id"])], listed, extract)
    counts = []
    pairs = [(shots, trial) for shots in study.shots for trial in study.trials]
    for shots, trial in track(pairs, "screen", len(pairs)):
        divided = read_trial(splits / f"trial{trial}.csv")
        made = read_drawn(synthetic, study.synthesized, findings_of(rows), shots, trial)
        drawn = look(made, dict(zip(made["file"], made["sha256"], strict=True)), extract)
        training = everything.of(list(training_rows(rows, divided, shots)["image_id"]))
        validation, unseen, ceiling = (
            everything.of(list(divided["image_id"][divided["part"].isin(parts)]))
            for parts in (["validation"], UNSEEN, CEILING)
        )
        judged = np.concatenate([validation.pixels, tested]), [*validation.rows.index, *test["image_id"]]
        trains = training, ceiling, drawn
        learned = np.concatenate([of.pixels for of in trains]), [name for of in trains for name in of.rows.index]
        check_leaks(*learned, *judged)
        altered = drawn.of(list(made["image_id"][~radiographs(made)]))
        found = memorised(_seen(altered), _seen(training), _seen(unseen), screen.false_alarms)
        copies = found.synthetic[found.synthetic["copy"]].drop(columns="copy")
        write_csv(copies, out / f"copies-{shots}-{trial}.csv", "%.5g")
        counts.append(_counts(found, altered, shots, trial))
        if (shots, trial) == pairs[0]:
            images.save(worst_pairs(found, _seen(altered), _seen(training), screen.shown), pictures / "nearest.png")
    write_csv(pd.concat(counts), metrics / "memorisation.csv", "%.5g")


def _seen(gallery: Gallery) -> Seen:
    originals = list(gallery.rows["original"]) if "original" in gallery.rows else []
    return Seen(list(gallery.rows.index), gallery.pixels, gallery.features, originals)


def _counts(found: Memorised, drawn: Gallery, shots: int, trial: int) -> pd.DataFrame:
    """A row a checkpoint: images, how many count as copies, the least distances, the thresholds."""
    table = found.synthetic.assign(finding=drawn.rows["checkpoint"].to_numpy())
    rows = [
        {
            "shots": shots,
            "trial": trial,
            "finding": finding,
            "images": len(of),
            "copies": int(of["copy"].sum()),
            "least_feature_distance": of["feature_distance"].min(),
            "least_pixel_distance": of["pixel_distance"].min(),
            "feature_threshold": found.thresholds["feature"],
            "pixel_threshold": found.thresholds["pixel"],
            "false_alarms": found.rate,
        }
        for finding, of in table.groupby("finding", sort=False)
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    run(screen)
