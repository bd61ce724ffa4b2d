"""How good the synthetic images are, whether they are copies, and whether anything that trains is also tested.

In: real images, all synthetic images, the arms' training sets, the backbone (it extracts the features). Out:
fidelity.csv (KID, precision and recall, density and coverage, MS-SSIM), memorisation.csv, added.csv (each arm's domain
gap beside the diversity it adds), nearest.png. Figures are on validation; of test only the pixels are held against what
trains, and a near-duplicate there stops the run.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse.typing import OpenUnitInterval, PositiveInt
from numpy.typing import NDArray

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import features
from raremix.data import images
from raremix.data.checksums import Checksums, read_checksums
from raremix.data.leaks import check_leaks
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, read_synthetic, write_csv
from raremix.data.trial import read_trial, training_rows
from raremix.evaluation.diversity import added_diversity
from raremix.evaluation.fidelity import Measuring
from raremix.evaluation.fidelity import fidelity as measured
from raremix.evaluation.gap import gap
from raremix.evaluation.memorisation import Memorised, Seen, memorised, worst_pairs
from raremix.evaluation.population import natural_and_test
from raremix.runtime.device import Precision
from raremix.runtime.progress import track
from raremix.runtime.seeds import seed_for
from stages.cli import run
from stages.sections import Study

UNSEEN = ["validation", "held_back"]  # no generator and no classifier has learned from these


@dataclass(frozen=True)
class Fidelity:
    """How synthetic images are held against real ones."""

    model: str  # extracts the features: a torchvision classifier, the backbone's
    precision: Precision
    measuring: Measuring
    false_alarms: OpenUnitInterval  # share of ordinary images that may pass for copies
    shown: PositiveInt  # synthetic images beside the training images that are nearest to them


@dataclass(frozen=True)
class _Gallery:
    """Images that were looked at: their rows by image_id, pixels and features in the rows' order."""

    rows: pd.DataFrame
    pixels: NDArray[np.uint8]
    features: NDArray[np.float64]

    def of(self, names: "pd.Index[str] | list[str]") -> "_Gallery":
        """Those with these names, in their order; a name may come twice."""
        places = self.rows.index.get_indexer(pd.Index(names))
        return _Gallery(self.rows.iloc[places], self.pixels[places], self.features[places])

    def seen(self) -> Seen:
        return Seen(list(self.rows.index), self.pixels, self.features)


def fidelity(
    study: Study,
    fidelity: Fidelity,
    manifest: Path,
    splits: Path,
    checksums: Path,
    synthetic: Path,
    mixes: Path,
    weights: Path,
    out: Path,
) -> None:
    """Measure the synthetic images of every shots and trial, look for copies and for leaks."""
    rows, listed = read_manifest(manifest), read_checksums(checksums)
    extractor = from_backbone(fidelity.model, len(study.findings), weights, "fidelity")

    def look(table: pd.DataFrame, digests: Checksums) -> _Gallery:
        pictures = images.load(list(table["file"]), digests)
        return _Gallery(table.set_index("image_id"), pictures, features(extractor, pictures, fidelity.precision))

    natural, test = natural_and_test(rows, splits, study.trials, study.findings)
    tested = images.load(list(test["file"]), listed)
    everything = look(natural, listed)
    tables: dict[str, list[pd.DataFrame]] = {"fidelity": [], "memorisation": [], "added": []}
    pairs = [(shots, trial) for shots in study.shots for trial in study.trials]
    for shots, trial in track(pairs, "fidelity", len(pairs)):
        divided = read_trial(splits / f"trial{trial}.csv")
        made = _made(synthetic, study.findings, findings_of(rows), shots, trial)
        drawn = look(made, dict(zip(made["file"], made["sha256"], strict=True)))
        training = everything.of(list(training_rows(rows, divided, shots)["image_id"]))
        validation, unseen = (
            everything.of(list(divided["image_id"][divided["part"].isin(parts)])) for parts in (["validation"], UNSEEN)
        )
        judged = np.concatenate([validation.pixels, tested]), [*validation.rows.index, *test["image_id"]]
        learned = np.concatenate([training.pixels, drawn.pixels]), [*training.rows.index, *drawn.rows.index]
        check_leaks(*learned, *judged)
        copies = memorised(drawn.seen(), training.seen(), unseen.seen(), fidelity.false_alarms)
        found = {
            "fidelity": _fidelity(fidelity.measuring, study.findings, validation, training, drawn),
            "memorisation": _copies(copies, drawn),
            "added": _added(study, mixes, f"{shots}-{trial}", validation, training, drawn),
        }
        for name, table in found.items():
            tables[name].append(_with_key(table, shots, trial))
        if (shots, trial) == pairs[0]:
            out.mkdir(parents=True, exist_ok=True)
            images.save(worst_pairs(copies, drawn.seen(), training.seen(), fidelity.shown), out / "nearest.png")
    for name, parts in tables.items():
        write_csv(pd.concat(parts), out / f"{name}.csv", "%.5g")


