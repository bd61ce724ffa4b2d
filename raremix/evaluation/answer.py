"""The study's answer in figures, and in the words that the figures earn."""

from typing import Any

import pandas as pd

from raremix.evaluation.comparison import PRIMARY

FLOOR, CEILING = "oversample", "real_ceiling"  # what repeating real images reaches, and what other real images reach
VERDICTS = ("improves on", "no detectable difference from", "is worse than")
COSTS = ("is not inferior to", "is not shown to be non-inferior to", "is worse than")


def answer(
    table: pd.DataFrame,
    summary: dict[str, Any],
    shots: int,
    chosen: tuple[str | None, dict[str, float | None]],
    level: float,
    margin: float,
) -> dict[str, Any]:
    """The primary result: values per arm, the chosen arm's differences to the baselines, and a sentence.

    Beside it, what the chosen arm costs on the majority findings, and how far it comes towards ``real_ceiling``.

    Args:
        table: of ``mark_primary``; the rows with a ``p_holm`` are the primary comparison.
        summary: of the test part, see ``raremix.evaluation.metrics.summary``.
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
    majority = _majority(table, shots, arm, margin)
    means = {name: value["mean"] for name, value in values.items()}
    words = [sentence(arm, shots, values, against), cost(majority, margin), distance(arm, means)]
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
        "sentence": " ".join(filter(None, words)),
    }


def _majority(table: pd.DataFrame, shots: int, arm: str | None, margin: float) -> dict[str, Any]:
    """The chosen arm's AUROC over the majority findings against each baseline's; empty if there are none."""
    of = table[(table.shots == shots) & (table.arm == arm) & (table.finding == "majority") & (table.metric == "auroc")]
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
        members[words].append(f"{name} ({f['difference']:+.3f} [{f['low']:+.3f}, {f['high']:+.3f}])")
    clauses = [f"{words} {_listed(names)}" for words, names in members.items() if names]
    if not clauses:
        return ""
    return f"Over the majority findings its AUROC {_listed(clauses)}, by a margin of {margin:g}."


def way(arm: str | None, means: dict[str, float]) -> float | None:
    """Which share of the way from ``oversample`` to ``real_ceiling`` the arm comes; None where there is no such way."""
    if arm is None or not {FLOOR, CEILING} <= means.keys() or means[CEILING] <= means[FLOOR]:
        return None
    return round((means[arm] - means[FLOOR]) / (means[CEILING] - means[FLOOR]), 4)


def distance(arm: str | None, means: dict[str, float]) -> str:
    """The same in words; nothing if the study has no ceiling."""
    if arm is None or not {FLOOR, CEILING} <= means.keys():
        return ""
    other = f"{CEILING} (other real images in place of the synthetic ones, {means[CEILING]:.3f})"
    share = way(arm, means)
    if share is None:
        return f"Here {other} is no better than {FLOOR}."
    return f"It comes {100 * share:.0f} % of the way from {FLOOR} to {other}; that share has no interval."


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
        f"{name} ({f['difference']:+.3f} [{f['low']:+.3f}, {f['high']:+.3f}]"
        + (f", could have seen {f['detectable']:.2f})" if unseen else ")")
        for name, f in against.items()
        if f["verdict"] == words
    ]
    return f"{'shows ' if unseen else ''}{words} {_listed(members)}"


def _listed(members: list[str]) -> str:
    return f"{', '.join(members[:-1]) + ' and ' if len(members) > 1 else ''}{members[-1]}"
