import math

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import balanced_accuracy_score, f1_score

from raremix.evaluation.metrics import (
    BINS,
    auroc,
    average_precision,
    balanced_accuracy,
    calibration_error,
    f1,
    families,
    headline,
    natural_weights,
    reliability,
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


def probabilities(count, seed=0):
    """Labels, overconfident probabilities, and weights of ``count`` images."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(1, 4, count)
    return (rng.uniform(size=count) < chance).astype(int), chance**1.3, rng.uniform(0.2, 3, count)


def test_decisions_at_a_threshold_worked_by_hand():
    labels, scores = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([0.9, 0.5, 0.2, 0.8, 0.5, 0.4, 0.1, 0.0])
    assert balanced_accuracy(labels, scores, 0.5) == pytest.approx((2 / 3 + 3 / 5) / 2)  # 0.5 itself is positive
    assert f1(labels, scores, 0.5) == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    weights = np.array([1.0, 1, 2, 1, 1, 1, 1, 2])
    assert balanced_accuracy(labels, scores, 0.5, weights) == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert f1(labels, scores, 0.5, weights) == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))


def test_decisions_are_scored_as_by_scikit_learn():
    labels, chances, weights = probabilities(300)
    for ours, theirs in ((balanced_accuracy, balanced_accuracy_score), (f1, f1_score)):
        decided = (chances >= 0.2).astype(int)
        assert ours(labels, chances, 0.2) == pytest.approx(theirs(labels, decided))
        assert ours(labels, chances, 0.2, weights) == pytest.approx(theirs(labels, decided, sample_weight=weights))


def test_a_classifier_that_finds_nothing_has_an_f1_of_zero_and_half_the_balance():
    assert f1(LABELS[:, 0], SCORES[:, 0], 2.0) == 0
    assert balanced_accuracy(LABELS[:, 0], SCORES[:, 0], 2.0) == 0.5


@pytest.mark.parametrize("metric", [balanced_accuracy, f1])
def test_one_class_alone_has_no_figure_at_a_threshold_either(metric):
    assert math.isnan(metric(np.zeros(3, dtype=int), np.arange(3.0), 1.0))


def test_a_reliability_curve_is_scikit_learns_with_quantile_bins():
    labels, chances, _ = probabilities(40 * BINS)
    observed, predicted = calibration_curve(labels, chances, n_bins=BINS, strategy="quantile")
    curve = reliability(labels, chances)
    assert curve.predicted.to_numpy() == pytest.approx(predicted)
    assert curve.observed.to_numpy() == pytest.approx(observed)
    assert curve.share.to_numpy() == pytest.approx(np.full(BINS, 1 / BINS))
    assert calibration_error(labels, chances) == pytest.approx(np.abs(observed - predicted).mean())


def test_an_image_of_weight_three_counts_as_three_in_the_curve():
    labels, chances, _ = probabilities(60)
    times = np.random.default_rng(1).integers(1, 4, 60)
    weighted = reliability(labels, chances, times.astype(float), bins=4)
    repeated = reliability(labels.repeat(times), chances.repeat(times), bins=4)
    assert weighted.to_numpy() == pytest.approx(repeated.to_numpy())
    assert calibration_error(labels, chances, 5.0 * times, bins=4) == pytest.approx(
        calibration_error(labels.repeat(times), chances.repeat(times), bins=4)
    )


def test_bins_hold_equal_mass_where_weights_are_unequal():
    labels, chances, weights = probabilities(5000)
    assert reliability(labels, chances, weights).share.to_numpy() == pytest.approx(np.full(BINS, 0.1), abs=1e-3)


def test_equal_probabilities_stay_together():
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    curve = reliability(labels, np.r_[np.full(6, 0.2), 0.9, 0.9], bins=4)
    assert curve.to_numpy().tolist() == [pytest.approx([0.2, 1 / 3, 0.75]), pytest.approx([0.9, 1, 0.25])]
    assert calibration_error(labels, np.full(8, 0.25)) == pytest.approx(0.25)
    assert calibration_error(labels, np.full(8, 0.5)) == 0


def test_an_image_without_weight_changes_nothing():
    labels, chances, weights = probabilities(50)
    more = reliability(np.r_[labels, 1, 1], np.r_[chances, 0.0, 1.0], np.r_[weights, 0.0, 0.0])
    assert more.to_numpy() == pytest.approx(reliability(labels, chances, weights).to_numpy())


def test_macro_is_the_mean_of_all_findings_and_minority_of_its_own():
    groups = families(["effusion", "nodule"], ["nodule"])
    table = score_table(LABELS, SCORES, groups).set_index("finding")
    assert list(table.index) == ["effusion", "nodule", "macro", "minority", "majority"]
    assert table.ap["macro"] == pytest.approx((table.ap["effusion"] + table.ap["nodule"]) / 2)
    assert table.auroc["minority"] == table.auroc["nodule"] != table.auroc["effusion"]
    assert table.auroc["majority"] == table.auroc["effusion"]
    assert "majority" not in families(["nodule"], ["nodule"])


def test_a_mean_with_an_undefined_member_is_undefined():
    labels = LABELS.copy()
    labels[:, 1] = 0
    table = score_table(labels, SCORES, families(["effusion", "nodule"], ["nodule"])).set_index("finding")
    assert table.auroc.isna().to_dict() == {
        "effusion": False, "nodule": True, "macro": True, "minority": True, "majority": False,
    }  # fmt: skip


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
