"""The study's answer in figures, and in the words that the figures earn."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from raremix.evaluation.comparison import BASELINES, PRIMARY

FLOOR, CEILING = "oversample", "real_ceiling"  # what repeating real images reaches, and what other real images reach
VERDICTS = ("improves on", "no detectable difference from", "is worse than")
COSTS = ("is not inferior to", "is not shown to be non-inferior to", "is worse than")
NAMES = {"auroc": "AUROC", "ap": "average precision"}


def answer(
    table: pd.DataFrame,
    summary: dict[str, Any],
    trials: pd.DataFrame,
    common: Sequence[str],
    shots: int,
    chosen: tuple[str | None, dict[str, float | None]],
    level: float,
    margin: float,
) -> dict[str, Any]:
    """The primary result: values per arm, the chosen arm's differences to the baselines, and sentences.

    Beside it, whether the chosen arm's AUROC says the same, what the arm costs on the majority findings, together and
    singly, and how far it comes towards ``real_ceiling``.

    Args:
        table: of ``compare_arms``; the rows with a ``p_holm`` are the primary comparison.
        summary: of the test part, see ``raremix.evaluation.metrics.summary``.
        trials: of ``score_arms``.
        common: the majority findings.
        shots: of the primary result.
        chosen: arm and validation figures of ``choose``.
        level: of confidence; an arm improves, or is worse, if Holm's p is below 1 - level.
        margin: AUROC; an arm is not inferior on the majority findings if its interval lies above minus this.
    """
    arm, validation = chosen
    values = {name: figures[PRIMARY["finding"]][PRIMARY["metric"]] for name, figures in summary[str(shots)].items()}
    against = {
        str(row["against"]): {
            **{name: round(float(row[name]), 6) for name in ("difference", "low", "high", "p", "p_holm", "detectable")},
            "verdict": verdict(row["difference"], row["p_holm"], level),
        }
        for row in table[table.p_holm.notna()].to_dict("records")
    }
    held = table[(table.shots == shots) & (table.arm == arm) & table.against.isin(BASELINES)]
    majority = _majority(held, margin)
    means = {name: value["mean"] for name, value in values.items()}
    shares = _ways(arm, trials[trials.shots == shots])
    words = [sentence(arm, shots, values, against), ranking(held), cost(majority, margin), losses(held, common)]
    return {
        **PRIMARY,
        "shots": shots,
        "arm": arm,
        "validation": validation,
        "level": level,
        "trials": max(value["n"] for value in values.values()),
        "values": means,
        "against": against,
        "margin": margin,
        "majority": majority,
        "way_to_ceiling": way(arm, means),
        "ways_of_trials": shares,
        "sentence": " ".join(filter(None, [*words, distance(arm, means, shares)])),
    }


def _majority(held: pd.DataFrame, margin: float) -> dict[str, Any]:
    """The chosen arm's AUROC over the majority findings against each baseline's; empty if there are none."""
    of = held[(held.finding == "majority") & (held.metric == "auroc")]
    return {
        str(row["against"]): {
            **{name: round(float(row[name]), 6) for name in ("difference", "low", "high", "detectable")},
            "non_inferior": bool(row["low"] > -margin),
        }
        for row in of.to_dict("records")
    }


def cost(majority: dict[str, Any], margin: float) -> str:
    """What is known of non-inferiority over the majority findings, in words; nothing if there are none.

    What is not shown to be non-inferior is worse, if its interval lies below no difference.
    """
    members: dict[str, list[str]] = {words: [] for words in COSTS}
    for name, f in majority.items():
        words = COSTS[0] if f["non_inferior"] else COSTS[2] if f["high"] < 0 else COSTS[1]
        members[words].append(f"{name} ({_gain(f)})")
    clauses = [f"{words} {_listed(names)}" for words, names in members.items() if names]
    if not clauses:
        return ""
    return f"Over the majority findings its AUROC (margin {margin:g}) {_listed(clauses)}."


def ranking(held: pd.DataFrame) -> str:
    """Whether the AUROC over the minority findings tells the chosen arm from the baselines; nothing without any.

    Average precision can rise where it does not. Each comparison is on its own, without Holm's correction.
    """
    rows: list[Any] = held[(held.finding == PRIMARY["finding"]) & (held.metric == "auroc")].to_dict("records")
    words: dict[str, list[str]] = {"is above": [], "is below": [], "can't be told from": []}
    for row in rows:
        kind = "is above" if row["low"] > 0 else "is below" if row["high"] < 0 else "can't be told from"
        words[kind].append(f"{row['against']} ({_gain(row)})")
    clauses = [f"{kind} {_listed(names)}" for kind, names in words.items() if names]
    return f"Uncorrected: in AUROC over the minority findings it {_listed(clauses)}." if clauses else ""


def losses(held: pd.DataFrame, common: Sequence[str]) -> str:
    """The single majority findings whose interval lies below a baseline; nothing if there are none."""
    members: dict[tuple[str, str], list[str]] = {}
    rows: list[Any] = held[held.finding.isin(common) & (held.high < 0)].to_dict("records")
    for row in rows:
        figure = f"{NAMES[row['metric']]} {_gain(row)}"
        members.setdefault((row["finding"], row["against"]), []).append(figure)
    told = [f"{finding.replace('_', ' ')} than {other} ({', '.join(f)})" for (finding, other), f in members.items()]
    return f"Singly and uncorrected, it is worse for {_listed(told)}." if told else ""


def way(arm: str | None, means: dict[str, float]) -> float | None:
    """Which share of the way from ``oversample`` to ``real_ceiling`` the arm comes; None where there is no such way."""
    if arm is None or not {FLOOR, CEILING} <= means.keys() or means[CEILING] <= means[FLOOR]:
        return None
    return round((means[arm] - means[FLOOR]) / (means[CEILING] - means[FLOOR]), 4)


def _ways(arm: str | None, trials: pd.DataFrame) -> list[float]:
    """The same of each trial in which there is such a way."""
    minority = trials[trials.finding == PRIMARY["finding"]]
    shares = [way(arm, dict(zip(of.arm, of[PRIMARY["metric"]], strict=True))) for _, of in minority.groupby("trial")]
    return [share for share in shares if share is not None]


def distance(arm: str | None, means: dict[str, float], shares: Sequence[float]) -> str:
    """The same in words, with the range of the trials' ``shares``; nothing if the study has no ceiling."""
    if arm is None or not {FLOOR, CEILING} <= means.keys():
        return ""
    other = f"{CEILING} (other real images in place of the synthetic ones, {means[CEILING]:.3f})"
    share = way(arm, means)
    if share is None:
        return f"Here {other} is no better than {FLOOR}."
    return (
        f"It comes {100 * share:.0f} % of the way from {FLOOR} to {other}; in single trials "
        f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %."
    )


