"""Training losses as curves that a person can read."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

POINTS = 20


def loss_curves(runs: Iterable[tuple[str, Sequence[float]]]) -> pd.DataFrame:
    """``curve, step, loss``: the mean over the runs of one name, and over a window that ends with that step.

    Args:
        runs: a name and the loss of each step; runs of one name have the same number of steps.
    """
    by_name: dict[str, list[Sequence[float]]] = {}
    for name, losses in runs:
        by_name.setdefault(name, []).append(losses)
    tables = []
    for name, several in by_name.items():
        mean = np.mean(several, axis=0)
        windows = np.array_split(np.arange(len(mean)), min(POINTS, len(mean)))
        rows = [(name, int(window[-1]) + 1, float(mean[window].mean())) for window in windows]
        tables.append(pd.DataFrame(rows, columns=["curve", "step", "loss"]))
    return pd.concat(tables, ignore_index=True)
