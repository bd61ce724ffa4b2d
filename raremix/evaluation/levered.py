"""What each lever of the classifiers does, as a table for docs/study.md."""

from pathlib import Path

import pandas as pd

METRICS = {"minority_ap": "AP, minority", "minority_auroc": "AUROC, minority", "majority_auroc": "AUROC, majority"}


def lever_table(file: Path) -> list[str]:
    """Markdown lines from docs/levers.csv: a row an arm and lever, mean and SD over trials."""
    lines = [f"| arm | lever | {' | '.join(METRICS.values())} |", f"|---|---|{'---:|' * len(METRICS)}"]
    table = pd.read_csv(file, keep_default_na=False)
    for (arm, lever), rows in table.groupby(["arm", "lever"], sort=False):
        figures = (_spread(rows[metric]) for metric in METRICS)
        lines.append(f"| {arm} | {lever or 'as in the study'} | {' | '.join(figures)} |")
    return lines


def _spread(values: "pd.Series[float]") -> str:
    deviation = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{deviation}"
