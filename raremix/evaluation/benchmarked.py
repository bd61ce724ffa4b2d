"""What the benchmarks measured, as a table for docs/benchmarks.md."""

from pathlib import Path
from typing import Any

from raremix.runtime.files import read_json

HEADER = ("benchmark", "times as fast", "seconds", "hardware", "date", "commit")


def benchmark_table(folder: Path) -> list[str]:
    """Markdown lines from the files that ``--benchmark-json`` wrote to ``folder``.

    A row for each benchmark and machine, of its latest measurement: the other's time over ours, and our seconds.
    """
    latest: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for file in sorted(folder.glob("*.json")):
        written = read_json(file, "restore it, or remove it and measure again")
        hardware = _hardware(written["machine_info"]["raremix"]["hardware"])
        for measured in written["benchmarks"]:
            key, when = (measured["name"].removeprefix("test_"), hardware), written["datetime"]
            if key not in latest or latest[key][0] < when:
                latest[key] = when, _row(key, measured, written)
    lines = [f"| {' | '.join(HEADER)} |", "|---|---:|---:|---|---|---|"]
    return lines + [f"| {' | '.join(row)} |" for _, (_, row) in sorted(latest.items())]


def _row(key: tuple[str, str], measured: dict[str, Any], written: dict[str, Any]) -> list[str]:
    name, hardware = key
    made = written["machine_info"]["raremix"]
    ratio = measured["extra_info"]["times_as_fast"]
    seconds = measured["extra_info"].get("seconds_a_step", measured["stats"]["min"])
    return [name.replace("_", " "), f"{ratio:.2f}", f"{seconds:.2f}", hardware, made["date"], made["commit"][:7]]


def _hardware(known: dict[str, Any]) -> str:
    return known["gpu"] or f"{known['cpu']}, {known['cores']} cores"
