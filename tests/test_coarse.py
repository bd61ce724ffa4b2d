"""Samples for a phrase against those of the neutral prompt: which phrases arrive, and what they do on the whole way."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch import nn

from raremix.diagnosis.coarse import Pairs, by_attribute, pairs, table, told
from raremix.diagnosis.eyes import Classifier, Eyes
from raremix.diagnosis.readers import Units
from raremix.diagnosis.sensitivity import DRAWS
from raremix.generator.base import load

UNITS = Units(["male", "age", "ap"], [0.5, 50.0, 0.2], [0.5, 10.0, 0.4], [0.0, 40.0, 0.0], [1.0, 60.0, 1.0])
FINDINGS = ["a", "b"]


def pair(read, probability=(0.0, 0.0), spread=0.0):
    """Ten samples whose mean changes are these."""
    around = spread * np.linspace(-1, 1, 10)[:, None]
    chances = np.array(probability) + around
    return Pairs(np.array(read) + np.zeros((10, 1)), chances, chances > 0)


def named(*rows):
    return pd.DataFrame(rows, columns=["attribute", "phrase", "kind", "reads"])


MALE, FEMALE = ("man", "male", "named", "male"), ("woman", "female", "named", "-male")
ELDERLY, LAMP = ("elderly", "elderly", "named", "age"), ("lamp", "purple lamp", "nonsense", "")


class Halves(nn.Module):
    def forward(self, pictures):
        return torch.stack([pictures.float().mean((1, 2))] * 3, 1)


def test_the_class_prompt_itself_changes_nothing_and_arrives_nowhere(base):
    def bright(pictures):
        return pictures.mean(axis=(1, 2))[:, None] / 255 + np.zeros((1, 2))

    classifier = Classifier(FINDINGS, bright, np.array([0.5, 0.5]))
    eyes = Eyes(Halves(), UNITS, {"bright": classifier}, "float32")
    found = pairs(load(base), ["", "pacemaker"], 3, tiny.SAMPLING, eyes, classifier, None)
    assert [part.read.shape for part in found] == [(3, 3)] * 2
    nothing, pacemaker = found
    assert not nothing.read.any()
    assert not nothing.probability.any()
    assert not nothing.flipped.any()
    assert pacemaker.read.any(), "from the same noise, another prompt gives another image"
    (known,) = told(named(("nothing", "", "named", "male")), [nothing], UNITS, [0, 1, 2], 0.25)
    assert (known.moved, known.arrived) == (0, False)
    assert np.isnan(known.scale)


def test_a_phrase_of_the_low_end_is_turned_round():
    """Male goes half the way up, female a quarter of it down; each is told over the whole way up."""
    rows, found = named(MALE, FEMALE), [pair([1.0, 0, 0], (0.1, 0)), pair([-0.5, 0, 0], (-0.05, 0.02))]
    known = told(rows, found, UNITS, [0, 1, 2], 0.25)
    assert [(one.reads, one.moved, one.scale, one.arrived) for one in known] == [
        ("male", 0.5, 2.0, True), ("male", 0.25, -4.0, True)
    ]  # fmt: skip
    full = table(rows, found, known, FINDINGS).set_index(["phrase", "finding"])
    assert full["effect"].tolist() == pytest.approx([0.2, 0, 0.2, -0.08])
    assert full["mean"].tolist() == pytest.approx([0.1, 0, -0.05, 0.02])
    assert full["reads"].tolist() == ["male", "male", "-male", "-male"]
    assert (full["n"] == 10).all()


def test_a_phrase_that_goes_the_wrong_way_or_not_far_enough_has_not_arrived():
    found = [pair([-1.0, 0, 0]), pair([1.0, 0, 0]), pair([0, 0.24, 0])]
    known = told(named(MALE, FEMALE, ELDERLY), found, UNITS, [0, 1, 2], 0.25)
    assert [one.arrived for one in known] == [False] * 3
    assert [one.moved for one in known] == pytest.approx([-0.5, -0.5, 0.12])
    assert told(named(ELDERLY), [pair([0, 0.26, 0])], UNITS, [0, 1, 2], 0.25)[0].arrived


@pytest.mark.parametrize(("nonsense", "arrived"), [(0.9, True), (-0.9, True), (1.0, False), (-1.1, False)])
def test_nonsense_is_the_bar_whichever_way_it_goes(nonsense, arrived):
    rows, found = named(MALE, LAMP), [pair([1.0, 0, 0]), pair([nonsense, 0, 0])]
    known = told(rows, found, UNITS, [0, 1, 2], 0.25)
    assert [one.arrived for one in known] == [arrived, False]


def test_what_nothing_measures_well_never_arrives():
    rows = named(MALE, LAMP, ("hiccups", "hiccups", "named", ""))
    found = [pair([2.0, 0, 0]), pair([0.1, 0, 0]), pair([2.0, 2.0, 2.0])]
    assert [one.arrived for one in told(rows, found, UNITS, [0, 1, 2], 0.25)] == [True, False, False]
    unread = told(rows, found, UNITS, [1, 2], 0.25)
    assert [(one.reads, one.arrived) for one in unread] == [("", False)] * 3


def test_the_null_is_what_nonsense_does_over_the_same_way_in_ascending_order():
    rows = named(FEMALE, LAMP, ("apples", "seven apples", "nonsense", ""))
    found = [pair([-1.0, 0, 0], (0.2, 0.1), 0.05), pair([0, 0, 0], (-0.01, 0.0)), pair([0, 0, 0], (0.03, 0.01))]
    known = told(rows, found, UNITS, [0, 1, 2], 0.25)
    full = table(rows, found, known, FINDINGS)
    female = full[full["phrase"] == "female"]
    assert female["null_low"].tolist() == pytest.approx([-0.06, -0.02])
    assert female["null_high"].tolist() == pytest.approx([0.02, 0.0])
    assert (female["low"] < female["effect"]).all()
    assert (female["effect"] < female["high"]).all()
    assert female["effect"].tolist() == pytest.approx([-0.4, -0.2])
    assert female["mean_absolute"].tolist() == pytest.approx([0.2, 0.1])
    assert female["flip_rate"].tolist() == [1, 1]
    lamp = full[full["phrase"] == "purple lamp"]
    assert lamp[["effect", "low", "high", "null_low", "null_high"]].isna().all(axis=None)
    assert lamp["mean"].tolist() == pytest.approx([-0.01, 0])
    assert table(rows[:1], found[:1], known[:1], FINDINGS)[["null_low", "null_high"]].isna().all(axis=None)


def test_an_attribute_is_told_by_all_its_phrases_together():
    """Male goes half the way up and changes .1; female a tenth of it down, and changes .1 the other way."""
    rows = named(MALE, FEMALE, ELDERLY, LAMP)
    found = [pair([1.0, 0, 0], (0.1, 0.2)), pair([-0.2, 0, 0], (-0.1, 0)), pair([0, 1.0, 0], (0.3, 0)), pair([0, 0, 0])]
    known = told(rows, found, UNITS, [0, 1, 2], 0.25)
    assert [one.arrived for one in known] == [True, False, True, False], "one of its phrases is enough"
    labels, effects, draws = by_attribute(rows, found, UNITS, known, ["male", "ap"])
    assert labels == ["male"], "only what has a truth"
    np.testing.assert_allclose(effects, [[0.2 / 0.6, 0.2 / 0.6]])
    assert draws.shape == (DRAWS, 1, 2)
    labels, effects, draws = by_attribute(rows, found, UNITS, known, [])
    assert (labels, effects.shape, draws.shape[1:]) == ([], (0, 2), (0, 2))


def test_a_phrase_that_goes_the_wrong_way_does_not_count():
    """Female makes more of a man than male does."""
    rows, found = named(MALE, FEMALE), [pair([0.5, 0, 0], (0.1, 0)), pair([0.7, 0, 0], (0.5, 0.5), 0.2)]
    known = told(rows, found, UNITS, [0, 1, 2], 0.25)
    _, effects, draws = by_attribute(rows, found, UNITS, known, ["male"])
    np.testing.assert_allclose(effects, [[0.4, 0]])
    np.testing.assert_allclose(draws, np.broadcast_to([[0.4, 0]], draws.shape))


def test_how_far_an_attribute_moved_is_as_uncertain_as_what_it_changed():
    """An image that moved twice as far changed twice as much: however images are drawn, the ratio is the same."""
    ways = np.linspace(0, 2, 10)[:, None]
    spread = Pairs(ways * [1, 0, 0], 0.1 * ways + np.zeros(2), np.zeros((10, 2)))
    known = told(named(MALE), [spread], UNITS, [0, 1, 2], 0.25)
    _, effects, draws = by_attribute(named(MALE), [spread], UNITS, known, ["male"])
    np.testing.assert_allclose(draws, np.broadcast_to(effects, draws.shape))


PACEMAKER, BLUR = ("device", "pacemaker", "named", ""), ("blur", "blurred wall", "nonsense", "")


@pytest.mark.parametrize(
    ("nearer", "arrived"),
    [([0.3, 0.1, 0.2], True), ([0.3, 0.4, 0.2], False), ([-0.1, -0.2, -0.3], False)],
    ids=["nearer than nonsense", "as near as nonsense comes", "further away"],
)
def test_clip_tells_whether_a_phrase_arrived_that_no_reader_knows(nearer, arrived):
    """A row an image set of a phrase, a column a phrase: how much nearer the first came, and the nonsense to it."""
    rows = named(PACEMAKER, LAMP, BLUR)
    found = [replace(pair([0, 0, 0], (0.1, 0)), likeness=np.full((10, 3), 0.9)) for _ in nearer]
    for part, near in zip(found, nearer, strict=True):
        part.likeness[:, 0] = near
    known = told(rows, found, UNITS, [0, 1, 2], 0.25)
    assert [one.arrived for one in known] == [arrived, False, False], "nonsense never does"
    effects = table(rows, found, known, FINDINGS).query("attribute == 'device'")["effect"]
    assert effects.tolist() == pytest.approx([0.1, 0.0], nan_ok=True) if arrived else effects.isna().all()
    assert by_attribute(rows, found, UNITS, known, ["male"])[0] == [], "it has no ends, so no truth stands beside it"
