"""Tables of estimates: what is known is ranked, what is not is marked."""

import numpy as np
import pandas as pd
import pytest

from raremix.diagnosis.estimates import Estimates, beside, planted, ranks, strongest

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