def verdict(difference: float, p_holm: float, level: float) -> str:
    """The words that a difference earns: its sign counts once Holm's p is below 1 - ``level``."""
    if 1 - p_holm > level:
        return VERDICTS[0] if difference > 0 else VERDICTS[2]
    return VERDICTS[1]


def sentence(arm: str | None, shots: int, values: dict[str, Any], against: dict[str, Any]) -> str:
    """The answer in words, one clause a verdict, each difference with its interval."""
    if arm is None:
        return "The study has no dreambooth arm, so it has no primary result; all comparisons are exploratory."
    if not against:
        return f"The study has no baseline to compare {arm} with, so it has no primary result."
    clauses = [_clause(words, against) for words in VERDICTS if any(f["verdict"] == words for f in against.values())]
    trials = values[arm]["n"]
    counted = f"{trials} trials" if trials > 1 else "1 trial: the intervals count images only"
    score = f"average precision over the minority findings {values[arm]['mean']:.3f}, {counted}"
    return f"With {shots} shots, {arm} ({score}) {'; '.join(clauses)}."


def _clause(words: str, against: dict[str, Any]) -> str:
    unseen = words == VERDICTS[1]
    members = [
        f"{name} ({_gain(f)}" + (f", could have seen {f['detectable']:.2f})" if unseen else ")")
        for name, f in against.items()
        if f["verdict"] == words
    ]
    return f"{'shows ' if unseen else ''}{words} {_listed(members)}"


def _gain(figures: dict[str, Any]) -> str:
    return f"{figures['difference']:+.3f} [{figures['low']:+.3f}, {figures['high']:+.3f}]"


def _listed(members: list[str]) -> str:
    return f"{', '.join(members[:-1]) + ' and ' if len(members) > 1 else ''}{members[-1]}"
