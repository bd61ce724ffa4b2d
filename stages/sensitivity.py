"""What the classifier reacts to: estimates from samples and from edits, beside the truth where there is one.

In: the base model, boundaries, the implicit function, readers, classifiers, named attributes, the true effects. Out:
sensitivity.csv (every attribute, finding and method), coarse.csv, selectivity.csv, doses.csv, combined.csv,
planted.csv, beside.csv (estimated and true), a picture of traversals, and summary.json with the figures that tell
whether the estimates can be believed.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonargparse.typing import PositiveFloat, PositiveInt
from numpy.typing import NDArray
from torch import nn

from raremix.classifier.predict import features
from raremix.data import images
from raremix.data.checksums import read_checksums
from raremix.data.manifest import write_csv
from raremix.diagnosis import coarse, deep
from raremix.diagnosis.deep import Method
from raremix.diagnosis.editing import Way, back, check_start, chosen
from raremix.diagnosis.eyes import Eyes, load_run
from raremix.diagnosis.implicit import load as load_function
from raremix.diagnosis.readers import load_picture, readable
from raremix.diagnosis.sensitivity import Changes, agreement, effects, null
from raremix.diagnosis.stored import read_directions
from raremix.diagnosis.traversal import traversal
from raremix.evaluation.audit import real_or_synthetic
from raremix.evaluation.files import write_json
from raremix.generator.base import load
from raremix.runtime.device import Precision, device
from raremix.runtime.errors import UserError
from stages.cli import run
from stages.diagnosed import Editing
from stages.latents import Latents

Array = NDArray[np.float64]
COLUMNS = "attribute,finding,method,effect,low,high,null_low,null_high,flip_rate,n,arrived".split(",")


@dataclass(frozen=True)
class Sensitivity:
    """How much is asked."""

    coarse: PositiveInt  # pairs of samples a phrase
    pointless: PositiveInt  # directions of either kind that mean nothing
    few: PositiveInt  # images for these, for the dose-response and for combined edits
    top: PositiveInt  # attributes whose dose-response is drawn, and whose traversal
    doses: list[float]  # of the dose-response, in multiples of the method's own
    strengths: list[PositiveFloat]  # of edits along all attributes at once, in the same


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
    picture, units = load_picture(readers)
    trusted = readable(r2, units, editing.readable)
    network, diagnosed = load_run(classifier)
    others = {run.name: load_run(run)[1] for run in sorted(planted.glob("*/")) if (run / "config.json").is_file()}
    eyes = Eyes(picture, units, {classifier.name: diagnosed, **others}, editing.precision)
    moves, learned = read_directions(directions / "e.safetensors"), load_function(function)
    base = load(pipeline).to(device())
    sampling = replace(latents.sampling, batch=editing.batch, precision=editing.precision)
    rows = chosen(manifest, splits, 2 * editing.images)
    pixels = images.load(list(rows["file"]), read_checksums(checksums))
    way = back(base, pixels[: editing.images], sampling, latents.refinements, editing.start)

    methods = [
        deep.hyperplane(
            moves["moves"][editing.start], moves["permuted"][editing.start], editing.start, editing.hyperplane,
            sensitivity.pointless,
        ),
        deep.implicit(learned, editing.start, latents.sampling.steps, editing.implicit, sensitivity.pointless),
    ]  # fmt: skip
    found = [
        _estimated(method, trusted, editing.arrived, eyes, way, way.some(slice(sensitivity.few))) for method in methods
    ]
    pairs = coarse.pairs(base, list(phrases["phrase"]), sensitivity.coarse, sampling, eyes, diagnosed)
    known = coarse.told(phrases, pairs, units, trusted, editing.arrived)
    told = coarse.table(phrases, pairs, known, diagnosed.findings)
    own = true_effects[true_effects["classifier"] == classifier.name]
    tables = [told.assign(method="coarse"), *(_rows(one, eyes, classifier.name) for one in found), _true(own)]
    write_csv(pd.concat(tables)[COLUMNS], out / "sensitivity.csv", "%.5f")
    write_csv(told, out / "coarse.csv", "%.5f")
    write_csv(
        pd.concat([_selectivity(one, units.attributes, trusted) for one in found]), out / "selectivity.csv", "%.4f"
    )

    first, few = found[0], way.some(slice(sensitivity.few))
    top = _top(first, classifier.name, sensitivity.top)
    doses = [deep.responses(one.method, top, sensitivity.doses, eyes, few, classifier.name) for one in found]
    write_csv(pd.concat(doses), out / "doses.csv", "%.5f")
    slopes = first.effects[classifier.name][0] / units.reach[:, None]
    slopes[~first.arrived] = 0
    together = deep.combined(first.method, slopes, sensitivity.strengths, eyes, few, classifier.name)
    write_csv(together, out / "combined.csv", "%.4f")
    planted_table = _planted(found, units.attributes, others, true_effects)
    write_csv(planted_table, out / "planted.csv", "%.5f")
    traversal([(one.method, top) for one in found], sensitivity.doses, eyes, way, classifier.name).save(
        out / "traversal.png"
    )

    wide = own.pivot(index="attribute", columns="finding", values="effect").reindex(columns=diagnosed.findings)
    sides = {"coarse": coarse.beside(pairs, known, list(wide.index))}
    sides |= {one.method.name: _deep(one, units.attributes, list(wide.index), classifier.name) for one in found}
    beside = {name: _beside(name, *side, wide) for name, side in sides.items()}
    write_csv(pd.concat([one.table for one in beside.values()]), out / "beside.csv", "%.5f")
    looks = _Looks(network, pixels[editing.images :], way, editing.precision)
    summary = {
        "classifier": classifier.name,
        "reliability": _reliability(true, classifier.name),
        "agreement": {name: agreement(one.estimates, one.draws, one.true, name) for name, one in beside.items()},
        "selectivity": {one.method.name: _mean_selectivity(one, units.attributes, trusted) for one in found},
        "realism": {one.method.name: looks.apart(one) for one in found},
        "planted": _ranks(planted_table, attribute),
    }
    write_json(out / "summary.json", summary)


@dataclass(frozen=True)
class _Found:
    """What one method of editing says, by classifier."""

    method: Method
    changes: dict[str, Changes]
    effects: dict[str, tuple[Array, Array]]  # and draws of them
    null: dict[str, tuple[Array, Array]]
    arrived: NDArray[np.bool_]  # [attributes]


def _estimated(method: Method, trusted: list[int], least: float, eyes: Eyes, way: Way, few: Way) -> _Found:
    changes = deep.both_ways(method, sorted(trusted), eyes, way)
    pointless = deep.nothing(method, eyes, few)
    reach = eyes.units.reach
    moved = next(iter(changes.values())).moved(len(reach))
    arrived = (moved >= least * reach) & (reach > 0)
    found = {name: effects(one, reach, sorted(trusted), method.name) for name, one in changes.items()}
    nulls = {name: null(one, moved[arrived], reach[arrived]) for name, one in pointless.items()}
    return _Found(method, changes, found, nulls, arrived)


def _rows(one: _Found, eyes: Eyes, name: str) -> pd.DataFrame:
    """The rows of sensitivity.csv."""
    (effect, draws), (null_low, null_high) = one.effects[name], one.null[name]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    changes, tables = one.changes[name], []
    for k in sorted(set(changes.targets.tolist())):
        flips = changes.flipped[changes.targets == k].any(axis=0)
        tables.append(
            pd.DataFrame(
                {
                    "attribute": eyes.units.attributes[k], "finding": eyes.classifiers[name].findings,
                    "method": one.method.name, "effect": effect[k], "low": low[k], "high": high[k],
                    "null_low": null_low, "null_high": null_high, "flip_rate": flips.mean(axis=0), "n": len(flips),
                    "arrived": int(one.arrived[k]),
                }
            )
        )  # fmt: skip
    return pd.concat(tables)


def _truth(true: Path) -> pd.DataFrame:
    """The true effects, of every classifier; none where the data are real.

    Raises:
        UserError: there is no such table.
    """
    if not (true / "effects.csv").is_file():
        raise UserError(f"{true / 'effects.csv'}: no true effects; run `dvc repro truth`")
    return pd.read_csv(true / "effects.csv")


def _true(own: pd.DataFrame) -> pd.DataFrame:
    return own.assign(method="true", null_low=np.nan, null_high=np.nan, flip_rate=np.nan, arrived=1)


def _reliability(true: Path, name: str) -> Any:
    return (json.loads((true / "summary.json").read_text())["reliability"] or {}).get(name)


def _selectivity(one: _Found, names: list[str], trusted: list[int]) -> pd.DataFrame:
    table = deep.selectivities(next(iter(one.changes.values())), names, trusted)
    arrived = [int(one.arrived[names.index(name)]) for name in table["attribute"]]
    return table.assign(method=one.method.name, arrived=arrived)


def _mean_selectivity(one: _Found, names: list[str], trusted: list[int]) -> dict[str, float | int | None]:
    """Over the attributes that arrived: the mean, the median and the least."""
    table = _selectivity(one, names, trusted)
    ratios = table.loc[table["arrived"] == 1, "selectivity"].dropna()
    if ratios.empty:
        return {"attributes": 0, "mean": None, "median": None, "least": None}
    figures = {"mean": ratios.mean(), "median": ratios.median(), "least": ratios.min()}
    return {"attributes": len(ratios), **{name: round(float(value), 3) for name, value in figures.items()}}


def _top(one: _Found, name: str, count: int) -> list[int]:
    """The readable attributes to which the classifier reacts most by its largest effect; those that arrived first."""
    size = np.abs(one.effects[name][0]).max(axis=1)
    size = np.where(one.arrived | np.isnan(size), size, 0)
    return [int(k) for k in np.argsort(-size, kind="stable") if not np.isnan(size[k])][:count]


@dataclass(frozen=True)
class _Beside:
    """Estimates ``[attributes, findings]`` of one method with draws and truth, of attributes that arrived."""

    estimates: Array
    draws: Array
    true: Array
    table: pd.DataFrame


def _deep(one: _Found, names: list[str], truths: list[str], classifier: str) -> tuple[list[str], Array, Array]:
    """Labels, effects and draws of them, of attributes that arrived and whose truth is known."""
    kept = [k for k in np.flatnonzero(one.arrived) if names[k] in truths]
    estimates, draws = one.effects[classifier]
    return [names[k] for k in kept], estimates[kept], draws[:, kept]


def _beside(name: str, labels: list[str], estimates: Array, draws: Array, wide: pd.DataFrame) -> _Beside:
    true = wide.loc[[label.split(": ")[-1] for label in labels]].to_numpy()
    table = pd.DataFrame(
        {
            "method": name,
            "attribute": np.repeat(labels, len(wide.columns)),
            "finding": list(wide.columns) * len(labels),
            "estimate": estimates.ravel(),
            "true": true.ravel(),
        }
    )
    return _Beside(estimates, draws, true, table)


def _planted(found: list[_Found], names: list[str], others: Collection[str], true: pd.DataFrame) -> pd.DataFrame:
    """``classifier, method, attribute, effect, low, high, rank``: by size among the attributes that arrived."""
    columns = ["classifier", "method", "attribute", "effect", "low", "high"]
    tables = [
        pd.DataFrame(
            {
                "classifier": name, "method": one.method.name, "attribute": [names[k] for k in kept],
                "effect": one.effects[name][0][kept, 0],
                "low": np.quantile(one.effects[name][1][:, kept, 0], 0.025, axis=0),
                "high": np.quantile(one.effects[name][1][:, kept, 0], 0.975, axis=0),
            }
        )
        for name in others
        for one in found
        for kept in [np.flatnonzero(one.arrived)]
    ]  # fmt: skip
    known = true[true["classifier"].isin(list(others))].assign(method="true")
    table = pd.concat([pd.DataFrame(columns=columns), *tables, known[columns]])
    ranks = table["effect"].abs().groupby([table["classifier"], table["method"]]).rank("min", ascending=False)
    return table.assign(rank=ranks.astype(int))


def _ranks(planted: pd.DataFrame, attribute: str) -> dict[str, dict[str, int]]:
    """The rank of the planted ``attribute``, by classifier and method."""
    of = planted[planted["attribute"] == attribute]
    return {
        str(name): dict(zip(rows["method"], rows["rank"].astype(int).tolist(), strict=True))
        for name, rows in of.groupby("classifier")
    }


@dataclass(frozen=True)
class _Looks:
    """How real edited images look, to a probe on what the classifier's last layer sees."""

    network: nn.Module
    real: NDArray[np.uint8]
    way: Way
    precision: Precision

    def apart(self, one: _Found) -> dict[str, float | None]:
        """AUC of a probe between real images and the unedited, and the edited; each image has one of the edits.

        None of too few images, and of the edited if no attribute arrived.
        """
        unedited = self.way.images()
        signed = [(int(k), c) for k in np.flatnonzero(one.arrived) for c in (-one.method.dose, one.method.dose)]
        signed, edited = signed[: len(unedited)], np.zeros_like(unedited)
        for index, (k, dose) in enumerate(signed):
            chosen = slice(index, None, len(signed))
            edited[chosen] = self.way.some(chosen).images(one.method.edit(k, dose))
        real, before, after = (
            features(self.network, pictures, self.precision) for pictures in (self.real, unedited, edited)
        )
        areas = {"unedited": real_or_synthetic(real, before), "edited": real_or_synthetic(real, after)}
        if not signed:
            areas["edited"] = float("nan")
        return {name: None if np.isnan(area) else round(area, 4) for name, area in areas.items()}


if __name__ == "__main__":
    run(sensitivity)
