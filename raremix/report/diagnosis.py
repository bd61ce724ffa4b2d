"""The diagnosis: what a classifier reacts to, and how far that can be believed."""

from typing import Any

import pandas as pd

from raremix.report import charts
from raremix.report.blocks import Chart, Fold, Legend, Part, Section, Side, Table, Text
from raremix.report.cells import Cell, count, interval, number, word, words
from raremix.report.inputs import Inputs
from raremix.report.looks import boundaries, looks, traversals
from raremix.report.tables import figure, groups, in_order, plain, ranged, spoken, tabulate, values

SHOWN = 8  # rows of the strongest effects
METHODS = ("true", "hyperplane", "implicit", "observed")  # of attributes that can be measured; coarse has phrases
NO_TRUTH = "There is no truth to hold them against: only the phantom knows what a classifier truly reacts to."


def diagnosis(inputs: Inputs) -> Section:
    """Its parts, as far as the run has them."""
    builders = (believed, strongest, beside, effects, planted, traversals, looks, boundaries)
    parts = [part for part in (build(inputs) for build in builders) if part]
    if not parts:
        return Section("Diagnosis", [Text("Not in this run: no metrics of sensitivity, explain or boundary.")])
    note = "What a classifier reacts to besides the findings. How each figure comes about: docs/diagnosis.md."
    return Section("Diagnosis", [Text(note), *parts])


def believed(inputs: Inputs) -> Part | None:
    """How far each method's estimates agree with the truth."""
    summary = inputs.figures("sensitivity/summary.json")
    if not summary:
        return None
    columns = ["method", "attributes with a truth", "Spearman with the truth", "95 % of permutations below"]
    columns += ["edits alone", "images alone", "selectivity, mean", "least", "probe, unedited", "edited"]
    rows = [_method(name, found, summary) for name, found in summary["agreement"].items()]
    note = f"Rank correlation of estimated and true effects on {summary['classifier']}."
    if not inputs.is_phantom:
        note = f"Estimated on {summary['classifier']}. {NO_TRUTH}"
    return Part("Can the estimates be believed?", [Text(note), Table("Methods", columns, rows)])


def strongest(inputs: Inputs) -> Part | None:
    """The strongest effects by the first method that has any."""
    table = _arrived(inputs)
    if table.empty:
        return None
    wide = table.pivot_table(index=["attribute", "finding"], columns="method", values="value")
    estimated = [method for method in METHODS[1:] if method in wide]
    if not estimated:
        return None
    largest = wide.dropna(subset=estimated[:1]).sort_values(estimated[0], key=lambda value: -value.abs(), kind="stable")
    columns = {
        name: figure(name, signed=True) for name in (*estimated, *(name for name in METHODS[:1] if name in wide))
    }
    shown = tabulate(
        f"Change in probability from an attribute's low end to its high end, the largest by {estimated[0]}",
        largest.head(SHOWN).reset_index(),
        {"attribute": plain("attribute"), "finding": plain("finding"), **columns},
    )
    return Part("What it reacts to most", [shown])


def beside(inputs: Inputs) -> Part | None:
    """Every estimate against its truth."""
    table = inputs.table("sensitivity/beside.csv")
    if table.empty:
        return None
    table["finding"] = table["finding"].map(words)
    findings = values(table, "finding")
    plots = [
        Chart(
            method,
            f"Estimated against true effects, method {method}: {len(rows)} pairs of attribute and finding. "
            "The figures are in the table below.",
            charts.scatter(rows, ("true", "true effect"), ("estimate", "estimate"), ("finding", findings)),
        )
        for method, rows in groups(table, "method")
    ]
    columns = {"attribute": spoken("attribute"), "finding": plain("finding"), "method": plain("method")}
    columns |= {name: figure(name, signed=True) for name in ("estimate", "true")}
    note = Text("Changes in probability; on the line an estimate is the truth.")
    fold = Fold("The figures as a table", [tabulate("Estimates and truth", table, columns)])
    return Part("Estimates beside the truth", [note, Legend(charts.point_keys(findings)), Side(plots), fold])


def effects(inputs: Inputs) -> Part | None:
    """Every effect with its interval, the truth among the methods."""
    table = _arrived(inputs)
    if table.empty:
        return None
    there, findings = values(table, "method"), values(table, "finding")
    methods = [name for name in METHODS if name in there]
    chart = Chart(
        "Change in probability from an attribute's low end to its high end, with intervals",
        f"Effects of each attribute on one finding, at first {findings[0]}, by method: {', '.join(methods)}. "
        "The figures are in the table below.",
        charts.forest(table, "attribute", ("method", methods), "change in probability", [("finding", "Finding")]),
    )
    columns = {name: plain(name) for name in ("attribute", "finding", "method")}
    columns["effect and interval"] = ranged("value", "low", "high", signed=True)
    fold = Fold("The figures as a table", [tabulate("Effects", table, columns)])
    return Part("Effects of every attribute", [Legend(charts.point_keys(methods)), chart, fold])


def planted(inputs: Inputs) -> Part | None:
    """Does each method find a bias that was planted?"""
    ranks = inputs.figures("sensitivity/summary.json").get("planted")
    if not ranks:
        return None
    methods = list(dict.fromkeys(method for found in ranks.values() for method in found))
    rows = [[word(name), *(count(found.get(method)) for method in methods)] for name, found in ranks.items()]
    note = Text(
        "A classifier was taught on images where an attribute coincides with a finding; its fair twin was not. In the "
        "first the attribute must rank first, in the second it must not."
    )
    return Part("The planted bias", [note, Table("Rank of the planted attribute", ["classifier", *methods], rows)])


def _arrived(inputs: Inputs) -> pd.DataFrame:
    """``attribute,finding,method,value,low,high`` of what arrived, by attribute, the truth before the estimates."""
    table = inputs.table("sensitivity/sensitivity.csv")
    if table.empty:
        return table
    known = table[(table["arrived"] == 1) & table["method"].isin(METHODS)].rename(columns={"effect": "value"})
    known = known[["attribute", "finding", "method", "value", "low", "high"]].dropna(subset=["value"])
    known = in_order(known, "method", METHODS).sort_values("attribute", kind="stable")
    return known.assign(**{column: known[column].map(words) for column in ("attribute", "finding")})


def _method(name: str, found: dict[str, Any], summary: dict[str, Any]) -> list[Cell]:
    selective, real = summary["selectivity"].get(name, {}), summary["realism"].get(name, {})
    return [
        word(name),
        count(found["attributes"]),
        interval(found["spearman"], found["low"], found["high"], 2),
        *(number(found.get(key), 2) for key in ("null", "edits", "images")),
        *(number(selective.get(key), 1) for key in ("mean", "least")),
        *(number(real.get(key), 2) for key in ("unedited", "edited")),
    ]
