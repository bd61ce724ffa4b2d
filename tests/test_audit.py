import numpy as np
import pandas as pd
import pytest

from raremix.evaluation.audit import explained, judged, real_or_synthetic, told_apart


def test_the_judge_is_scored_per_finding_on_both_kinds_of_images():
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    sharp = np.array([[0.9, 0.1], [0.8, 0.9], [0.1, 0.2], [0.2, 0.8]])
    blurred = sharp.copy()
    blurred[:, 0] = 0.5
    table = judged(labels, sharp, blurred, ["nodule_mass", "pneumothorax"]).set_index("finding")
    assert table.loc["nodule_mass"].tolist() == [1.0, 0.5]
    assert table.loc["pneumothorax"].tolist() == [1.0, 1.0]


def test_scores_that_are_alike_cannot_be_told_apart():
    assert told_apart(np.array([0.8, 0.9]), np.array([0.1, 0.2])) == 1
    assert told_apart(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == 0
    assert told_apart(np.array([0.1, 0.9]), np.array([0.1, 0.9])) == 0.5


def test_the_probe_sees_a_shift_and_nothing_in_one_population():
    rng = np.random.default_rng(0)
    real, alike = rng.normal(size=(150, 8)), rng.normal(size=(150, 8))
    assert real_or_synthetic(real, alike) == pytest.approx(0.5, abs=0.1)
    assert real_or_synthetic(real, alike + 2) > 0.97


def test_a_probe_of_too_few_images_says_nothing():
    assert np.isnan(real_or_synthetic(np.zeros((4, 2)), np.zeros((50, 2))))


def test_a_regressor_that_knows_the_view_alone_explains_nothing_within_it():
    view = pd.Series(["PA", "AP"] * 20)
    told = pd.Series(np.where(view == "PA", 180.0, 100.0) + np.tile([-5, -5, 5, 5], 10))
    by_view = explained(told, np.where(view == "PA", 180.0, 100.0), view)
    assert by_view["all"] > 0.95
    assert by_view["within view"] == 0
    assert explained(told, told.to_numpy(), view) == {"all": 1, "within view": 1}
    told[5:] = np.nan
    assert np.isnan(explained(told, np.zeros(40), view)["all"])
