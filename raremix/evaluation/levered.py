"""What each lever of the classifiers and of the generator does, as tables for docs/choices.md."""

from pathlib import Path

import pandas as pd

from raremix.evaluation.files import read_table

JUDGED = {
    "auroc": "AUROC",
    "pairs_won": "pairs won",
    "with": "score with",
    "without": "without",
    "others": "other findings",
}
METRICS = {"minority_ap": "AP, minority", "minority_auroc": "AUROC, minority", "majority_auroc": "AUROC, majority"}


def lever_table(file: Path) -> list[str]:
    """Markdown lines from docs/levers.csv or docs/budget.csv: a row an arm and lever, mean and SD over trials."""
    lines = [f"| arm | lever | {' | '.join(METRICS.values())} |", f"|---|---|{'---:|' * len(METRICS)}"]
    table = read_table(file, keep_default_na=False)
    for (arm, lever), rows in table.groupby(["arm", "lever"], sort=False):
        figures = (_spread(rows[metric]) for metric in METRICS)
        lines.append(f"| {arm} | {lever or 'as in the study'} | {' | '.join(figures)} |")
    return lines


def generator_table(file: Path) -> list[str]:
    """Markdown lines from docs/generator_levers.csv: a row a lever and finding, AUROC by trial, means of the rest."""
    lines = [f"| lever | finding | {' | '.join(JUDGED.values())} |", f"|---|---|{'---:|' * len(JUDGED)}"]
    table = read_table(file, keep_default_na=False)
    for (lever, finding), rows in table.groupby(["lever", "finding"], sort=False):
        trials = ", ".join(f"{value:.2f}" for value in rows["auroc"])
        means = (f"{rows[column].mean():.2f}" for column in JUDGED if column != "auroc")
        lines.append(f"| {lever or 'as in the study'} | {finding} | {trials} | {' | '.join(means)} |")
    return lines


def _spread(values: "pd.Series[float]") -> str:
    deviation = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{deviation}"
