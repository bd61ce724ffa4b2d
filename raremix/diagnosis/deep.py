"""Deep sensitivity: real images edited along every attribute, and along directions that mean nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from raremix.diagnosis.editing import Way, along, selectivity
from raremix.diagnosis.eyes import Eyes
from raremix.diagnosis.implicit import Implicit
from raremix.diagnosis.implicit import edit as implicit_edit
from raremix.diagnosis.process import Edit
from raremix.diagnosis.sensitivity import Changes, interval
from raremix.runtime.seeds import generator

Array = NDArray[np.float64]
Moves = NDArray[np.float32]


@dataclass(frozen=True)
class Method:
    """A way of editing along attributes: ``edit(k, dose)``; ``pointless(k, dose)`` means nothing, at equal norm."""

    name: str
    dose: float
    edit: Callable[[int, float], Edit]
    pointless: Callable[[int, float], Edit]
    kinds: int  # of pointless edits there are
    together: Callable[[Array, float], Edit]  # along all attributes at once, by weight, about as long as one edit


def hyperplane(moves: Moves, permuted: Moves, step: int, dose: float, count: int) -> Method:
    """Across the boundaries of e at ``step``: ``moves`` and ``permuted [attributes, channels, side, side]``.

    What means nothing are the first ``count`` boundaries of permuted labels, and as many random directions.
    """
    count = min(count, len(permuted))
    random = generator("random directions").standard_normal((count, *moves.shape[1:])).astype(np.float32)
    lengths = np.linalg.norm(moves.reshape(len(moves), -1), axis=1).mean()
    nothing = np.concatenate([permuted[:count], random])
    norms = np.linalg.norm(nothing.reshape(len(nothing), -1), axis=1)
    nothing *= (lengths / np.where(norms > 0, norms, 1))[:, None, None, None]

    def together(weights: Array, c: float) -> Edit:
        direction = np.tensordot(weights, moves, 1)
        return along((direction * lengths / max(float(np.linalg.norm(direction)), 1e-12)).astype(np.float32), c, step)

    return Method(
        "hyperplane", dose, lambda k, c: along(moves[k], c, step), lambda k, c: along(nothing[k], c, step),
        len(nothing), together,
    )  # fmt: skip


def implicit(function: Implicit, start: int, steps: int, dose: float, count: int) -> Method:
    """By the implicit function, from step ``start`` on; what means nothing are its shifts with channels dealt anew."""
    where, count = range(start, steps - 1), min(count, function.attributes)

    def dealt(k: int, c: float) -> Edit:
        order = torch.from_numpy(generator("dealt channels", k).permutation(len(function.norm.weight)))
        real = implicit_edit(function, k, c, where)
        shifts = {step: _dealt(shift, order) for step, shift in real.shifts.items()}  # type: ignore[arg-type]
        return Edit("h", shifts, asymmetric=False)

    def together(weights: Array, c: float) -> Edit:
        share = torch.from_numpy(weights / max(float(np.linalg.norm(weights)), 1e-12)).float()
        at = {step: _weighed(function, step, c * share) for step in where}
        return Edit("h", at, asymmetric=False)

    return Method("implicit", dose, lambda k, c: implicit_edit(function, k, c, where), dealt, count, together)


def _weighed(function: Implicit, step: int, weights: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda h: torch.einsum("k,nkcyx->ncyx", weights.to(h), function(h, step))


def _dealt(
    shift: Callable[[torch.Tensor], torch.Tensor], order: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda h: shift(h)[:, order]


def both_ways(method: Method, targets: Sequence[int], eyes: Eyes, way: Way) -> dict[str, Changes]:
    """Every attribute of ``targets`` there and back at the method's dose, by classifier."""
    edits = [(k, c, method.edit(k, c)) for k in targets for c in (-method.dose, method.dose)]
    return eyes.changes(way, edits, method.name)


def nothing(method: Method, eyes: Eyes, way: Way) -> dict[str, Changes]:
    """The same along what means nothing."""
    edits = [(k, c, method.pointless(k, c)) for k in range(method.kinds) for c in (-method.dose, method.dose)]
    return eyes.changes(way, edits, f"{method.name}, null")


def selectivities(changes: Changes, names: Sequence[str], readable: Sequence[int]) -> pd.DataFrame:
    """``attribute, moved, others, selectivity`` from the lowest to the highest dose, in standard deviations."""
    rows = []
    for k in sorted(set(changes.targets.tolist())):
        of = np.flatnonzero(changes.targets == k)
        span = changes.read[of[np.argmax(changes.doses[of])]] - changes.read[of[np.argmin(changes.doses[of])]]
        others, ratio = selectivity(span, k, readable)
        rows.append((names[k], span[:, k].mean(), others, ratio))
    return pd.DataFrame(rows, columns=["attribute", "moved", "others", "selectivity"])


def responses(
    method: Method, targets: Sequence[int], doses: Sequence[float], eyes: Eyes, way: Way, name: str
) -> pd.DataFrame:
    """Dose-response of classifier ``name``: ``method, attribute, dose, moved, finding, change, low, high``."""
    edits = [(k, c * method.dose, method.edit(k, c * method.dose)) for k in targets for c in doses]
    changes, tables = eyes.changes(way, edits, f"{method.name}, doses")[name], []
    for index, (k, dose, _) in enumerate(edits):
        change, low, high = interval(changes.probability[index], f"{method.name} {k} {dose}")
        tables.append(
            pd.DataFrame(
                {
                    "method": method.name, "attribute": eyes.units.attributes[k], "dose": dose,
                    "moved": changes.read[index][:, k].mean(), "finding": eyes.classifiers[name].findings,
                    "change": change, "low": low, "high": high,
                }
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def combined(
    method: Method, slopes: Array, strengths: Sequence[float], eyes: Eyes, way: Way, name: str
) -> pd.DataFrame:
    """Edits along all attributes at once: ``method, finding, strength, flip_rate, smallest, n``.

    Each finding's edit weighs the attributes by ``slopes [attributes, findings]`` and is as long as a single one, times
    the strength. An image is taken either way, to find the least strength at which its decision flips: its
    counterfactual. ``flip_rate`` is of the images that flip at that strength or less, ``smallest`` the median of the
    least strengths.
    """
    rows, strengths = [], sorted(strengths)
    for column, finding in enumerate(eyes.classifiers[name].findings):
        signed = [sign * strength for strength in strengths for sign in (-1, 1)]
        edits = [(0, c, method.together(slopes[:, column], c * method.dose)) for c in signed]
        flips = eyes.changes(way, edits, f"combined, {finding}")[name].flipped[:, :, column]
        ever = np.maximum.accumulate(flips.reshape(len(strengths), 2, -1).any(axis=1), axis=0)
        least = np.array(strengths)[np.argmax(ever, axis=0)][ever[-1]]
        smallest = float(np.median(least)) if len(least) else float("nan")
        rows += [
            (method.name, finding, strength, rate, smallest, ever.shape[1])
            for strength, rate in zip(strengths, ever.mean(axis=1), strict=True)
        ]
    return pd.DataFrame(rows, columns=["method", "finding", "strength", "flip_rate", "smallest", "n"])
