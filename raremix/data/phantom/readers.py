"""Three readers an image, who agree as often as VinDr-CXR's did (counts in label_sets.csv, reader_agreement.csv)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from raremix.data.findings import TRIO
from raremix.runtime.seeds import generator

MARKERS = tuple(f"R{k}" for k in range(11, 18))  # others who mark findings
OTHERS = (*(f"R{k}" for k in range(1, 8)), *MARKERS)
TRIO_IF_ABNORMAL, TRIO_IF_NORMAL, SOME_IF_NORMAL = 0.944, 0.128, 0.197  # shares of VinDr's train part


@dataclass(frozen=True)
class Agreement:
    """Of the images that one reader or more mark, the share that two or more mark, and that all three mark."""

    two: float
    three: float


def assign(abnormal: bool, rng: np.random.Generator) -> tuple[str, str, str]:
    """The three readers of an image."""
    luck = rng.random()
    if luck < (TRIO_IF_ABNORMAL if abnormal else TRIO_IF_NORMAL):
        chosen = list(TRIO)
    elif abnormal:
        chosen = list(rng.choice(MARKERS, 3, replace=False))
    else:
        some = rng.integers(1, 3) if luck < TRIO_IF_NORMAL + SOME_IF_NORMAL else 0
        chosen = [*rng.choice(TRIO, some, replace=False), *rng.choice(OTHERS, 3 - some, replace=False)]
    first, second, third = (str(reader) for reader in sorted(chosen, key=lambda reader: int(reader[1:])))
    return first, second, third


def votes(sets: list[frozenset[str]], agreement: dict[str, Agreement], seed: int, part: str) -> list[dict[str, int]]:
    """How many of three readers mark each finding of each image's label set.

    In VinDr-CXR every reader of an abnormal image marks something, so a lone finding has three votes and a pair three
    between them; the other images' votes are dealt so that the agreement over all images is the table's.
    """
    dealt: list[dict[str, int]] = [{} for _ in sets]
    for finding, share in agreement.items():
        rng = generator("phantom", seed, part, "votes", finding)
        images = [k for k, labels in enumerate(sets) if finding in labels]
        # All readers must see a lone finding, and two the plainer of a pair: those come first.
        need = {k: _need(finding, sets[k], agreement) + rng.random() for k in images}
        ranked = sorted(images, key=lambda k: -need[k])
        whole, most = _rounded(share.three * len(images), rng), _rounded(share.two * len(images), rng)
        for rank, k in enumerate(ranked):
            dealt[k][finding] = 3 if rank < whole or len(sets[k]) == 1 else 2 if rank < most else 1
    for k, counts in enumerate(dealt):
        if len(counts) == 2 and sum(counts.values()) < 3:
            lucky = sorted(counts)[generator("phantom", seed, part, "votes of a pair", k).integers(2)]
            counts[lucky] = 2
    return dealt


def severity_rank(count: int, share: Agreement, rng: np.random.Generator) -> float:
    """A severity's rank among its finding's, 0 to 1 uniform over all images: what few readers marked is subtle."""
    band = {1: (0.0, 1 - share.two), 2: (1 - share.two, 1 - share.three), 3: (1 - share.three, 1.0)}[count]
    seen = np.clip(rng.uniform(*band), 1e-4, 1 - 1e-4)
    return float(ndtr(0.8 * ndtri(seen) + 0.6 * rng.standard_normal()))


def markers(counts: dict[str, int], trio: tuple[str, str, str], rng: np.random.Generator) -> dict[str, tuple[str, ...]]:
    """Who marks which finding: ``counts`` readers each, and every reader something where the votes suffice."""
    idle = list(rng.permutation(trio))
    chosen = {}
    for finding in sorted(counts, key=lambda name: (counts[name], name)):
        rest = [reader for reader in rng.permutation(trio) if reader not in idle]
        picked = [*idle, *rest][: counts[finding]]
        idle = [reader for reader in idle if reader not in picked]
        chosen[finding] = tuple(sorted((str(reader) for reader in picked), key=lambda reader: int(reader[1:])))
    return chosen


def drawn_box(box: list[float], shape: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A reader's version of a true box: each edge off by some 6 % of the box, at least a pixel wide, in the picture."""
    left, top, right, bottom = box
    off = rng.normal(0, 0.06, 4) * np.array([right - left, bottom - top, right - left, bottom - top])
    left, right = np.clip([left + off[0], right + off[2]], 0, shape[1])
    top, bottom = np.clip([top + off[1], bottom + off[3]], 0, shape[0])
    return float(left), float(top), float(max(right, left + 1)), float(max(bottom, top + 1))


def _need(finding: str, labels: frozenset[str], agreement: dict[str, Agreement]) -> int:
    if len(labels) == 1:
        return 2
    return int(len(labels) == 2 and finding == max(sorted(labels), key=lambda name: agreement[name].two))


def _rounded(value: float, rng: np.random.Generator) -> int:
    return int(value + rng.random())
