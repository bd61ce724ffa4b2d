"""The result: the answer, the arms, their differences, and what becomes of it with more shots."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from raremix.report import charts
from raremix.report.blocks import Block, Chart, Fold, Legend, Section, Side, Table, Text
from raremix.report.cells import Cell, interval, number, spread, word, words
from raremix.report.inputs import Inputs
from raremix.report.tables import Column, figure, in_order, p_value, plain, ranged, spoken, tabulate, values, whole

SEEN = "smallest difference that would show"
METRICS = {"ap": "Average precision", "auroc": "AUROC"}  # these first, by these names
FAMILIES = {"minority": "minority findings", "majority": "majority findings", "macro": "all findings"}
SHOTS = ("shots", "real images a finding")
RATIO, RATIO_ARM = "ratio_", "dreambooth_mix"  # the arms ratio_1, ratio_2 ... are this one with fewer images
FIXED = (
    "This is the primary result: its shots, its metric, the baselines and the correction were fixed before any version "
    "of the study was tested; every other comparison is exploratory. Test images, weighted to natural prevalence; "
    "intervals count images, and trials where there are several; the first sentence's words hold after Holm's "
    "correction. The smallest difference that would show is the true one that this comparison would have told from "
    "none with 80 % probability, as the first of Holm's steps. Which dreambooth arm is compared was chosen on "
    "validation."
)
OWN = (
    "Intervals count images and trials, as those of the differences do. Two arms share both, so whether they differ, "
    "the differences say."
)


def answer(inputs: Inputs) -> Section:
    """The answer in the words that the figures earn, and the comparisons behind it."""
    found = inputs.figures("compare/answer.json")
    if not found:
        return Section(
            "The answer", [Text("There is none yet: no metrics/compare/answer.json. Run: dvc repro compare")]
        )
    behind: list[Block] = [_primary(found), Text(FIXED)] if found.get("against") else []
    behind += [_cost(found)] if found.get("majority") else []
    return Section("The answer", [Text(found["sentence"], lead=True), *behind])


def arms(inputs: Inputs) -> Section:
    """A table a metric: every arm with its interval; folded where there is one, what else is told of arms."""
    found = inputs.figures("compare/summary.json").get(str(inputs.shots), {})
    if not found:
        return Section("The arms", [Text("Not in this run: metrics/compare/summary.json has no arm at these shots.")])
    families = ordered(_keys(found.values()), [*FAMILIES, *inputs.findings])
    metrics = ordered(_keys(family for arm in found.values() for family in arm.values()), list(METRICS))
    tables = [
        Table(
            f"{readable(metric)}, {inputs.shots} shots: mean ± SD over trials",
            ["arm", *map(readable, families)],
            [
                [word(arm), *(_score(by_family.get(family, {}).get(metric)) for family in families)]
                for arm, by_family in found.items()
            ],
        )
        for metric in metrics
    ]
    tables += _within_the_trio(inputs)
    note = "A click on a column's title, or Enter on it, sorts a table."
    if ranges := _ranges(inputs, families):
        return Section(
            "The arms",
            [Text(f"{note} {OWN}"), *ranges, Fold("Mean ± SD over trials, and within the trio of readers", tables)],
        )
    return Section("The arms", [Text(note), *tables])


def _within_the_trio(inputs: Inputs) -> list[Table]:
    """Where readers are known, each arm's mean over trials among the images of the three who saw most."""
    parts = {"Validation": "validate/trio.csv", "Test": "compare/trio.csv"}
    return [table for part, file in parts.items() for table in _of_the_trio(part, inputs.at_shots(file))]


def _of_the_trio(part: str, found: pd.DataFrame) -> list[Table]:
    if found.empty:
        return []
    means = found.groupby(["arm", "finding"], sort=False)[["images", "positives", "auroc", "ap"]].mean().reset_index()
    columns = {"arm": plain("arm"), "finding": spoken("finding"), "images": whole("images")}
    columns |= {"positives": whole("positives"), "AUROC": figure("auroc"), "average precision": figure("ap")}
    return [tabulate(f"{part} images of readers R8, R9 and R10 alone, unweighted: mean over trials", means, columns)]


