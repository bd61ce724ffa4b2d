"""How often the analysis is right, in simulated studies and by integration, as tables for docs/statistics.md."""

from pathlib import Path

import pandas as pd

from raremix.evaluation.files import read_table

SHARES = ("coverage", "false_alarms", "family")
METRIC = {"auroc": "AUROC", "ap": "AP"}
COVERED = 0.05  # of intervals.csv's alphas, the one of which the table says how often limits cover


def coverage_table(file: Path) -> list[str]:
    """Markdown lines from docs/coverage.csv: a row for each number of trials, ratio and metric; shares in percent."""
    header = [
        "trials",
        "trial SD / image SE",
        "metric",
        "studies",
        "coverage: one finding, mean of two",
        "false alarms of one comparison",
        "of any of three, after Holm",
    ]
    lines = [f"| {' | '.join(header)} |", "|---:|---:|---|---:|---:|---:|---:|"]
    for _, cell in read_table(file).groupby(["trials", "ratio"]):
        for metric, name in METRIC.items():
            rows = cell[cell.metric == metric].set_index("findings")
            design = [f"{rows.trials.iloc[0]}", f"{rows.ratio.iloc[0]:g}", name, f"{rows.studies.iloc[0]}"]
            lines.append(f"| {' | '.join(design + [_both(rows[share]) for share in SHARES])} |")
    return lines


def interval_table(file: Path) -> list[str]:
    """Markdown lines from docs/intervals.csv: a row a method, in percent how often its limits cover or its p errs."""
    table = read_table(file)
    asked = table[["trials", "alpha"]].drop_duplicates().to_numpy()
    lines = [
        f"| | {' | '.join(_asked(int(trials), alpha) for trials, alpha in asked)} |",
        f"|---|{'---:|' * len(asked)}",
    ]
    for method, rows in table.groupby("method", sort=False):
        lines.append(
            f"| {method} | {' | '.join(_reach(*row) for row in rows[['alpha', 'least', 'most']].to_numpy())} |"
        )
    return lines


def _asked(trials: int, alpha: float) -> str:
    if alpha == COVERED:
        return f"limits of {100 * (1 - alpha):g} % cover: {trials} trials"
    return f"p is below {100 * alpha:.2f} %: {trials} trials"


def _reach(alpha: float, least: float, most: float) -> str:
    if alpha == COVERED:
        return f"{100 * (1 - most):.1f} to {100 * (1 - least):.1f}"
    return f"{100 * least:.2f} to {100 * most:.2f}"


def _both(shares: pd.Series) -> str:
    return f"{100 * shares['one']:.1f}, {100 * shares['two']:.1f}"
