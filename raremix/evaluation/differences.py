"""What dreambooth_mix gains on other arms, as tables for README and docs/: by shots, ratio, instances, arm and finding.

A gain stands with its interval and, in round brackets, the smallest one that the comparison could have seen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raremix.evaluation.answer import VERDICTS
from raremix.evaluation.decisions import FIGURES
from raremix.evaluation.files import REMEDY, read_table
from raremix.runtime.files import read_json

ARM, CURVE = "dreambooth_mix", ("vanilla", "oversample")
PRIMARY = ("minority", "ap")
FAMILIES, METRICS = ("minority", "majority", "macro"), {"ap": "AP", "auroc": "AUROC"}
SHOWN = {PRIMARY: "AP, minority", ("minority", "auroc"): "AUROC, minority", ("majority", "auroc"): "AUROC, majority"}


def curve_table(*profiles: Path) -> list[str]:
    """Markdown lines from the metrics of several profiles: a row for each number of shots, fewest first.

    Average precision over the minority findings, mean and SD over trials, and how far the mix is above two baselines.
    """
    rows = {shots: line for metrics in profiles for shots, line in _points(metrics)}
    header = ["shots", "trials", *CURVE, ARM, *(f"above {baseline}" for baseline in CURVE)]
    return [f"| {' | '.join(header)} |", "|---:" * len(header) + "|", *(rows[shots] for shots in sorted(rows))]


def ratio_table(metrics: Path) -> list[str]:
    """Markdown lines: a row for each arm with a limit of synthetic images to a real one, and the mix, which has none.

    Average precision over the minority findings at the shots of the primary result, mean and SD over trials, how far
    it is above two baselines, and how far the mix is above it.
    """
    shots, gains = _read(metrics, "answer")["shots"], _gains(metrics)
    arms = _read(metrics, "summary")[str(shots)]
    limits = {f"at most {arm.removeprefix('ratio_')}": arm for arm in arms if arm.startswith("ratio_")}
    rows = {
        limit: [
            _spread(arms[arm]),
            *(gains[shots, arm, baseline, *PRIMARY] for baseline in CURVE),
            gains.get((shots, ARM, arm, *PRIMARY), ""),
        ]
        for limit, arm in (limits | {"until even": ARM}).items()
    }
    return _table("synthetic to a real one", ["AP", *(f"above {other}" for other in CURVE), f"{ARM} above it"], rows)


def instance_table(profiles: Mapping[str, Path]) -> list[str]:
    """Markdown lines: a row for each number of instances that DreamBooth learned from, with the ``profiles``' metrics.

    Average precision of the mix over the minority findings, mean and SD over trials, and how far it is above two
    baselines, which are the same in each row.
    """
    rows = {}
    for count, metrics in profiles.items():
        shots, gains = _read(metrics, "answer")["shots"], _gains(metrics)
        mix = _read(metrics, "summary")[str(shots)][ARM]
        rows[count] = [_spread(mix), *(gains[shots, ARM, baseline, *PRIMARY] for baseline in CURVE)]
    return _table("instances", [ARM, *(f"above {other}" for other in CURVE)], rows)


def remedy_table(metrics: Path) -> list[str]:
    """Markdown lines: how far the mix is above each arm that it is held against, at the shots of the primary result.

    And the other arm's balanced accuracy over the minority findings: mean and SD over trials, and how far it is above
    vanilla's.
    """
    shots, decided = _read(metrics, "answer")["shots"], _gains(metrics, "decision_differences")
    gains, balanced = _of_mix(metrics), _balanced(metrics)
    above = {other: decided.get((shots, other, CURVE[0], PRIMARY[0], "balanced_accuracy"), "") for other in balanced}
    rows = {other: [*(gains[other, *figure] for figure in SHOWN), balanced[other], above[other]] for other, *_ in gains}
    return _table("against", [*SHOWN.values(), "its balanced accuracy, minority", "that, above vanilla's"], rows)


def finding_table(metrics: Path) -> list[str]:
    """Markdown lines: how far the mix is above two baselines for each finding, at the shots of the primary result."""
    gains = _of_mix(metrics)
    columns = {f"{METRICS[metric]}, above {other}": (other, metric) for other in CURVE for metric in METRICS}
    rows = {
        finding: [gains[other, finding, metric] for other, metric in columns.values()]
        for _, finding, _ in gains
        if finding not in FAMILIES
    }
    return _table("finding", list(columns), rows)


def decision_table(metrics: Path) -> list[str]:
    """Markdown lines: how the mix's decisions over the minority findings differ from each baseline's.

    At the shots of the primary result; of a calibration error less is better.
    """
    baselines, gains = list(_read(metrics, "answer")["against"]), _of_mix(metrics, "decision_differences")
    rows = {name: [gains[other, PRIMARY[0], figure] for other in baselines] for figure, name in FIGURES.items()}
    return _table("minority findings", [f"above {other}" for other in baselines], rows)


def phantom_table(profiles: Mapping[str, Path]) -> list[str]:
    """Markdown lines: the primary result of each of the ``profiles``, by name; those that have not run are left out.

    Average precision over the minority findings, how far it is above each baseline, bold where Holm's correction leaves
    that a gain, and the share of the way from oversample to real_ceiling.
    """
    found = {name: _read(path, "answer") for name, path in profiles.items() if (path / "compare").is_dir()}
    baselines = list(dict.fromkeys(other for answer in found.values() for other in answer["against"]))
    rows = {
        name: [
            str(answer["trials"]),
            f"{answer['values'][answer['arm']]:.3f}",
            *(_judged(answer["against"][other]) for other in baselines),
            f"{answer['way_to_ceiling']:.0%}",
        ]
        for name, answer in found.items()
    }
    return _table("phantom", ["trials", "AP", *(f"above {other}" for other in baselines), "of the way"], rows)


def _judged(difference: dict[str, Any]) -> str:
    told = _ranged(difference)
    return f"**{told}**" if difference["verdict"] == VERDICTS[0] else told


def _ranged(difference: Mapping[Any, Any]) -> str:
    limits = f"[{difference['low']:+.3f}, {difference['high']:+.3f}]"
    return f"{difference['difference']:+.3f} {limits} ({difference['detectable']:.2f})"


def _of_mix(metrics: Path, table: str = "comparison") -> dict[tuple[str, str, str], str]:
    """The mix's gains by what it is held against, finding or family of findings, and metric."""
    shots = _read(metrics, "answer")["shots"]
    return {key[2:]: gain for key, gain in _gains(metrics, table).items() if key[:2] == (shots, ARM)}


