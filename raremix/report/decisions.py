"""What the arms decide, how far their probabilities can be believed, and tests of single trials."""

import pandas as pd

from raremix.evaluation.decisions import FIGURES
from raremix.report import charts
from raremix.report.blocks import Block, Chart, Fold, Part, Section, Side, Table, Text
from raremix.report.cells import spread, word, words
from raremix.report.inputs import Inputs
from raremix.report.result import FAMILIES, SEEN, coloured, ordered, readable
from raremix.report.tables import figure, groups, in_order, p_value, plain, ranged, spoken, tabulate, values, whole

TITLE = "Decisions and calibration"


def decisions(inputs: Inputs) -> Section:
    """Figures at validation's thresholds, reliability curves, and each trial's classifiers tested pair by pair."""
    decided, curves = inputs.at_shots("compare/decisions.csv"), inputs.table("compare/calibration.csv")
    if decided.empty or curves.empty:
        return Section(TITLE, [Text("Not in this run: metrics/compare has no decisions or no calibration.")])
    named, keys = coloured(inputs, values(curves, "arm"))
    note = (
        f"On test, weighted to natural prevalence, at {inputs.shots} shots. A finding is called from the probability "
        "on that serves validation best (Youden), the trials' predictions pooled. A calibrated classifier's curve is "
        "the diagonal; arms that change how common a finding is in training do not keep to it."
    )
    plots = [
        Chart(
            words(finding),
            f"Reliability curves of the arms for {words(finding)}: how often a finding is there, by the probability "
            "that was predicted. The error of each arm is in the table.",
            charts.curves(rows, ("predicted", "predicted"), ("observed", "observed"), ("arm", named)),
        )
        for finding, rows in groups(curves, "finding")
    ]
    blocks: list[Block] = [Text(note), _figures(decided), Part("Reliability", [keys, Side(plots)])]
    differ = _differences(inputs.at_shots("compare/decision_differences.csv"))
    return Section(TITLE, [*blocks, *differ, *_tests(inputs.at_shots("compare/tests.csv"))])


def _figures(decided: pd.DataFrame) -> Table:
    table = in_order(decided, "finding", ordered(values(decided, "finding"), list(FAMILIES)))
    rows = [
        [word(readable(finding)), word(arm), *(spread(rows[name].mean(), rows[name].std()) for name in FIGURES)]
        for finding, of_finding in groups(table, "finding")
        for arm, rows in groups(of_finding, "arm")
    ]
    return Table("Decisions: mean ± SD over trials", ["finding", "arm", *FIGURES.values()], rows)


def _differences(table: pd.DataFrame) -> list[Block]:
    """Nothing where no arm stands against another; older runs have none."""
    if table.empty:
        return []
    columns = {
        **{name: plain(name) for name in ("arm", "against")},
        "finding": lambda row: word(readable(row["finding"])),
        "figure": lambda row: word(FIGURES[row["metric"]]),
        "difference and interval": ranged("difference", "low", "high", signed=True),
        "p": p_value("p"),
        SEEN: figure("detectable"),
    }
    note = Text(
        "Intervals count images and trials; the thresholds are taken as given. Of a calibration error less is better. "
        "All of it is exploratory."
    )
    return [Fold("Every difference in decisions", [note, tabulate("Differences in decisions on test", table, columns)])]


def _tests(table: pd.DataFrame) -> list[Block]:
    """Nothing where no arm stands against another."""
    if table.empty:
        return []
    columns = {
        **{name: plain(name) for name in ("arm", "against")},
        "finding": spoken("finding"),
        "trial": whole("trial"),
        "difference in AUROC": figure("difference", signed=True),
        "p (DeLong)": p_value("p_delong"),
        "only the arm is right": whole("only_arm"),
        "only the other is": whole("only_against"),
        "p (McNemar)": p_value("p_mcnemar"),
    }
    note = Text(
        "Whether two classifiers of one trial differ, on the images as they are; whether their arms do, the "
        "differences above say, which count trials too."
    )
    return [Fold("Each trial's classifiers, tested", [note, tabulate("Two classifiers of a trial", table, columns)])]
