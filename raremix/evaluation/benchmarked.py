"""What the benchmarks measured, as tables for docs/benchmarks.md."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from raremix.runtime.files import read_json

MADE = ("hardware", "date", "commit")
BFLOAT16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # the faster first; virtual machines may hide either
Measured = dict[str, Any]


def benchmark_table(folder: Path) -> list[str]:
    """Markdown lines from the files that ``--benchmark-json`` wrote to ``folder``: one way beside another.

    A row for each benchmark and machine, of its latest measurement: the other's time over ours, and our seconds.
    """
    return _table(folder, "times_as_fast", ("benchmark", "times as fast", "seconds"), _compared)


def roofline_table(folder: Path) -> list[str]:
    """Likewise of steps: operations, bytes of weights and optimizer, the floor these imply, what was reached."""
    header = ("step", "precision", "GFLOP", "MB", "GFLOP/s", "GB/s", "floor, s", "reached, s", "share of the rate")
    return _table(folder, "utilisation", header, _roofline)


def memory_table(folder: Path) -> list[str]:
    """Likewise of the most memory that something took."""
    return _table(folder, "peak_gigabytes", ("benchmark", "precision", "GB"), _memory)


def quality_table(folder: Path) -> list[str]:
    """Likewise of images drawn in two ways, and of real ones: KID to other real ones, and its SD over subsets.

    Then ours less theirs, and the limits of that.
    """
    header = ("benchmark", "images", "our steps", "KID, ours", "KID, theirs", "KID, real images", "ours less theirs")
    return _table(folder, "kid", header, _quality)


def _quality(measured: Measured) -> list[str]:
    extra = measured["extra_info"]
    distances = [
        f"{mean:.4f} ± {spread:.4f}" for mean, spread in (extra["kid"][key] for key in ("ours", "theirs", "real"))
    ]
    limits = "–"  # noqa: RUF001 - of results older than it
    if found := extra.get("difference"):
        less, reach = found
        limits = f"{less:+.4f} [{less - reach:+.4f}, {less + reach:+.4f}]"
    return [_name(measured), str(extra["images"]), str(extra["steps"]), *distances, limits]


def _compared(measured: Measured) -> list[str]:
    extra = measured["extra_info"]
    seconds = extra.get("seconds_a_step", measured["stats"]["min"])
    return [_name(measured), f"{extra['times_as_fast']:.2f}", f"{seconds:.2f}"]


def _roofline(measured: Measured) -> list[str]:
    extra = measured["extra_info"]
    sizes = extra["operations"] / 1e9, extra["bytes"] / 1e6, extra["operations_a_second"] / 1e9
    seconds = [f"{extra[key]:.3g}" for key in ("floor", "seconds_a_step")]
    wide, share = f"{extra['bytes_a_second'] / 1e9:.1f}", f"{extra['utilisation']:.0%}"
    return [_name(measured), extra["precision"], *(f"{size:.0f}" for size in sizes), wide, *seconds, share]


def _memory(measured: Measured) -> list[str]:
    extra = measured["extra_info"]
    return [_name(measured), extra["precision"], f"{extra['peak_gigabytes']:.2f}"]


def _table(folder: Path, key: str, header: tuple[str, ...], row: Callable[[Measured], list[str]]) -> list[str]:
    """A row for each machine's latest measurement of each benchmark that has ``key``."""
    latest: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for file in sorted(folder.glob("*.json")):
        written = read_json(file, "restore it, or remove it and measure again")
        machine, when = written["machine_info"], written["datetime"]
        made, where = machine["raremix"], _hardware(machine)
        for measured in written["benchmarks"]:
            of = measured["name"], where
            if key in measured["extra_info"] and (of not in latest or latest[of][0] < when):
                latest[of] = when, [*row(measured), where, made["date"], made["commit"][:7]]
    columns = [*header, *MADE]
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(header) - 1) + "---|" * len(MADE)]
    return lines + [f"| {' | '.join(cells)} |" for _, (_, cells) in sorted(latest.items())]


def _name(measured: Measured) -> str:
    return str(measured["name"]).removeprefix("test_").replace("_", " ")


def _hardware(machine: dict[str, Any]) -> str:
    """A GPU's name, or a processor's, its cores and by what it multiplies bfloat16: one name stands for several."""
    known = machine["raremix"]["hardware"]
    by = next((f" with {name}" for flag, name in BFLOAT16.items() if flag in machine["cpu"]["flags"]), "")
    return known["gpu"] or f"{known['cpu']}{by}, {known['cores']} cores"
