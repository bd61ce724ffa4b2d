"""Of which run a profile's committed metrics are, and what its params have that is other than now."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from raremix.runtime.files import read_json

REMEDY = "in the profile's folder run: python -m stages.provenance metrics/provenance.json"
# What tells nothing of the figures: where things are, how a run is started, and what comes after them.
APART = frozenset(
    "launch data attributes report audit fidelity truth measured explain "
    "latents editing readers boundary implicit planted sensitivity".split()
)
# Params that came later, with values that say what was so before.
LATER = {"split.duplicates": "refuse", "dreambooth.training.optimizer": "adamw"}


def made(metrics: Path) -> str:
    """A line: the profile whose ``metrics`` these are, the run's date and commit, and the params that were others.

    Params are named down to the second level, as ``dreambooth.training``.

    Raises:
        UserError: the metrics have no provenance.
    """
    run = read_json(metrics / "provenance.json", REMEDY)
    told = f"profiles/{metrics.parent.name}, run {run['date']} at commit {run['commit'][:7]}"
    if "params" not in run:
        return f"({told}; its params are not kept)"
    changed = list(_changed(run["params"], yaml.safe_load((metrics.parent / "params.yaml").read_text())))
    return f"({told}; of other params than now: {', '.join(changed)})" if changed else f"({told})"


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, after = LATER | dict(_leaves(then)), LATER | dict(_leaves(now))
    differ = (key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    for key in sorted({".".join(key.split(".")[:2]) for key in differ}):
        if key.split(".")[0] not in APART:
            yield key


def _leaves(params: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with the keys that lead to it, as ``dreambooth.training.steps``."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