def _balanced(metrics: Path) -> dict[str, str]:
    """By arm: balanced accuracy over the minority findings at the shots of the primary result."""
    rows = read_table(metrics / "compare" / "decisions.csv")
    rows = rows[(rows["shots"] == _read(metrics, "answer")["shots"]) & (rows["finding"] == PRIMARY[0])]
    trials = rows.groupby("arm")["balanced_accuracy"]
    return {str(arm): f"{found.mean():.3f} ± {found.std():.3f}" for arm, found in trials}


def _table(corner: str, columns: list[str], rows: dict[str, list[str]]) -> list[str]:
    lines = [f"| {corner} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def _points(metrics: Path) -> list[tuple[int, str]]:
    gains, points = _gains(metrics), []
    for shots, arms in _read(metrics, "summary").items():
        family, metric = PRIMARY
        trials = str(arms[ARM][family][metric]["n"])
        spreads = (_spread(arms[arm]) for arm in (*CURVE, ARM))
        above = (gains[int(shots), ARM, other, *PRIMARY] for other in CURVE)
        points.append((int(shots), f"| {' | '.join([shots, trials, *spreads, *above])} |"))
    return points


def _spread(figures: Mapping[str, Any]) -> str:
    """An arm's mean and SD over trials, of the metric of the primary result."""
    family, metric = PRIMARY
    return "{mean:.3f} ± {sd:.3f}".format(**figures[family][metric])


def _gains(metrics: Path, table: str = "comparison") -> dict[tuple[Any, ...], str]:
    """By shots, arm, what it is held against, family of findings and metric: the difference and its interval."""
    rows = read_table(metrics / "compare" / f"{table}.csv").to_dict("records")
    keys = ("shots", "arm", "against", "finding", "metric")
    return {tuple(row[key] for key in keys): _ranged(row) for row in rows}


def _read(metrics: Path, name: str) -> dict[str, Any]:
    return read_json(metrics / "compare" / f"{name}.json", REMEDY)
