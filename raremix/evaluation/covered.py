"""How often the analysis was right in simulated studies, as a table for docs/statistics.md."""

from pathlib import Path

import pandas as pd

from raremix.evaluation.files import read_table

SHARES = ("coverage", "false_alarms", "family")
METRIC = {"auroc": "AUROC", "ap": "AP"}


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


def _both(shares: pd.Series) -> str:
    return f"{100 * shares['one']:.1f}, {100 * shares['two']:.1f}"
