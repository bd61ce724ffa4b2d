"""What the classifier reacts to: estimates from samples, edits and images, beside the truth where there is one.

In: the base model, boundaries, the implicit function, readers, classifiers, named attributes, the true effects. Out:
sensitivity.csv (every attribute, finding and method), coarse.csv, selectivity.csv, doses.csv, combined.csv,
planted.csv, beside.csv (estimated and true), a picture of traversals, and summary.json with the figures that tell
whether the estimates can be believed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonargparse.typing import PositiveFloat, PositiveInt
from numpy.typing import NDArray

from raremix.data import images
from raremix.data.checksums import read_checksums
from raremix.data.manifest import write_csv
from raremix.diagnosis import coarse, deep, estimates
from raremix.diagnosis.agreement import agreement
from raremix.diagnosis.clip import load as load_clip
from raremix.diagnosis.editing import Way, back, check_start, chosen, patients
from raremix.diagnosis.eyes import Eyes, load_run
from raremix.diagnosis.implicit import Implicit
from raremix.diagnosis.implicit import load as load_function
from raremix.diagnosis.looks import Looks
from raremix.diagnosis.readers import load_picture, readable
from raremix.diagnosis.stored import read_directions
from raremix.diagnosis.traversal import traversal
from raremix.generator.base import load
from raremix.runtime.device import device, one_core
from raremix.runtime.errors import UserError
from raremix.runtime.files import write_json
from stages.cli import run
from stages.diagnosed import Editing
from stages.latents import Latents

Moves = NDArray[np.float32]
Side = tuple[list[str], NDArray[np.float64], NDArray[np.float64]]  # attributes, effects, draws of them


@dataclass(frozen=True)
class Sensitivity:
    """How much is asked."""

    coarse: PositiveInt  # pairs of samples a phrase
    pointless: PositiveInt  # directions of either kind that mean nothing
    few: PositiveInt  # images for these, for the dose-response and for combined edits
    top: PositiveInt  # attributes whose dose-response is drawn, and whose traversal
    doses: list[float]  # of the dose-response, in multiples of the method's own
    strengths: list[PositiveFloat]  # of edits along all attributes at once, in the same
    clip: str | None  # the folder of a CLIP model, which tells whether phrases arrive that no reader knows


@one_core()
def sensitivity(
    latents: Latents,
    editing: Editing,
    sensitivity: Sensitivity,
    manifest: Path,
    splits: Path,
    checksums: Path,
    pipeline: Path,
    directions: Path,
    function: Path,
    readers: Path,
    r2: Path,
    classifier: Path,
    planted: Path,
    true: Path,
    named: Path,
    attribute: str,
    out: Path,
) -> None:
    """Estimate how strongly a classifier reacts to each attribute, and hold the estimates against the truth."""
    check_start(editing.start, latents.sampling.steps)
    true_effects, phrases = _truth(true), pd.read_csv(named, keep_default_na=False)
    network, diagnosed = load_run(classifier)
    name = classifier.name
    others = {run.name: load_run(run)[1] for run in sorted(planted.glob("*/")) if (run / "config.json").is_file()}
    picture, units = load_picture(readers)
    eyes = Eyes(picture, units, {name: diagnosed, **others}, editing.precision)
    trusted = sorted(readable(r2, units, editing.readable))
    clip = load_clip(Path(sensitivity.clip)) if sensitivity.clip else None
    methods = _methods(editing, sensitivity, read_directions(directions / "e.safetensors"), load_function(function))
    rows, listed = patients(manifest, splits), read_checksums(checksums)
    pixels = images.load(list(chosen(rows, 2 * editing.images)["file"]), listed)
    base = load(pipeline).to(device())
    sampling = replace(latents.sampling, batch=editing.batch, precision=editing.precision)
    way = back(base, pixels[: editing.images], sampling, latents.refinements, editing.start)
    few = way.some(slice(sensitivity.few))

    seen = eyes.seen(images.load(list(rows["file"]), listed))
    ranked = estimates.distinct(seen[name], trusted)
    found = [estimates.estimated(method, seen, eyes, trusted, ranked, editing.arrived, way, few) for method in methods]
    ways = [*(one.estimates for one in found), estimates.observed(seen, eyes, trusted, ranked)]
    pairs = coarse.pairs(base, list(phrases["phrase"]), sensitivity.coarse, sampling, eyes, diagnosed, clip)
    known = coarse.told(phrases, pairs, units, ranked, editing.arrived)
    told = coarse.table(phrases, pairs, known, diagnosed.findings)
    write_csv(told, out / "coarse.csv", "%.5f")
    own = true_effects[true_effects["classifier"] == name]
    tables = [
        told.assign(method="coarse")[estimates.COLUMNS],
        *(estimates.rows_of_edits(one, eyes, name) for one in found),
        estimates.rows(ways[-1], eyes, name, len(rows)),
        estimates.rows_of_truth(own),
    ]
    write_csv(pd.concat(tables), out / "sensitivity.csv", "%.5f")
    write_csv(pd.concat([estimates.selectivity(one, trusted) for one in found]), out / "selectivity.csv", "%.4f")
    places = estimates.planted(ways, others, true_effects)
    write_csv(places, out / "planted.csv", "%.5f")
    _responses(sensitivity, found, eyes, name, way, few, out)

    wide = own.pivot(index="attribute", columns="finding", values="effect").reindex(columns=diagnosed.findings)
    sides = {"coarse": coarse.by_attribute(phrases, pairs, units, known, wide.index)}
    sides |= {one.name: one.of(name, wide.index) for one in ways}
    agreements = _agreements(sides, wide, out)
    for one in found:
        agreements[one.method.name] |= estimates.alone(one, name, seen[name], eyes, trusted, wide)
    looks = Looks(network, pixels[editing.images :], way, editing.precision)
    summary = {
        "classifier": name,
        "reliability": _reliability(true, name),
        "agreement": agreements,
        "selectivity": {one.method.name: estimates.mean_selectivity(one, trusted) for one in found},
        "realism": {one.method.name: looks.apart(one) for one in found},
        "planted": estimates.ranks(places, attribute),
    }
    write_json(out / "summary.json", summary)


def _methods(
    editing: Editing, sensitivity: Sensitivity, of_e: Mapping[str, Moves], function: Implicit
) -> list[deep.Method]:
    """Across the boundaries of e, and by the implicit function; it has a shift for every sampling step."""
    moves, permuted = (of_e[part][editing.start] for part in ("moves", "permuted"))
    return [
        deep.hyperplane(moves, permuted, editing.start, editing.hyperplane, sensitivity.pointless),
        deep.implicit(function, editing.start, len(of_e["moves"]), editing.implicit, sensitivity.pointless),
    ]


def _responses(
    sensitivity: Sensitivity, found: Sequence[estimates.Edited], eyes: Eyes, name: str, way: Way, few: Way, out: Path
) -> None:
    """Dose-response and traversal of the attributes that ``name`` reacts to most, and edits along all at once.

    Which these are, and how all are weighed, the first method says.
    """
    first = found[0].estimates
    top = estimates.strongest(first, name, sensitivity.top)
    doses = [deep.responses(one.method, top, sensitivity.doses, eyes, few, name) for one in found]
    write_csv(pd.concat(doses), out / "doses.csv", "%.5f")
    slopes = first.effects[name][0] / eyes.units.reach[:, None]
    slopes[~first.known] = 0
    together = deep.combined(found[0].method, slopes, sensitivity.strengths, eyes, few, name)
    write_csv(together, out / "combined.csv", "%.4f")
    seen = traversal([(one.method, top) for one in found], sensitivity.doses, eyes, way, name)
    images.save(seen, out / "traversal.png")


def _agreements(sides: Mapping[str, Side], true: pd.DataFrame, out: Path) -> dict[str, dict[str, Any]]:
    """How well each side's estimates agree with the true ones, a row an attribute and a column a finding."""
    tables = [estimates.beside(side, labels, effects, true) for side, (labels, effects, _) in sides.items()]
    write_csv(pd.concat(tables), out / "beside.csv", "%.5f")
    return {
        side: agreement(effects, draws, true.loc[labels].to_numpy(), side)
        for side, (labels, effects, draws) in sides.items()
    }


def _truth(true: Path) -> pd.DataFrame:
    """The true effects, of every classifier; none where the data are real.

    Raises:
        UserError: there is no such table.
    """
    if not (true / "effects.csv").is_file():
        raise UserError(f"{true / 'effects.csv'}: no true effects; run `dvc repro truth`")
    return pd.read_csv(true / "effects.csv")


def _reliability(true: Path, name: str) -> Any:
    return json.loads((true / "summary.json").read_text())["reliability"].get(name)


if __name__ == "__main__":
    run(sensitivity)
