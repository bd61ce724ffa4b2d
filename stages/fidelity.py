"""How good the synthetic images are, and what each arm's add.

In: real images, all synthetic images, the arms' training sets, and a network that extracts the features: the backbone,
or torchxrayvision's DenseNet-121 from a file. Out: fidelity.csv (KID, precision and recall, density and coverage,
MS-SSIM; copies are not left out, as it is about the generator), added.csv (each arm's domain gap beside the diversity
it adds); gap.png (where the synthetic images of the first trial's first arm that has some differ from real ones) and
the names and scores of its images, gap.csv. Figures are on validation.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raremix.classifier.witness import Witness, witness
from raremix.data.checksums import read_checksums
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, write_csv
from raremix.data.synthetic import read_drawn
from raremix.data.trial import read_trial, training_rows
from raremix.evaluation.diversity import added_diversity
from raremix.evaluation.fidelity import Measuring
from raremix.evaluation.fidelity import fidelity as measured
from raremix.evaluation.gallery import Gallery, look
from raremix.evaluation.gap import gap
from raremix.evaluation.giveaways import giveaways, picture
from raremix.evaluation.population import natural_and_test
from raremix.runtime.device import Precision, one_core
from raremix.runtime.progress import track
from raremix.runtime.seeds import seed_for
from stages.cli import run
from stages.sections import Study


@dataclass(frozen=True)
class Fidelity:
    """How synthetic images are held against real ones."""

    model: str  # a torchvision classifier, the backbone's, which extracts the features
    xrayvision: str | None  # weights of torchxrayvision's DenseNet-121, which then does so in its place
    precision: Precision
    measuring: Measuring


@one_core()
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
    pictures: Path,
) -> None:
    """Measure the synthetic images of every shots and trial."""
    rows, listed = read_manifest(manifest), read_checksums(checksums)
    looking = witness(weights, fidelity.model, fidelity.xrayvision, fidelity.precision)
    natural, _ = natural_and_test(rows, splits, study.trials, study.findings)
    everything = look(natural, listed, looking.features)
    tables: dict[str, list[pd.DataFrame]] = {"fidelity": [], "added": []}
    pairs = [(shots, trial) for shots in study.shots for trial in study.trials]
    for shots, trial in track(pairs, "fidelity", len(pairs)):
        divided = read_trial(splits / f"trial{trial}.csv")
        made = read_drawn(synthetic, study.findings, findings_of(rows), shots, trial)
        drawn = look(made, dict(zip(made["file"], made["sha256"], strict=True)), looking.features)
        training = everything.of(list(training_rows(rows, divided, shots)["image_id"]))
        validation = everything.of(list(divided["image_id"][divided["part"] == "validation"]))
        found = {
            "fidelity": _fidelity(fidelity.measuring, study.findings, validation, training, drawn),
            "added": _added(study, mixes, f"{shots}-{trial}", validation, training, drawn, looking),
        }
        for name, table in found.items():
            tables[name].append(_with_key(table, shots, trial))
        if (shots, trial) == pairs[0]:
            _show_gap(study, mixes, f"{shots}-{trial}", validation, drawn, looking, pictures)
    for name, parts in tables.items():
        write_csv(pd.concat(parts), out / f"{name}.csv", "%.5g")


def _fidelity(
    how: Measuring, findings: list[str], validation: Gallery, training: Gallery, drawn: Gallery
) -> pd.DataFrame:
    """A row a finding, of its carriers, and one of all these; the other ``kind`` are real training images."""
    rows = []
    for finding in [*findings, "all"]:
        for kind, gallery in (("synthetic", drawn), ("real", training)):
            theirs = gallery
            if kind == "synthetic" and finding != "all":
                theirs = gallery.of(gallery.rows.index[gallery.rows["checkpoint"] == finding])
            carried = findings if finding == "all" else [finding]
            ours, theirs = (_carriers(one, carried) for one in (validation, theirs))
            seed = seed_for("fidelity", finding)
            found = measured(ours.features, theirs.features, ours.pixels, theirs.pixels, how, seed)
            figures = {"images" if name == "synthetic" else name: value for name, value in asdict(found).items()}
            rows.append({"finding": finding, "kind": kind, **figures})
    return pd.DataFrame(rows)


def _carriers(gallery: Gallery, findings: list[str]) -> Gallery:
    """Those with any of the ``findings``: a pair's image without them may be a radiograph."""
    return gallery.of(gallery.rows.index[gallery.rows[findings].eq(1).any(axis=1)])


def _added(
    study: Study, mixes: Path, key: str, validation: Gallery, training: Gallery, drawn: Gallery, looking: Witness
) -> pd.DataFrame:
    """A row an arm that adds images: ``arm, added, gap, diversity``. Oversampling adds the ones it has again."""
    rows = []
    for arm in study.arms:
        mixed = _mixed(mixes, arm, key)
        new = mixed[mixed["source"] != "real"]
        more = new if len(new) else mixed[mixed["weight"] > mixed["weight"].min()]
        if len(more):
            seen = {"synthetic": drawn, "real": training}.get(more["source"].iloc[0])
            added = seen.of(list(more["image_id"])) if seen else _look_at(more, mixes / f"{arm}-{key}.sha256", looking)
            ours, theirs = (one.rows[study.findings].to_numpy(np.int64) for one in (validation, added))
            apart = gap(validation.features, ours, added.features, theirs)
            rows.append((arm, len(more), apart, added_diversity(training.features, added.features, training.features)))
    return pd.DataFrame(rows, columns=["arm", "added", "gap", "diversity"])


def _look_at(rows: pd.DataFrame, checksums: Path, looking: Witness) -> Gallery:
    return look(rows, read_checksums(checksums), looking.features)


def _show_gap(
    study: Study, mixes: Path, key: str, validation: Gallery, drawn: Gallery, looking: Witness, pictures: Path
) -> None:
    """No picture where there is nothing to show; its table is then a header."""
    arm, names = _first_synthetic(study.arms, mixes, key)
    found = None
    if looking.pools(validation.pixels[:1]):
        found = giveaways(validation, drawn.of(names), study.findings, looking.maps)
    table = found.table if found else pd.DataFrame(columns=["image_id", "source", "score"])
    write_csv(table, pictures / "gap.csv", "%.5g")
    if found:
        picture(found, arm).save(pictures / "gap.png")
    else:
        print("no picture of the domain gap: too few synthetic images in the arms, or the network pools no maps")


def _first_synthetic(arms: list[str], mixes: Path, key: str) -> tuple[str, list[str]]:
    """The first arm with synthetic images, and their names; none where no arm has any."""
    for arm in arms:
        mixed = _mixed(mixes, arm, key)
        if names := list(mixed.loc[mixed["source"] == "synthetic", "image_id"]):
            return arm, names
    return "", []


def _mixed(mixes: Path, arm: str, key: str) -> pd.DataFrame:
    return pd.read_csv(mixes / f"{arm}-{key}.csv", dtype={"image_id": str})


def _with_key(table: pd.DataFrame, shots: int, trial: int) -> pd.DataFrame:
    table.insert(0, "trial", trial)
    table.insert(0, "shots", shots)
    return table


if __name__ == "__main__":
    run(fidelity)
