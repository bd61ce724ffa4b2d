import math

import numpy as np
import pandas as pd
import pytest

from raremix.evaluation.metrics import (
    auroc,
    average_precision,
    families,
    headline,
    natural_weights,
    score_table,
    summary,
)

LABELS = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [0, 1]])
SCORES = np.array([[0.9, 0.1], [0.4, 0.8], [0.6, 0.3], [0.1, 0.2], [0.2, 0.7]])


def test_a_hand_worked_ranking():
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.4, 0.1])
    assert auroc(labels, scores) == pytest.approx(3 / 4)
    assert average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)


def test_an_image_of_weight_two_counts_as_two():
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.4, 0.1])
    weights = np.array([1.0, 2.0, 1.0, 1.0])
    twice = [0, 1, 1, 2, 3]
    assert auroc(labels, scores, weights) == pytest.approx(auroc(labels[twice], scores[twice]))
    assert average_precision(labels, scores, weights) == pytest.approx(average_precision(labels[twice], scores[twice]))


@pytest.mark.parametrize("constant", [0, 1])
def test_one_class_alone_has_no_figure(constant):
    labels = np.full(3, constant)
    assert math.isnan(auroc(labels, np.arange(3.0)))
    assert math.isnan(average_precision(labels, np.arange(3.0)))


def test_macro_is_the_mean_of_all_findings_and_minority_of_its_own():
    groups = families(["effusion", "nodule"], ["nodule"])
    table = score_table(LABELS, SCORES, groups).set_index("finding")
    assert list(table.index) == ["effusion", "nodule", "macro", "minority"]
    assert table.ap["macro"] == pytest.approx((table.ap["effusion"] + table.ap["nodule"]) / 2)
    assert table.auroc["minority"] == table.auroc["nodule"] != table.auroc["effusion"]


def test_a_mean_with_an_undefined_member_is_undefined():
    labels = LABELS.copy()
    labels[:, 1] = 0
    table = score_table(labels, SCORES, families(["effusion", "nodule"], ["nodule"])).set_index("finding")
    assert table.auroc.isna().to_dict() == {"effusion": False, "nodule": True, "macro": True, "minority": True}


def test_summary_has_mean_sd_and_number_of_defined_trials():
    rows = [
        {"shots": 10, "arm": "vanilla", "trial": trial, "finding": "minority", "auroc": value, "ap": ap}
        for trial, value, ap in [(0, 0.6, 0.2), (1, 0.8, float("nan"))]
    ]
    figures = summary(pd.DataFrame(rows))
    assert figures["10"]["vanilla"]["minority"]["auroc"] == {"mean": 0.7, "sd": pytest.approx(0.141421), "n": 2}
    assert figures["10"]["vanilla"]["minority"]["ap"] == {"mean": 0.2, "sd": None, "n": 1}
    assert headline(figures) == {"minority_ap_10_shots": {"vanilla": 0.2}}


def test_summary_of_nothing_defined_is_none_not_nan():
    row = {"shots": 5, "arm": "a", "trial": 0, "finding": "macro", "auroc": float("nan"), "ap": float("nan")}
    assert summary(pd.DataFrame([row]))["5"]["a"]["macro"]["ap"] == {"mean": None, "sd": None, "n": 0}


def test_weights_give_the_natural_frequency_of_label_sets():
    natural = np.array([[0, 0]] * 90 + [[1, 0]] * 8 + [[1, 1]] * 2)
    test = np.array([[0, 0]] * 10 + [[1, 0]] * 10 + [[1, 1]] * 20)
    weights = natural_weights(test, natural)
    assert weights.mean() == pytest.approx(1)
    assert np.average(test, axis=0, weights=weights) == pytest.approx(natural.mean(axis=0))
    assert weights[test.sum(1) == 2].sum() / weights.sum() == pytest.approx(0.02)


def test_a_set_that_the_natural_population_lacks_counts_half_an_image():
    natural, test = np.array([[0, 0]] * 9), np.array([[0, 0]] * 5 + [[0, 1]] * 5)
    weights = natural_weights(test, natural)
    assert weights[5:].sum() / weights[:5].sum() == pytest.approx(0.5 / 9)


def test_an_unenriched_test_part_has_equal_weights():
    assert natural_weights(LABELS, np.repeat(LABELS, 3, axis=0)) == pytest.approx(np.ones(5))
