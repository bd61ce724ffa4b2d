"""Several readers' votes to one label."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["any", "majority", "unanimous"]


def decide(votes: NDArray[Any], readers: NDArray[Any], rule: Rule) -> NDArray[np.int64]:
    """0/1 labels ``[images, findings]`` from ``votes`` of that shape (readers who marked it) and ``readers [images]``.

    ``majority`` is more than half of an image's readers. With one reader (a consensus) every rule takes his word.
    """
    all_of_them = readers[:, None]
    decided = {"any": votes >= 1, "majority": 2 * votes > all_of_them, "unanimous": votes >= all_of_them}
    return decided[rule].astype(np.int64)


def agreement(votes: NDArray[Any]) -> list[dict[str, int | float | None]]:
    """For each finding of ``votes [images, findings]``: images marked by any reader, by two, and the second's share."""
    any_reader, two = (votes >= 1).sum(axis=0), (votes >= 2).sum(axis=0)
    return [
        {"any": int(a), "two": int(b), "ratio": round(float(b / a), 4) if a else None}
        for a, b in zip(any_reader, two, strict=True)
    ]
