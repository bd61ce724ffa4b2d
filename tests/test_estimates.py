"""Tables of estimates: what is known is ranked, what is not is marked."""

import numpy as np
import pandas as pd
import pytest

from raremix.diagnosis.deep import Method
from raremix.diagnosis.estimates import (
    COLUMNS,
    Edited,
    Estimates,
    beside,
    distinct,
    mean_selectivity,
    planted,
    ranks,
    rows_of_edits,
    strongest,
)
from raremix.diagnosis.eyes import Classifier, Eyes
from raremix.diagnosis.readers import Units
from raremix.diagnosis.sensitivity import Changes, Seen

ATTRIBUTES = ["male", "age", "leads", "tilt"]
EFFECTS = np.array([[0.1, -0.4], [0.2, 0.0], [np.nan, np.nan], [-0.9, 0.1]])
KNOWN = np.array([True, True, False, False])
FOUND = Estimates("hyperplane", ATTRIBUTES, {"biased": (EFFECTS, np.stack([EFFECTS - 0.1, EFFECTS + 0.1]))}, KNOWN)
TRUE = pd.DataFrame({"a": [0.3, 0.1], "b": [-0.5, 0.2]}, index=["male", "leads"])


def test_what_has_no_truth_or_is_not_known_is_not_held_against_it():
    labels, effects, draws = FOUND.of("biased", TRUE.index)
    assert labels == ["male"], "leads are not known, age has no truth"
    np.testing.assert_array_equal(effects, [[0.1, -0.4]])
    assert draws.shape == (2, 1, 2)
    table = beside("hyperplane", labels, effects, TRUE)
    assert table["finding"].tolist() == ["a", "b"]
    assert table["estimate"].tolist() == [0.1, -0.4]
    assert table["true"].tolist() == [0.3, -0.5]


def test_attributes_that_always_come_together_are_not_told_apart():
    rng = np.random.default_rng(0)
    read = rng.normal(size=(200, 5))
    read[:, 2] = 0.99 * read[:, 1] + 0.05 * read[:, 2]  # as a bedside view and a near source
    read[:, 3] = 1.0
    seen = Seen(read, np.zeros((200, 1)))
    assert distinct(seen, [0, 1, 2, 3, 4]) == [0, 4], "3 is the same in all images"
    assert distinct(seen, [0, 1, 4]) == [0, 1, 4], "what is not read is not missed"
    read[:, 2] = read[:, 1]
    assert distinct(seen, [0, 1, 2]) == [0]
    read[:, 2] = 0.9 * read[:, 1] + 0.44 * rng.normal(size=200)
    assert distinct(seen, [0, 1, 2]) == [0, 1, 2], "a correlation of .9 can be told apart"
    assert distinct(Seen(read[:3], np.zeros((3, 1))), [0, 1, 2, 4]) == [], "three images tell nothing"


def test_the_strongest_are_known_ones_first_by_their_largest_effect():
    assert strongest(FOUND, "biased", 9) == [0, 1, 3], "tilt has not arrived, leads cannot be read"
    assert strongest(FOUND, "biased", 1) == [0]


def test_a_planted_attribute_is_ranked_by_the_size_of_its_effect_on_the_first_finding():
    rows = [("biased", "male", 0.05, 0, 0.1), ("biased", "leads", -0.3, -0.4, 0), ("other", "male", 9, 9, 9)]
    true = pd.DataFrame(rows, columns=["classifier", "attribute", "effect", "low", "high"])
    table = planted([FOUND], ["biased"], true)
    assert table[["method", "attribute", "rank"]].to_numpy().tolist() == [
        ["hyperplane", "male", 2], ["hyperplane", "age", 1], ["true", "male", 2], ["true", "leads", 1]
    ]  # fmt: skip
    assert table["high"].iloc[0] - table["low"].iloc[0] == pytest.approx(0.95 * 0.2)
    assert ranks(table, "male") == {"biased": {"hyperplane": 2, "true": 2}}
    assert ranks(table, "tilt") == {}


@pytest.fixture
def edits():
    """Of five images, edits of male and age flip every decision on b, one of age on a; tilt is not edited."""
    targets, doses = np.array([0, 0, 1, 1]), np.array([-1.0, 1.0, -1.0, 1.0])
    read = np.zeros((4, 5, 4))
    read[1, :, 0], read[0, :, 0], read[3, :, 1], read[1, :, 3] = 1.0, -1.0, 0.5, 0.2
    flipped = np.zeros((4, 5, 2), bool)
    flipped[::2, :, 1], flipped[3, 0, 0] = True, True
    changes = Changes(targets, doses, read, np.zeros((5, 2)), np.zeros((4, 5, 2)), flipped, np.ones((4, 5), bool))
    effects = np.where(np.isin(np.arange(4), [0, 1])[:, None], EFFECTS, np.nan)
    found = Estimates("hyperplane", ATTRIBUTES, {"mine": (effects, np.stack([effects - 0.1, effects + 0.1]))}, KNOWN)
    method = Method("hyperplane", 1.0, None, None, 2, None)
    return Edited(found, method, {"mine": changes}, {"mine": (np.array([-1.0, -2.0]), np.array([1.0, 2.0]))})


def test_rows_of_edits_hold_each_attribute_s_own_figures_by_finding(edits):
    units = Units(ATTRIBUTES, [0.0] * 4, [1.0] * 4, [0.0] * 4, [1.0] * 4)
    eyes = Eyes(None, units, {"mine": Classifier(["a", "b"], None, np.array([0.5, 0.5]))}, "float32")
    table = rows_of_edits(edits, eyes, "mine")
    assert list(table.columns) == COLUMNS
    shown = ["attribute", "finding", "effect", "null_low", "null_high", "flip_rate", "n", "arrived"]
    assert table[shown].to_numpy().tolist() == [
        ["male", "a", 0.1, -1.0, 1.0, 0.0, 5, 1], ["male", "b", -0.4, -2.0, 2.0, 1.0, 5, 1],
        ["age", "a", 0.2, -1.0, 1.0, 0.2, 5, 1], ["age", "b", 0.0, -2.0, 2.0, 1.0, 5, 1],
    ]  # fmt: skip
    assert (table["high"] - table["effect"]).tolist() == pytest.approx([0.095] * 4)


def test_selectivity_is_told_of_what_arrived(edits):
    """Male moves by two, the others by .1 on average; age by a half and nothing else at all, which has no ratio."""
    assert mean_selectivity(edits, [0, 1, 3]) == {"attributes": 1, "mean": 20.0, "median": 20.0, "least": 20.0}
    none = Edited(Estimates("hyperplane", ATTRIBUTES, {}, np.zeros(4, bool)), edits.method, edits.changes, edits.null)
    assert mean_selectivity(none, [0, 1, 3]) == {"attributes": 0, "mean": None, "median": None, "least": None}
