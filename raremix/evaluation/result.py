"""The result for readers: a table on the terminal, and the blocks of figures in README and docs/."""

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from raremix.evaluation.audited import audit_tables
from raremix.evaluation.benchmarked import benchmark_table, memory_table, quality_table, roofline_table
from raremix.evaluation.covered import coverage_table, interval_table
from raremix.evaluation.diagnosed import diagnosis_tables, estimator_table
from raremix.evaluation.differences import (
    curve_table,
    decision_table,
    finding_table,
    instance_table,
    phantom_table,
    ratio_table,
    remedy_table,
)
from raremix.evaluation.levered import generator_table, lever_table
from raremix.evaluation.made import made
from raremix.runtime.errors import UserError
from raremix.runtime.files import read_json, replacing

SHOWN = {
    ("minority", "ap"): "AP, minority",
    ("macro", "ap"): "AP, all",
    ("minority", "auroc"): "AUROC, minority",
    ("macro", "auroc"): "AUROC, all",
}
# Profiles that answer the root's question, too; KEPT for that, each for a version of the study.
KEPT = ("phantom-second", "phantom-third", "phantom-fourth", "phantom-fifth", "phantom-sixth")
OTHERS = ("phantom-full", *KEPT, "phantom-arms")


def print_result(metrics: Path, console: Console) -> None:
    """The arms' figures beside the committed ones, the answer, and where to look next.

    Raises:
        UserError: compare has not written its metrics.
    """
    summary, answer = _read(metrics)
    shots = str(answer["shots"])
    console.print(_terminal_table(summary[shots], _committed(metrics).get(shots, {}), answer))
    console.print(answer["sentence"], highlight=False)
    console.print(
        f"Next: {metrics}/compare/comparison.csv has every comparison (those without p_holm are exploratory); "
        "dvc plots show draws the curves; README.md says how to read them.",
        highlight=False,
    )
    if (metrics / "STALE.md").is_file():
        console.print(f"{metrics}/STALE.md: the committed figures are older than the code.", style="bold yellow")


def write_blocks(page: Path, metrics: Path) -> None:
    """Put the figures into ``page``: the result between ``<!-- results -->`` and ``<!-- /results -->``, and so on.

    Raises:
        UserError: no such markers are there, or the metrics are not.
    """
    text = _filled(page, metrics)
    with replacing(page) as temporary:
        temporary.write_text(text)


def check_blocks(page: Path, metrics: Path) -> None:
    """Nothing, if ``page`` holds the figures of ``metrics``.

    Raises:
        UserError: a block is not what the metrics say, or see ``write_blocks``.
    """
    if _filled(page, metrics) != page.read_text():
        raise UserError(f"{page}: its figures are not {metrics}'s; run: python -m stages.result --pages {page}")


def results(metrics: Path) -> list[str]:
    """The lines of the results block: the answer in words, and a table of the arms.

    Before the first run there is a warning in their place.
    """
    if _stale(metrics) and not (metrics / "compare").is_dir():
        return _stale(metrics)
    summary, answer = _read(metrics)
    arms = summary[str(answer["shots"])]
    rows = [
        f"| {arm} | {' | '.join(_figure(figures[family][metric]) for family, metric in SHOWN)} |"
        for arm, figures in arms.items()
    ]
    legend = (
        f"Test images, weighted to natural prevalence; mean ± SD over {answer['trials']} trial(s) at {answer['shots']} "
        f"shots. AP: average precision. The differences to the baselines of {_name(answer)} in average precision over "
        "the minority findings are the primary result: intervals count images and trials, the first sentence's words "
        "hold after Holm's correction. Every other comparison is exploratory."
    )
    return [
        *_stale(metrics),
        f"**{answer['sentence']}**",
        "",
        f"| arm | {' | '.join(SHOWN.values())} |",
        f"|---|{'---:|' * len(SHOWN)}",
        *rows,
        "",
        legend,
    ]


def audit(metrics: Path) -> list[str]:
    """The lines of the audit block, nothing before the first audit."""
    return [*_stale(metrics), *(audit_tables(metrics / "audit") if (metrics / "audit").is_dir() else [])]


def diagnosis(metrics: Path) -> list[str]:
    """The lines of the diagnosis block, nothing before the first diagnosis."""
    return [*_stale(metrics), *(diagnosis_tables(metrics) if (metrics / "sensitivity").is_dir() else [])]


def answer(metrics: Path) -> list[str]:
    """The answer in words alone."""
    return [_read(metrics)[1]["sentence"]]


def _of_profile(profile: str, block: Callable[[Path], list[str]], metrics: Path) -> list[str]:
    """A block of a profile whose metrics are committed beside the root's, and when they were made; nothing before."""
    path = metrics.parent / "profiles" / profile / "metrics"
    return [*block(path), "", made(path)] if (path / "compare").is_dir() else []


def _curve(profile: Path) -> list[str]:
    """The few-shot curve: the root's shots and those of the profile whose metrics these are."""
    return curve_table(profile.parents[2] / "metrics", profile)


