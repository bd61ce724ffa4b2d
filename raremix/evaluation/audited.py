"""The audits' figures as two tables for docs/audits.md."""

from pathlib import Path

import pandas as pd

from raremix.evaluation.files import read_table

KEPT = {"real": ("real", 3), "reconstructed": ("reconstructed", 3), "psnr": ("PSNR, dB", 1), "ssim": ("SSIM", 3)}
DRAWN = ["drawn", "share of real", "others' pairs", "probe, with", "probe, without"]


def audit_tables(audit: Path) -> list[str]:
    """Markdown lines from ``audit``, the audit stage's metrics: a row a finding, then a row an attribute."""
    kept = _kept(audit / "judge.csv")
    drawn = read_table(audit / "findings.csv").groupby("finding", sort=False)
    probe = (
        read_table(audit / "probe.csv")
        .groupby("finding", sort=False)[["positives", "negatives"]]
        .mean()
        .to_dict("index")
    )
    lines = _header(["finding", *(title for title, _ in KEPT.values()), *DRAWN])
    for finding, figures in drawn:
        auroc = figures["auroc"]
        cells = [
            *kept[str(finding)],
            f"{auroc.mean():.3f} ({auroc.min():.3f} to {auroc.max():.3f})",
            *(f"{figures[column].mean():.2f}" for column in ("share", "others")),
            *(f"{probe[finding][column]:.2f}" for column in ("positives", "negatives")),
        ]
        lines.append(f"| {' | '.join([str(finding), *cells])} |")
    if "all" in kept:
        lines.append(f"| {' | '.join(['all', *kept['all'], *[''] * len(DRAWN)])} |")
    lines += ["", *_header(["attribute", "scope", "R2, real images", "R2, samples"])]
    for row in read_table(audit / "attributes.csv").itertuples():
        lines.append(f"| {row.attribute} | {row.scope} | {row.real:.2f} | {row.sampled:.2f} |")
    return lines


def _kept(judge: Path) -> dict[str, list[str]]:
    """By finding, the cells of what the autoencoder keeps; empty where an older run lacks a figure."""
    table = read_table(judge).set_index("finding").reindex(columns=list(KEPT))
    return {
        str(finding): [_cell(row[name], digits) for name, (_, digits) in KEPT.items()]
        for finding, row in table.iterrows()
    }


def _cell(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def _header(titles: list[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