def differences(inputs: Inputs) -> Section:
    """The forest plot of an arm against the baselines, finding by finding, and all comparisons as a table."""
    table = inputs.at_shots("compare/comparison.csv")
    if table.empty:
        return Section("Differences", [Text("Not in this run: metrics/compare/comparison.csv compares no arms.")])
    found = inputs.figures("compare/answer.json")
    table = _in_order(table, [*FAMILIES, *inputs.findings], list(found.get("against", {})))
    baselines = list(found.get("against") or values(table, "against"))
    chosen = found.get("arm") or values(table, "arm")[-1]
    drawn = table[table.against.isin(baselines)].rename(columns={"difference": "value"})
    chart = Chart(
        "Difference to each baseline, with its interval; right of the line the arm is better",
        f"Forest plot: for each finding, the difference of an arm, at first {chosen}, to the baselines "
        f"{', '.join(baselines)}. The figures are in the table below.",
        charts.forest(
            drawn[["arm", "against", "finding", "metric", "value", "low", "high"]],
            "finding",
            ("against", baselines),
            "difference to the baseline",
            [("arm", "Arm"), ("metric", "Metric")],
            {"arm": chosen},
        ),
    )
    columns = {
        **{name: plain(name) for name in ("arm", "against", "finding", "metric")},
        "difference and interval": ranged("difference", "low", "high", signed=True),
        "p": p_value("p"),
        **_seen(table),
        "positives": whole("n_pos"),
        "negatives": whole("n_neg"),
    }
    fold = Fold("Every comparison as a table", [tabulate("Differences between arms on test", table, columns)])
    return Section("Differences", [Legend(charts.point_keys([f"against {name}" for name in baselines])), chart, fold])


def more_shots(inputs: Inputs) -> Section | None:
    """The minority findings over the number of shots; nothing where one number was studied."""
    summary = inputs.figures("compare/summary.json")
    if len(summary) < 2:
        return None
    rows = [
        {"shots": int(shots), "arm": arm, "metric": metric, **found["minority"][metric]}
        for shots, by_arm in summary.items()
        for arm, found in by_arm.items()
        for metric in METRICS
        if found.get("minority", {}).get(metric)
    ]
    table = pd.DataFrame(rows).sort_values(["arm", "shots"], kind="stable")
    named = answering(inputs, values(table, "arm"))
    plots = [
        _over(table[(table["metric"] == metric) & table["arm"].isin(named)], metric, SHOTS, named) for metric in METRICS
    ]
    figures = tabulate(
        "Minority findings, mean ± SD over trials",
        table,
        {
            "arm": plain("arm"),
            "shots": whole("shots"),
            "metric": lambda row: word(readable(row["metric"])),
            "mean ± SD": lambda row: spread(row["mean"], row["sd"]),
        },
    )
    note, keys = Text("Bars are ± SD over trials."), Legend(charts.point_keys(named))
    return Section("More shots", [note, keys, Side(plots), Fold("Every arm as a table", [figures])])


def ratios(inputs: Inputs) -> Section | None:
    """The minority findings over how many synthetic images a real one gets; nothing where no ratio was studied."""
    found = inputs.figures("compare/summary.json").get(str(inputs.shots), {})
    rows = [
        {"ratio": int(arm.removeprefix(RATIO)), "metric": metric, "arm": RATIO_ARM, **by_family["minority"][metric]}
        for arm, by_family in found.items()
        for metric in METRICS
        if arm.startswith(RATIO) and by_family.get("minority", {}).get(metric)
    ]
    if len(rows) < 2 * len(METRICS):
        return None
    table = pd.DataFrame(rows).sort_values("ratio", kind="stable")
    along = ("ratio", "synthetic images for a real one")
    plots = [_over(table[table["metric"] == metric], metric, along, [RATIO_ARM]) for metric in METRICS]
    columns = {
        "ratio": whole("ratio"),
        "metric": lambda row: word(readable(row["metric"])),
        "mean ± SD": lambda row: spread(row["mean"], row["sd"]),
    }
    figures = tabulate("Minority findings by ratio, mean ± SD over trials", table, columns)
    note = Text("Of each finding at most so many, until the findings are even. Bars are ± SD over trials.")
    return Section("Synthetic for real", [note, Side(plots), Fold("The curve as a table", [figures])])


