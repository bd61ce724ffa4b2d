"""What each way of asking says of a classifier, and the tables of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raremix.diagnosis import deep
from raremix.diagnosis.agreement import FEWEST, rank
from raremix.diagnosis.deep import Method
from raremix.diagnosis.editing import Way
from raremix.diagnosis.eyes import Eyes
from raremix.diagnosis.sensitivity import Changes, Seen, Source, as_they_are, edited, effects, null

Array = NDArray[np.float64]
OBSERVED = "observed"
INFLATION = 10  # of the variance of a slope: from here on attributes cannot be told apart (Marquardt 1970)
SMALLEST = 1e-6  # added to a correlation of 1, so that attributes that are one have a large factor and not none
COLUMNS = "attribute,finding,method,effect,low,high,null_low,null_high,flip_rate,n,arrived".split(",")


@dataclass(frozen=True)
class Estimates:
    """The effects ``[attributes, findings]`` by classifier, with draws of them; what is not ``known`` is not ranked."""

    name: str
    attributes: list[str]
    effects: Mapping[str, tuple[Array, Array]]
    known: NDArray[np.bool_]  # [attributes]: it can be read, told from the others and, if it was to be edited, arrived

    def of(self, classifier: str, names: Collection[str]) -> tuple[list[str], Array, Array]:
        """Labels, effects and draws of them, of the attributes among ``names`` that are known."""
        kept = [k for k in np.flatnonzero(self.known) if self.attributes[k] in names]
        estimates, draws = self.effects[classifier]
        return [self.attributes[k] for k in kept], estimates[kept], draws[:, kept]


@dataclass(frozen=True)
class Edited:
    """Estimates from edits and from images as they are, and what the edits did, by classifier."""

    estimates: Estimates
    method: Method
    changes: Mapping[str, Changes]
    null: Mapping[str, tuple[Array, Array]]

    @property
    def arrived(self) -> NDArray[np.bool_]:
        return self.estimates.known


def distinct(seen: Seen, readable: list[int]) -> list[int]:
    """Which of the ``readable`` attributes can be told from the others in images as they are.

    Those whose readings' variance inflation factor is below ``INFLATION``: where two attributes always come together,
    no regression knows which of the two a classifier reacts to, and an edit of one is an edit of the other. With too
    few images none can be told.
    """
    there = [k for k in readable if seen.read[:, k].std() > 0]
    correlations = np.atleast_2d(np.corrcoef(seen.read[:, there], rowvar=False))
    inflation = np.diag(np.linalg.inv(correlations + SMALLEST * np.eye(len(there))))
    return [k for k, factor in zip(there, inflation, strict=True) if factor < INFLATION]


def observed(seen: Mapping[str, Seen], eyes: Eyes, readable: list[int], ranked: list[int]) -> Estimates:
    """From images as they are alone: no model of images has a part in it. Those ``ranked`` are known."""
    found = {name: effects([as_they_are(one)], one, eyes.units, readable, OBSERVED) for name, one in seen.items()}
    known = np.isin(np.arange(len(eyes.units.attributes)), ranked) & (eyes.units.reach > 0)
    return Estimates(OBSERVED, eyes.units.attributes, found, known)


def estimated(
    method: Method,
    seen: Mapping[str, Seen],
    eyes: Eyes,
    readable: list[int],
    ranked: list[int],
    least: float,
    way: Way,
    few: Way,
) -> Edited:
    """From edits of the images of ``way`` by ``method``, and from images as they are.

    An attribute arrived if its edits move it by ``least`` of the way between its ends, and it is one of those
    ``ranked``: of two that cannot be told apart, none can be said to have arrived. ``few`` images are moved along what
    means nothing.
    """
    changes, pointless = deep.both_ways(method, readable, eyes, way), deep.nothing(method, eyes, few)
    reach = eyes.units.reach
    moved = next(iter(changes.values())).moved(len(reach))
    arrived = (moved >= least * reach) & (reach > 0) & np.isin(np.arange(len(reach)), ranked)
    found = {
        name: effects(sources(changes[name], seen[name]), seen[name], eyes.units, readable, method.name)
        for name in changes
    }
    nulls = {name: null(one, moved[arrived], reach[arrived]) for name, one in pointless.items()}
    return Edited(Estimates(method.name, eyes.units.attributes, found, arrived), method, changes, nulls)


def sources(changes: Changes, seen: Seen) -> list[Source]:
    """Both sources: edits, and images as they are."""
    return [edited(changes), as_they_are(seen)]


def alone(
    one: Edited, classifier: str, seen: Seen, eyes: Eyes, readable: list[int], true: pd.DataFrame
) -> dict[str, float | None]:
    """The rank correlation with ``true`` that each source reaches without the other, on the attributes that arrived.

    None of fewer than three. ``true`` has a row an attribute and a column a finding.
    """
    labels, _, _ = one.estimates.of(classifier, true.index)
    parts = {"edits": edited(one.changes[classifier]), "images": as_they_are(seen)}
    if len(labels) < FEWEST:
        return dict.fromkeys(parts)
    kept, truth = [one.estimates.attributes.index(label) for label in labels], true.loc[labels].to_numpy()
    effect = {name: effects([part], seen, eyes.units, readable, name)[0][kept] for name, part in parts.items()}
    return {name: round(rank(found, truth), 4) for name, found in effect.items()}


def rows(one: Estimates, eyes: Eyes, classifier: str, count: int) -> pd.DataFrame:
    """Of sensitivity.csv, without what edits alone have; ``n`` is ``count``, of images."""
    effect, draws = one.effects[classifier]
    readable = np.flatnonzero(~np.isnan(effect).any(axis=1))
    low, high = np.quantile(draws[:, readable], [0.025, 0.975], axis=0)
    findings = eyes.classifiers[classifier].findings
    return pd.DataFrame(
        {
            "attribute": np.repeat([one.attributes[k] for k in readable], len(findings)),
            "finding": findings * len(readable), "method": one.name, "effect": effect[readable].ravel(),
            "low": low.ravel(), "high": high.ravel(), "null_low": np.nan, "null_high": np.nan, "flip_rate": np.nan,
            "n": count, "arrived": np.repeat(one.known[readable].astype(int), len(findings)),
        }
    )  # fmt: skip


def rows_of_edits(one: Edited, eyes: Eyes, classifier: str) -> pd.DataFrame:
    """Of sensitivity.csv; ``n`` is of the images that were edited."""
    changes, (low, high) = one.changes[classifier], one.null[classifier]
    targets = sorted(set(changes.targets.tolist()))
    flips = np.stack([changes.flipped[changes.targets == k].any(axis=0) for k in targets])
    table = rows(one.estimates, eyes, classifier, flips.shape[1])
    return table.assign(
        null_low=np.tile(low, len(targets)), null_high=np.tile(high, len(targets)), flip_rate=flips.mean(axis=1).ravel()
    )


def rows_of_truth(own: pd.DataFrame) -> pd.DataFrame:
    """Of sensitivity.csv."""
    return own.assign(method="true", null_low=np.nan, null_high=np.nan, flip_rate=np.nan, arrived=1)[COLUMNS]


def selectivity(one: Edited, readable: Sequence[int]) -> pd.DataFrame:
    """``attribute, moved, others, selectivity, method, arrived``."""
    names = one.estimates.attributes
    table = deep.selectivities(next(iter(one.changes.values())), names, readable)
    arrived = [int(one.arrived[names.index(name)]) for name in table["attribute"]]
    return table.assign(method=one.method.name, arrived=arrived)


def mean_selectivity(one: Edited, readable: Sequence[int]) -> dict[str, float | int | None]:
    """Over the attributes that arrived: the mean, the median and the least."""
    table = selectivity(one, readable)
    ratios = table.loc[table["arrived"] == 1, "selectivity"].dropna()
    if ratios.empty:
        return {"attributes": 0, "mean": None, "median": None, "least": None}
    figures = {"mean": ratios.mean(), "median": ratios.median(), "least": ratios.min()}
    return {"attributes": len(ratios), **{name: round(float(value), 3) for name, value in figures.items()}}


def strongest(one: Estimates, classifier: str, count: int) -> list[int]:
    """The readable attributes to which the classifier reacts most by its largest effect; those that are known first."""
    size = np.abs(one.effects[classifier][0]).max(axis=1)
    size = np.where(one.known | np.isnan(size), size, 0)
    return [int(k) for k in np.argsort(-size, kind="stable") if not np.isnan(size[k])][:count]


def beside(method: str, labels: list[str], estimates: Array, true: pd.DataFrame) -> pd.DataFrame:
    """``method, attribute, finding, estimate, true``: ``true`` has a row an attribute and a column a finding."""
    return pd.DataFrame(
        {
            "method": method,
            "attribute": np.repeat(labels, len(true.columns)),
            "finding": list(true.columns) * len(labels),
            "estimate": estimates.ravel(),
            "true": true.loc[labels].to_numpy().ravel(),
        }
    )


def planted(found: Sequence[Estimates], classifiers: Collection[str], true: pd.DataFrame) -> pd.DataFrame:
    """``classifier, method, attribute, effect, low, high, rank``: by size among the attributes that are known."""
    columns = ["classifier", "method", "attribute", "effect", "low", "high"]
    tables = []
    for name in classifiers:
        for one in found:
            labels, estimates, draws = one.of(name, one.attributes)
            low, high = np.quantile(draws[:, :, 0], [0.025, 0.975], axis=0)
            figures = {"attribute": labels, "effect": estimates[:, 0], "low": low, "high": high}
            tables.append(pd.DataFrame({"classifier": name, "method": one.name, **figures}))
    known = true[true["classifier"].isin(list(classifiers))].assign(method="true")
    table = pd.concat([pd.DataFrame(columns=columns), *tables, known[columns]])
    place = table["effect"].abs().groupby([table["classifier"], table["method"]]).rank("min", ascending=False)
    return table.assign(rank=place.astype(int))


def ranks(table: pd.DataFrame, attribute: str) -> dict[str, dict[str, int]]:
    """The rank of the planted ``attribute``, by classifier and method."""
    of = table[table["attribute"] == attribute]
    return {
        str(name): dict(zip(its["method"], its["rank"].astype(int).tolist(), strict=True))
        for name, its in of.groupby("classifier")
    }
