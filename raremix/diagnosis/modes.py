"""Modes of editing side by side: which space, which steps, one direction or one a step, which branch of guidance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from raremix.diagnosis.editing import Way, selectivity
from raremix.diagnosis.implicit import Implicit
from raremix.diagnosis.implicit import edit as implicit_edit
from raremix.diagnosis.process import Edit
from raremix.runtime.progress import track

Moves = NDArray[np.float32]  # of one space: [steps, attributes, channels, side, side]
Reading = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


@dataclass(frozen=True)
class Mode:
    """A way of editing: what is changed where, and the edit for an attribute (its index) and a strength."""

    space: str
    steps: str
    what: str
    strengths: tuple[float, ...]
    edit: Callable[[int, float], Edit]


def unguided(spaces: Mapping[str, Moves], implicit: Implicit, start: int) -> list[Mode]:
    """The modes that real images are edited in, on their way from ``start``."""
    steps = len(spaces["e"])
    every, last = range(start, steps), steps - 1
    middle = (start + steps) // 2

    def moved(space: str, where: Sequence[int], same: bool = False, asymmetric: bool = False) -> Callable[..., Edit]:
        def at(attribute: int, strength: float) -> Edit:
            shifts = {
                step: torch.from_numpy(strength * spaces[space][start if same else step, attribute])[None]
                for step in where
            }
            return Edit("e" if space == "e" else "h", shifts, asymmetric=asymmetric)

        return at

    def learned(where: range) -> Callable[..., Edit]:
        return lambda attribute, strength: implicit_edit(implicit, attribute, strength, where)

    return [
        Mode("e", "one", "hyperplane", (1.0, 4.0), moved("e", [start])),
        Mode("e", "every", "hyperplane, a direction a step", (0.4,), moved("e", every)),
        Mode("e", "every", "hyperplane, the same direction", (0.4,), moved("e", every, same=True)),
        Mode("e", "early half", "hyperplane, a direction a step", (0.8,), moved("e", range(start, middle))),
        Mode("e", "late half", "hyperplane, a direction a step", (0.8,), moved("e", range(middle, steps))),
        Mode("h", "one", "hyperplane", (50.0,), moved("h", [start])),
        Mode("h", "every", "hyperplane, a direction a step", (2.0, 50.0, 200.0), moved("h", every)),
        Mode("h", "every", "hyperplane, asymmetric", (2.0, 20.0), moved("h", every, asymmetric=True)),
        Mode("h", "one", "implicit", (4.0,), learned(range(start, start + 1))),
        Mode("h", "every", "implicit", (0.25, 1.0), learned(range(start, last))),
        Mode("h", "early half", "implicit", (1.0,), learned(range(start, middle))),
        Mode("h", "late half", "implicit", (1.0,), learned(range(middle, last))),
    ]


def guided(implicit: Implicit, steps: int) -> list[Mode]:
    """The modes that generated images are edited in, by branch of guidance."""

    def learned(branch: str) -> Callable[..., Edit]:
        return lambda attribute, strength: implicit_edit(implicit, attribute, strength, range(steps - 1), branch)

    return [
        Mode("h", "every", f"implicit, {branch} of guidance", (0.5,), learned(branch))
        for branch in ("both", "prompt", "negative")
    ]


def compared(
    modes: Sequence[Mode],
    way: Way,
    reading: Reading,
    names: Sequence[str],
    attributes: Sequence[int],
    readable: list[int],
) -> pd.DataFrame:
    """``space, steps, what, strength, attribute, moved, others, selectivity`` of each mode on the images of ``way``.

    ``moved`` and ``others`` are mean changes in standard deviations, as ``reading`` sees them in pictures; ``names``
    are those of its columns, ``attributes`` the columns to try, ``readable`` those that count as others.
    """
    was, rows = reading(way.images()), []
    for mode in track(modes, "modes of editing", len(modes)):
        for strength in mode.strengths:
            for k in attributes:
                changes = reading(way.images(mode.edit(k, strength))) - was
                others, ratio = selectivity(changes, k, readable)
                rows.append(
                    (mode.space, mode.steps, mode.what, strength, names[k], changes[:, k].mean(), others, ratio)
                )
    columns = ["space", "steps", "what", "strength", "attribute", "moved", "others", "selectivity"]
    return pd.DataFrame(rows, columns=columns)