def _made(synthetic: Path, task: list[str], findings: list[str], shots: int, trial: int) -> pd.DataFrame:
    """The synthetic images of all checkpoints at ``shots`` in ``trial``, with their ``checkpoint``, a finding."""
    tables = [
        read_synthetic(synthetic / f"{finding}-{shots}-{trial}" / "manifest.csv", findings).assign(checkpoint=finding)
        for finding in task
    ]
    return pd.concat(tables, ignore_index=True)


def _fidelity(
    how: Measuring, findings: list[str], validation: _Gallery, training: _Gallery, drawn: _Gallery
) -> pd.DataFrame:
    """A row a finding, of its carriers, and one of all; the other ``kind`` are real training images, to compare."""
    rows = []
    for finding in [*findings, "all"]:
        for kind, gallery in (("synthetic", drawn), ("real", training)):
            theirs = gallery
            if kind == "synthetic" and finding != "all":
                theirs = gallery.of(gallery.rows.index[gallery.rows["checkpoint"] == finding])
            ours, theirs = (_carriers(one, finding) for one in (validation, theirs))
            seed = seed_for("fidelity", finding)
            found = measured(ours.features, theirs.features, ours.pixels, theirs.pixels, how, seed)
            figures = {"images" if name == "synthetic" else name: value for name, value in asdict(found).items()}
            rows.append({"finding": finding, "kind": kind, **figures})
    return pd.DataFrame(rows)


def _carriers(gallery: _Gallery, finding: str) -> _Gallery:
    return gallery if finding == "all" else gallery.of(gallery.rows.index[gallery.rows[finding] == 1])


def _copies(found: Memorised, drawn: _Gallery) -> pd.DataFrame:
    """A row a checkpoint: images, how many count as copies, the least distances, the thresholds."""
    table = found.synthetic.assign(finding=drawn.rows["checkpoint"].to_numpy())
    rows = [
        {
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


def _added(
    study: Study, mixes: Path, key: str, validation: _Gallery, training: _Gallery, drawn: _Gallery
) -> pd.DataFrame:
    """A row an arm that adds images: ``arm, added, gap, diversity``. Oversampling adds the ones it has again."""
    rows = []
    for arm in study.arms:
        mixed = pd.read_csv(mixes / f"{arm}-{key}.csv", dtype={"image_id": str})
        invented = mixed["source"] == "synthetic"
        more = mixed[invented] if invented.any() else mixed[mixed["weight"] > mixed["weight"].min()]
        if len(more):
            added = (drawn if invented.any() else training).of(list(more["image_id"]))
            ours, theirs = (one.rows[study.findings].to_numpy(np.int64) for one in (validation, added))
            apart = gap(validation.features, ours, added.features, theirs)
            rows.append((arm, len(more), apart, added_diversity(training.features, added.features, training.features)))
    return pd.DataFrame(rows, columns=["arm", "added", "gap", "diversity"])


def _with_key(table: pd.DataFrame, shots: int, trial: int) -> pd.DataFrame:
    table.insert(0, "trial", trial)
    table.insert(0, "shots", shots)
    return table


if __name__ == "__main__":
    run(fidelity)
