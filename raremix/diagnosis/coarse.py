"""Coarse sensitivity: samples for a phrase against samples of the neutral prompt, from the same noise."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray

from raremix.data.captions import CLASS_PROMPT
from raremix.diagnosis.clip import Clip
from raremix.diagnosis.eyes import Classifier, Eyes
from raremix.diagnosis.hspace import drawn, noise_for
from raremix.diagnosis.readers import Units
from raremix.diagnosis.sensitivity import interval, resampled
from raremix.generator.sample import Sampling, plain
from raremix.runtime.progress import track

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """What a phrase did to samples: changes in units ``[n, attributes]`` and in probability ``[n, findings]``.

    ``likeness`` is the change in CLIP's similarity to every phrase ``[n, phrases]``, where there is a CLIP model.
    """

    read: Array
    probability: Array
    flipped: NDArray[np.bool_]
    likeness: Array | None = None


def pairs(
    pipeline: StableDiffusionPipeline,
    phrases: list[str],
    count: int,
    sampling: Sampling,
    eyes: Eyes,
    classifier: Classifier,
    clip: Clip | None,
) -> list[Pairs]:
    """``count`` samples of ``phrases`` each, after the class prompt, against those of the class prompt alone."""
    noise = noise_for(pipeline, [f"coarse-{index}" for index in range(count)])

    def sampled(prompt: str) -> NDArray[np.uint8]:
        return drawn(pipeline, noise, plain([prompt] * count, range(count)), sampling)

    neutral = sampled(CLASS_PROMPT)
    was, chance = eyes.read(neutral), classifier.probabilities(neutral)
    like = clip.likeness(neutral, phrases) if clip else np.zeros(0)
    found = []
    for phrase in track(phrases, "phrases", len(phrases)):
        told = sampled(f"{CLASS_PROMPT} {phrase}")
        then = classifier.probabilities(told)
        flipped = (then >= classifier.thresholds) != (chance >= classifier.thresholds)
        likeness = clip.likeness(told, phrases) - like if clip else None
        found.append(Pairs(eyes.read(told) - was, then - chance, flipped, likeness))
    return found


@dataclass(frozen=True)
class Told:
    """What is known of a phrase: what it reads as and which way, how far that went, and whether it arrived."""

    phrase: str
    reads: str  # the attribute; empty if nothing measures it well
    moved: float  # share of the way between the attribute's ends, in the phrase's direction
    scale: float  # from the change at hand to the change over the whole way, towards the attribute's high end; 1 if
    # only CLIP knows the phrase, for it knows no ends
    arrived: bool


def told(named: pd.DataFrame, found: list[Pairs], units: Units, readable: Sequence[int], least: float) -> list[Told]:
    """Which phrases of ``named``, the table of the attributes stage, came into the images.

    That is half of ``least`` of the way, for a phrase goes one way only, and further than any nonsense went. Only the
    ``readable`` attributes (indices) can tell. Of a phrase that reads as none of them CLIP tells, if it was asked:
    whether its images came nearer to it, and nearer than those of any nonsense.
    """
    reach = np.where(units.reach > 0, units.reach, np.nan)
    shares = [pair.read.mean(axis=0) / reach for pair in found]
    nonsense = [np.abs(share) for share, kind in zip(shares, named["kind"], strict=True) if kind == "nonsense"]
    most = np.max(nonsense, axis=0) if nonsense else np.zeros(len(units.attributes))
    known = []
    for index, (row, share) in enumerate(zip(named.to_dict("records"), shares, strict=True)):
        name, sign = str(row["reads"]).removeprefix("-"), -1 if str(row["reads"]).startswith("-") else 1
        if name not in [units.attributes[k] for k in readable]:
            came = row["kind"] != "nonsense" and _came_nearer(index, named, found)
            known.append(Told(row["phrase"], "", float("nan"), 1.0 if came else float("nan"), came))
            continue
        k = units.attributes.index(name)
        moved = sign * float(share[k])
        arrived = moved >= least / 2 and moved > float(most[k])
        known.append(Told(row["phrase"], name, moved, sign / moved if arrived else float("nan"), arrived))
    return known


def _came_nearer(phrase: int, named: pd.DataFrame, found: list[Pairs]) -> bool:
    moves = [float(pair.likeness[:, phrase].mean()) if pair.likeness is not None else 0.0 for pair in found]
    nonsense = [move for move, kind in zip(moves, named["kind"], strict=True) if kind == "nonsense"]
    return moves[phrase] > max(nonsense, default=0.0) and moves[phrase] > 0


def table(named: pd.DataFrame, found: list[Pairs], known: list[Told], findings: list[str]) -> pd.DataFrame:
    """A row a phrase and finding: ``mean, mean_low, mean_high, mean_absolute, flip_rate`` of the change in probability.

    ``effect, low, high`` and ``null_low, null_high`` (what nonsense does) are over the attribute's whole way.
    """
    nonsense = [
        pair.probability.mean(axis=0) for pair, kind in zip(found, named["kind"], strict=True) if kind == "nonsense"
    ]
    nothing = np.full(len(findings), np.nan)
    extremes = [np.min(nonsense, axis=0), np.max(nonsense, axis=0)] if nonsense else [nothing, nothing]
    tables = []
    for row, pair, one in zip(named.to_dict("records"), found, known, strict=True):
        mean, low, high = interval(pair.probability, one.phrase)
        ends, nulls = (np.sort(np.stack(pair_) * one.scale, axis=0) for pair_ in ([low, high], extremes))
        tables.append(
            pd.DataFrame(
                {
                    "attribute": row["attribute"], "phrase": one.phrase, "kind": row["kind"], "reads": row["reads"],
                    "finding": findings, "mean": mean, "mean_low": low, "mean_high": high,
                    "mean_absolute": np.abs(pair.probability).mean(axis=0), "flip_rate": pair.flipped.mean(axis=0),
                    "n": len(pair.read), "moved": one.moved, "arrived": int(one.arrived), "effect": mean * one.scale,
                    "low": ends[0], "high": ends[1], "null_low": nulls[0], "null_high": nulls[1],
                }
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def by_attribute(
    named: pd.DataFrame, found: list[Pairs], units: Units, known: list[Told], truths: Collection[str]
) -> tuple[list[str], Array, Array]:
    """Attributes, effects ``[attributes, findings]`` and draws of them; of those that arrived and are in ``truths``.

    An attribute arrived with one of its phrases. Then all count that moved it the way they say: their changes in
    probability, over the way that they moved it together.
    """
    names = list(dict.fromkeys(one.reads for one in known if one.arrived and one.reads in truths))
    effects, draws = [], []
    for name in names:
        k = units.attributes.index(name)
        together: Array = np.zeros((len(found[0].read), found[0].probability.shape[1] + 1))
        for reads, pair, one in zip(named["reads"], found, known, strict=True):
            if one.reads == name and one.moved > 0:
                sign = -1 if str(reads).startswith("-") else 1
                together += sign * np.c_[pair.probability, pair.read[:, k] / units.reach[k]]
        whole, drawn = together.mean(axis=0), resampled(together, name)
        effects.append(whole[:-1] / whole[-1])
        draws.append(drawn[:, :-1] / drawn[:, -1:])
    findings = found[0].probability.shape[1]
    return names, np.reshape(effects, (-1, findings)), np.stack(draws, 1) if draws else np.zeros((1, 0, findings))
