"""The audits' figures as two tables for docs/study.md."""

from pathlib import Path

import pandas as pd


def audit_tables(audit: Path) -> list[str]:
    """Markdown lines from ``audit``, the audit stage's metrics: a row a finding, then a row an attribute."""
    kept = pd.read_csv(audit / "judge.csv").set_index("finding").to_dict("index")
    drawn = pd.read_csv(audit / "findings.csv").groupby("finding", sort=False)
    probe = (
        pd.read_csv(audit / "probe.csv")
        .groupby("finding", sort=False)[["positives", "negatives"]]
        .mean()
        .to_dict("index")
    )
    lines = _header(
        ["finding", "real", "reconstructed", "drawn", "share of real", "others' pairs", "probe, with", "probe, without"]
    )
    for finding, figures in drawn:
        auroc = figures["auroc"]
        cells = [
            f"{kept[finding]['real']:.3f}",
            f"{kept[finding]['reconstructed']:.3f}",
            f"{auroc.mean():.3f} ({auroc.min():.3f} to {auroc.max():.3f})",
            *(f"{figures[column].mean():.2f}" for column in ("share", "others")),
            *(f"{probe[finding][column]:.2f}" for column in ("positives", "negatives")),
        ]
        lines.append(f"| {' | '.join([str(finding), *cells])} |")
    lines += ["", *_header(["attribute", "scope", "R2, real images", "R2, samples"])]
    for row in pd.read_csv(audit / "attributes.csv").itertuples():
        lines.append(f"| {row.attribute} | {row.scope} | {row.real:.2f} | {row.sampled:.2f} |")
    return lines


def _header(titles: list[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
