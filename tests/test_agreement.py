"""Agreement of estimates with the truth."""

import numpy as np

from raremix.diagnosis.agreement import agreement


def test_agreement_is_one_for_whatever_rises_with_the_truth_and_minus_one_for_what_falls():
    true = np.random.default_rng(0).normal(size=(8, 3))
    draws = np.stack([np.exp(true)] * 20)
    figures = agreement(np.exp(true), draws, true, "test")
    assert (figures["spearman"], figures["low"], figures["high"], figures["attributes"]) == (1, 1, 1, 8)
    assert 0 < figures["null"] < 0.7
    assert agreement(-true, -draws, true, "test")["spearman"] == -1


def test_agreement_with_attributes_in_another_order_is_about_nothing():
    rng, found = np.random.default_rng(0), []
    for seed in range(16):
        true = rng.normal(size=(15, 4))
        figures = agreement(true[rng.permutation(15)], true[None], true, str(seed))
        found.append((figures["spearman"], figures["spearman"] > figures["null"]))
    above, means = np.mean([one for _, one in found]), np.mean([one for one, _ in found])
    assert abs(means) < 0.15
    assert above < 0.2, "one in twenty"


def test_there_is_no_agreement_of_two_attributes_nor_of_what_does_not_move():
    true = np.random.default_rng(0).normal(size=(4, 2))
    assert agreement(true[:2], true[None, :2], true[:2], "test") == {
        "spearman": None, "low": None, "high": None, "null": None, "attributes": 2
    }  # fmt: skip
    assert agreement(np.zeros((4, 2)), np.zeros((5, 4, 2)), true, "test")["spearman"] == 0
