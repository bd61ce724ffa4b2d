"""How good the synthetic images are, and what each arm's add.

In: real images, all synthetic images, the arms' training sets, and a network that extracts the features: the backbone,
or torchxrayvision's DenseNet-121 from a file. Out: fidelity.csv (KID, precision and recall, density and coverage,
MS-SSIM; copies are not left out, as it is about the generator), added.csv (each arm's domain gap beside the diversity
it adds); for each arm gap-<arm>.png (where what it adds in the first trial differs from real images), and the names and
scores of their images, gap.csv. Figures are on validation.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raremix.classifier.witness import Witness, witness
from raremix.data.checksums import read_checksums
from raremix.data.images import save
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
        made = read_drawn(synthetic, study.synthesized, findings_of(rows), shots, trial)
        drawn = look(made, dict(zip(made["file"], made["sha256"], strict=True)), looking.features)
        training = everything.of(list(training_rows(rows, divided, shots)["image_id"]))
        validation = everything.of(list(divided["image_id"][divided["part"] == "validation"]))
        added = _additions(study.arms, mixes, f"{shots}-{trial}", training, drawn, looking)
        found = {
            "fidelity": _fidelity(fidelity.measuring, study.synthesized, validation, training, drawn),
            "added": _added(added, study.findings, validation, training),
        }
        for name, table in found.items():
            tables[name].append(_with_key(table, shots, trial))
        if (shots, trial) == pairs[0]:
            _show_gaps(added, study.findings, validation, looking, pictures)
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


def _additions(
    arms: list[str], mixes: Path, key: str, training: Gallery, drawn: Gallery, looking: Witness
) -> dict[str, Gallery]:
    """By arm: the images it adds, of the arms that add some. Oversampling adds the ones it has again."""
    known, added = {"synthetic": drawn, "real": training}, {}
    for arm in arms:
        mixed = pd.read_csv(mixes / f"{arm}-{key}.csv", dtype={"image_id": str})
        new = mixed[mixed["source"] != "real"]
        more = new if len(new) else mixed[mixed["weight"] > 1]
        if more.empty:
            continue
        if (source := more["source"].iloc[0]) in known:
            added[arm] = known[source].of(list(more["image_id"]))
        else:
            added[arm] = look(more, read_checksums(mixes / f"{arm}-{key}.sha256"), looking.features)
    return added


def _added(added: dict[str, Gallery], findings: list[str], validation: Gallery, training: Gallery) -> pd.DataFrame:
    """A row an arm: ``arm, added, gap, diversity``."""
    rows = []
    for arm, gallery in added.items():
        ours, theirs = (one.rows[findings].to_numpy(np.int64) for one in (validation, gallery))
        apart = gap(validation.features, ours, gallery.features, theirs)
        gained = added_diversity(training.features, gallery.features, training.features)
        rows.append((arm, len(gallery.rows), apart, gained))
    return pd.DataFrame(rows, columns=["arm", "added", "gap", "diversity"])


def _show_gaps(
    added: dict[str, Gallery], findings: list[str], validation: Gallery, looking: Witness, pictures: Path
) -> None:
    """No picture where there is nothing to show; without any the table is a header."""
    tables = [pd.DataFrame(columns=["arm", "image_id", "source", "score"])]
    pools = looking.pools(validation.pixels[:1])
    for arm, gallery in added.items():
        if pools and (found := giveaways(validation, gallery, findings, looking.maps)):
            save(picture(found, arm), pictures / f"gap-{arm}.png")
            tables.append(found.table.assign(arm=arm)[tables[0].columns])
    write_csv(pd.concat(tables), pictures / "gap.csv", "%.5g")
    if len(tables) == 1:
        print("no picture of the domain gap: the arms add too few images, or the network pools no maps")


def _with_key(table: pd.DataFrame, shots: int, trial: int) -> pd.DataFrame:
    table.insert(0, "trial", trial)
    table.insert(0, "shots", shots)
    return table


if __name__ == "__main__":
    run(fidelity)