def answering(inputs: Inputs, there: Sequence[str]) -> list[str]:
    """Of the arms that are ``there``: the answer's and its baselines; where there is no answer, the first few."""
    found = inputs.figures("compare/answer.json")
    named = [arm for arm in [found.get("arm"), *found.get("against", {})] if arm in there]
    return named or list(there[: len(charts.COLORS)])


def coloured(inputs: Inputs, there: Sequence[str]) -> tuple[list[str], Legend]:
    """The arms whose curves have a colour, and the legend of all that are ``there``."""
    named = answering(inputs, there)
    return named, Legend(charts.line_keys(named, [arm for arm in there if arm not in named]))


def _ranges(inputs: Inputs, families: Sequence[str]) -> list[Table]:
    """Every arm's own intervals; older runs have none."""
    table = inputs.at_shots("compare/arms.csv")
    cells = {(row.arm, row.finding, row.metric): interval(row.value, row.low, row.high) for row in table.itertuples()}
    return [
        Table(
            f"{readable(metric)}, {inputs.shots} shots: mean over trials [interval]",
            ["arm", *map(readable, families)],
            [[word(arm), *(cells[arm, family, metric] for family in families)] for arm in values(table, "arm")],
        )
        for metric in METRICS
        if cells
    ]


def _cost(found: Mapping[str, Any]) -> Table:
    """What the arm costs on the majority findings."""
    shown = {f"not inferior by {found['margin']:g}": lambda row: word("shown" if row["non_inferior"] else "not shown")}
    return _against(f"{found['arm']}: differences in AUROC, majority findings", found["majority"], {}, shown)


def _primary(found: Mapping[str, Any]) -> Table:
    caption = f"{found['arm']}: differences in {readable(found['metric']).lower()}, {readable(found['finding'])}"
    chance = {"p": p_value("p"), "p after Holm": p_value("p_holm")}
    verdict = {"verdict": lambda row: word(f"{row['verdict']} {row['against']}")}
    return _against(caption, found["against"], chance, verdict)


def _against(
    caption: str, found: Mapping[str, Mapping[str, Any]], chance: Mapping[str, Column], verdict: Mapping[str, Column]
) -> Table:
    """The answer's arm against each baseline: the difference, how far by chance, what would have shown, in words."""
    table = pd.DataFrame([{"against": name, **one} for name, one in found.items()])
    difference = ranged("difference", "low", "high", signed=True)
    columns = {"against": plain("against"), "difference and interval": difference, **chance, **_seen(table), **verdict}
    return tabulate(caption, table, columns)


def _seen(table: pd.DataFrame) -> dict[str, Column]:
    """The column of what would have shown; older runs have none."""
    return {SEEN: figure("detectable")} if "detectable" in table else {}


def _over(table: pd.DataFrame, metric: str, along: tuple[str, str], named: Sequence[str]) -> Chart:
    deviation = table["sd"].astype(float).fillna(0)
    drawn = table.assign(value=table["mean"], low=table["mean"] - deviation, high=table["mean"] + deviation)
    return Chart(
        f"{readable(metric)}, minority findings",
        f"{readable(metric)} of {', '.join(named)} over {along[1]}. The figures are in the table below.",
        charts.trend(drawn, along, readable(metric), ("arm", named)),
    )


def _in_order(table: pd.DataFrame, findings: Sequence[str], baselines: Sequence[str]) -> pd.DataFrame:
    """The comparisons in the order of metrics, findings and baselines, by the names that readers see."""
    order = {"metric": list(METRICS), "finding": findings, "against": baselines}
    for column, first in reversed(order.items()):
        table = in_order(table, column, ordered(values(table, column), first))
    return table.assign(**{column: table[column].map(readable) for column in ("metric", "finding")})


def readable(name: str) -> str:
    """A metric, a family of findings or a finding as readers see it."""
    return {**METRICS, **FAMILIES}.get(name, words(name))


def _score(value: Mapping[str, Any] | None) -> Cell:
    return spread(value.get("mean"), value.get("sd")) if value else number(None)


def _keys(trees: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of the mappings, each once."""
    return list(dict.fromkeys(key for tree in trees for key in tree))


def ordered(names: Sequence[str], first: Sequence[str]) -> list[str]:
    """``names``, those of ``first`` before the others."""
    return [name for name in first if name in names] + [name for name in names if name not in first]
