"""ROC and precision-recall curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from raremix.report import charts
from raremix.report.blocks import Chart, Fold, Part, Section, Side, Table, Text
from raremix.report.cells import Cell, number, word, words
from raremix.report.inputs import Inputs
from raremix.report.result import coloured
from raremix.report.tables import groups, values

TITLE = "ROC and precision-recall"
RATES = (0.05, 0.1, 0.2)  # false positive rates of the table beside the curves
RECALLS = (0.25, 0.5, 0.75)


def curves(inputs: Inputs) -> Section:
    """The curves of each finding, and points on them as a table."""
    roc, precision = inputs.table("compare/roc.csv"), inputs.table("compare/pr.csv")
    if roc.empty or precision.empty:
        return Section(TITLE, [Text("Not in this run: metrics/compare has no curves.")])
    named, keys = coloured(inputs, values(roc, "arm"))
    note = (
        f"On test, weighted to natural prevalence, at {inputs.shots} shots, the mean over trials. In colour: the "
        "answer's arm and its baselines."
    )
    parts = [
        _of_finding(name, rows, precision[precision["finding"] == name], named) for name, rows in groups(roc, "finding")
    ]
    return Section(TITLE, [Text(note), keys, *parts])


def _of_finding(finding: str, roc: pd.DataFrame, precision: pd.DataFrame, named: Sequence[str]) -> Part:
    name = words(finding)
    plots = [
        Chart(
            f"{name}: ROC",
            f"ROC curves of the arms for {name}. Points on them are in the table below.",
            charts.curves(roc, ("fpr", "false positive rate"), ("tpr", "sensitivity"), ("arm", named)),
        ),
        Chart(
            f"{name}: precision-recall",
            f"Precision-recall curves of the arms for {name}. Points on them are in the table below.",
            charts.curves(precision, ("recall", "recall"), ("precision", "precision"), ("arm", named)),
        ),
    ]
    columns = [f"sensitivity at {rate:.0%} false positives" for rate in RATES]
    columns += [f"precision at {recall:.0%} recall" for recall in RECALLS]
    rows = [
        [
            word(arm),
            *_on(rows, "fpr", "tpr", RATES),
            *_on(precision[precision["arm"] == arm], "recall", "precision", RECALLS),
        ]
        for arm, rows in groups(roc, "arm")
    ]
    return Part(name, [Side(plots), Fold("Points as a table", [Table(f"{name}: points", ["arm", *columns], rows)])])


def _on(curve: pd.DataFrame, x: str, y: str, where: Sequence[float]) -> list[Cell]:
    """The curve's height at each of ``where``; dashes if it has no points."""
    there = curve[[x, y]].dropna().sort_values(x)
    if there.empty:
        return [number(None) for _ in where]
    return [number(value) for value in np.interp(where, there[x].to_numpy(), there[y].to_numpy())]