def _instances(profile: Path) -> list[str]:
    """Five instances, of the profile of ratios, which has the same trials, beside all of a finding's."""
    return instance_table({"5": profile.parents[1] / "phantom-ratios" / "metrics", "all": profile})


def _measured(path: str, table: Callable[[Path], list[str]], metrics: Path) -> list[str]:
    """The lines that ``table`` makes of what scripts have measured, nothing before they have."""
    measured = metrics.parent / path
    return table(measured) if measured.exists() else []


def phantoms(metrics: Path) -> list[str]:
    """The lines of the table of phantoms: the root's, and those that were kept."""
    others = {name: metrics.parent / "profiles" / name / "metrics" for name in KEPT}
    return [*_stale(metrics), *phantom_table({"root": metrics, **others})]


BLOCKS: dict[str, Callable[[Path], list[str]]] = {
    "results": results,
    "findings": finding_table,
    "decisions": decision_table,
    "phantoms": phantoms,
    **{name: partial(_of_profile, name, results) for name in OTHERS},
    **{f"{name}-answer": partial(_of_profile, name, answer) for name in OTHERS},
    "phantom-full-findings": partial(_of_profile, "phantom-full", finding_table),
    "remedies": partial(_of_profile, "phantom-arms", remedy_table),
    "ratios": partial(_of_profile, "phantom-ratios", ratio_table),
    "instances": partial(_of_profile, "phantom-instances", _instances),
    "curve": partial(_of_profile, "phantom-shots", _curve),
    "audit": audit,
    "diagnosis": diagnosis,
    "estimators": partial(_measured, "docs/estimators.csv", estimator_table),
    "coverage": partial(_measured, "docs/coverage.csv", coverage_table),
    "intervals": partial(_measured, "docs/intervals.csv", interval_table),
    "benchmarks": partial(_measured, "benchmarks/results", benchmark_table),
    "roofline": partial(_measured, "benchmarks/results", roofline_table),
    "memory": partial(_measured, "benchmarks/results", memory_table),
    "quality": partial(_measured, "benchmarks/results", quality_table),
    "budget": partial(_measured, "docs/budget.csv", lever_table),
    "levers": partial(_measured, "docs/levers.csv", lever_table),
    "generator-levers": partial(_measured, "docs/generator_levers.csv", generator_table),
}


def _terminal_table(arms: dict[str, Any], committed: dict[str, Any], answer: dict[str, Any]) -> Table:
    note = "in brackets: the committed figures" if committed else "no committed figures to compare with"
    title = f"Test, {answer['shots']} shots, {answer['trials']} trial(s), mean ± SD"
    table = Table(title=title, caption=note, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("arm", no_wrap=True)
    for header in SHOWN.values():
        table.add_column(header.replace(", ", ",\n"), justify="right", no_wrap=True)
    for arm, figures in arms.items():
        cells = [
            _figure(figures[family][metric]) + _beside(_get(committed, arm, family, metric)) for family, metric in SHOWN
        ]
        table.add_row(arm, *cells, style="bold" if arm == answer["arm"] else None)
    return table


def _read(metrics: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    summary, answer = (
        read_json(metrics / "compare" / f"{name}.json", "run: dvc repro compare") for name in ("summary", "answer")
    )
    return summary, answer


def _committed(metrics: Path) -> dict[str, Any]:
    """The summary of the last commit; empty without git, without a commit, or if none is committed."""
    command = ["git", "show", "HEAD:./summary.json"]
    try:
        shown = subprocess.run(command, cwd=metrics / "compare", capture_output=True, text=True, check=True).stdout
        return dict(json.loads(shown))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return {}


def _get(tree: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        tree = tree.get(key, {})
    return tree


def _figure(value: dict[str, Any]) -> str:
    if not value or value["mean"] is None:
        return "–"  # noqa: RUF001
    return f"{value['mean']:.3f}" + (f" ± {value['sd']:.3f}" if value["sd"] is not None else "")


def _beside(committed: dict[str, Any]) -> str:
    return f"\n[dim]({committed['mean']:.3f})[/dim]" if committed and committed["mean"] is not None else ""


def _name(answer: dict[str, Any]) -> str:
    return answer["arm"] or "a dreambooth arm (there is none in this study)"


def _stale(metrics: Path) -> list[str]:
    path = metrics / "STALE.md"
    if not path.is_file():
        return []
    reason = " ".join(path.read_text().split())
    return [f"> **These figures are stale**: the code is ahead of the last run. {reason}", ""]


def _filled(page: Path, metrics: Path) -> str:
    """The text of ``page`` with the lines that belong between its markers."""
    text = page.read_text() if page.is_file() else ""
    there = [name for name in BLOCKS if 0 <= text.find(f"<!-- {name} -->") < text.find(f"<!-- /{name} -->")]
    if not there:
        raise UserError(f"{page}: no <!-- results --> ... <!-- /results --> in it; add both where the results belong")
    for name in there:
        opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(opening)
        _, _, after = rest.partition(closing)
        text = before + "\n".join([opening, *BLOCKS[name](metrics), closing]) + after
    return text
