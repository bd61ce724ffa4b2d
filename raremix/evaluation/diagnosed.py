"""The diagnosis for readers: how far its estimates can be believed, and what the classifier reacts to most."""

from pathlib import Path
from typing import Any

import pandas as pd

from raremix.evaluation.files import REMEDY, read_table
from raremix.runtime.files import read_json

SHOWN = 8  # attributes


def diagnosis_tables(metrics: Path) -> list[str]:
    """The lines of the diagnosis block: a table of the methods, one of the strongest effects, and the planted bias."""
    summary = read_json(metrics / "sensitivity" / "summary.json", REMEDY)
    table = read_table(metrics / "sensitivity" / "sensitivity.csv")
    return [*_methods(summary), "", *_strongest(table, summary["classifier"]), "", *_planted(summary["planted"])]


def estimator_table(file: Path) -> list[str]:
    """The lines of docs/estimators.csv: mean rank correlation by method, demand on the readers, and share of edits."""
    found, key = read_table(file), ["method", "readable", "attributes", "classifiers"]
    wide = found.pivot(index=key, columns="share_of_edits", values="spearman")
    shares = [f"edits count {share:.0%}" for share in wide]
    return [
        f"| method | readers from R2 | attributes | classifiers | {' | '.join(shares)} |",
        f"|---|{'---:|' * (3 + len(shares))}",
        *(
            f"| {' | '.join(map(str, named))} | {' | '.join(map(_number, row))} |"
            for named, row in zip(wide.index, wide.to_numpy(), strict=True)
        ),
    ]


def _methods(summary: dict[str, Any]) -> list[str]:
    rows = []
    for method, found in summary["agreement"].items():
        selective, real = summary["selectivity"].get(method, {}), summary["realism"].get(method, {})
        interval = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
        rows.append(
            f"| {method} | {found['attributes']} | {_number(found['spearman'])}{interval} | {_number(found['null'])} | "
            f"{_number(found.get('edits'))} | {_number(found.get('images'))} | "
            f"{_pair(selective, 'mean', ' ({})', 'least')} | {_pair(real, 'unedited', ' → {}', 'edited')} |"
        )
    return [
        "| method | attributes that arrived, with a truth | Spearman with the truth | 95 % of permutations below "
        "| by edits alone | by images as they are alone | selectivity, mean (least) | probe: unedited → edited |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]


def _strongest(table: pd.DataFrame, classifier: str) -> list[str]:
    wide = table.pivot_table(index=["attribute", "finding"], columns="method", values="effect")
    arrived = table[table["method"] == "hyperplane"].set_index(["attribute", "finding"])["arrived"]
    wide = wide[arrived.reindex(wide.index).fillna(0) == 1]
    largest = wide.reindex(wide["hyperplane"].abs().sort_values(ascending=False).index).head(SHOWN)
    columns = [name for name in ("hyperplane", "implicit", "observed", "true") if name in wide]
    rows = [
        f"| {row['attribute']} | {row['finding']} | {' | '.join(_signed(row[name]) for name in columns)} |"
        for row in largest.reset_index().to_dict("records")
    ]
    return [
        f"What {classifier} reacts to most, by the hyperplane's estimate (change in probability from the attribute's "
        "low end to its high end):",
        "",
        f"| attribute | finding | {' | '.join(columns)} |",
        f"|---|---|{'---:|' * len(columns)}",
        *rows,
    ]


def _planted(ranks: dict[str, dict[str, int]]) -> list[str]:
    if not ranks:
        return []
    methods = list(next(iter(ranks.values())))
    return [
        "Rank of the planted attribute by size of effect, among those that arrived (observed: can be read; true: all):",
        "",
        f"| classifier | {' | '.join(methods)} |",
        f"|---|{'---:|' * len(methods)}",
        *(f"| {name} | {' | '.join(str(found.get(one, '')) for one in methods)} |" for name, found in ranks.items()),
    ]


def _signed(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.3f}"


def _pair(figures: dict[str, Any], first: str, between: str, second: str) -> str:
    """Two of ``figures``; nothing where there are none."""
    return _number(figures[first]) + between.format(_number(figures[second])) if figures else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
