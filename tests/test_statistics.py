import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm, t
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from raremix.evaluation.curves import curve_table, mean_precision_recall, mean_roc
from raremix.evaluation.metrics import auroc, families, score_table
from raremix.evaluation.resampling import resampled_families, resampled_metrics, resamples
from raremix.evaluation.statistics import _beyond, holm, interval


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_many_weighted_metrics_at_once_are_scikit_learns_with_ties_and_zero_weights(seed, distinct):
    rng = np.random.default_rng(seed)
    labels = np.r_[1, 0, rng.integers(0, 2, 30)]
    scores = rng.integers(0, distinct, 32) / distinct
    weights = rng.integers(0, 3, (4, 32)) * rng.uniform(0.1, 2, 32)
    weights[:, :2] = 1
    fast = resampled_metrics(labels, scores, weights)
    for draw, weight in enumerate(weights):
        assert fast["auroc"][draw] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight))
        assert fast["ap"][draw] == pytest.approx(average_precision_score(labels, scores, sample_weight=weight))


def test_a_draw_without_positives_is_undefined_and_leaves_the_others_alone():
    fast = resampled_metrics(np.array([1, 0, 0]), np.array([0.5, 0.6, 0.1]), np.array([[0, 1, 1], [1, 1, 1]]))
    assert np.isnan(fast["auroc"]).tolist() == np.isnan(fast["ap"]).tolist() == [True, False]
    assert (fast["auroc"][1], fast["ap"][1]) == (0.5, 0.5)


def test_resamples_keep_label_sets_patients_and_the_seed():
    labels = np.array([[0, 0]] * 30 + [[1, 0]] * 12 + [[0, 1]] * 6)
    patients = np.r_[np.arange(15).repeat(2), np.arange(100, 118)]  # the first 15 have two images each
    counts = resamples(labels, patients, 50, np.random.default_rng(1))
    assert counts.shape == (50, 48)
    for of_set in (slice(0, 30), slice(30, 42), slice(42, 48)):
        assert (counts[:, of_set].sum(1) == counts[0, of_set].size).all()
    assert (counts[:, 0:30:2] == counts[:, 1:30:2]).all()
    assert counts[:, 42:].std() > 0
    assert (counts == resamples(labels, patients, 50, np.random.default_rng(1))).all()


def test_rare_label_sets_are_resampled_together_so_that_they_vary():
    labels = np.array([[0, 0]] * 20 + [[1, 0]] + [[0, 1]] + [[1, 1]])
    counts = resamples(labels, np.arange(23), 40, np.random.default_rng(0))
    assert (counts[:, 20:].sum(1) == 3).all()
    assert (counts[:, 20:].std(0) > 0).all()


def test_families_of_resamples_agree_with_the_plain_metrics():
    rng = np.random.default_rng(3)
    labels, trials = rng.integers(0, 2, (60, 3)), rng.uniform(size=(2, 60, 3))
    groups = families(["a", "b", "c"], ["b", "c"])
    found = resampled_families(labels, trials, np.ones((1, 60)), groups)
    for trial in range(2):
        expected = score_table(labels, trials[trial], groups).set_index("finding")
        for name in groups:
            assert found["ap"][name][0, trial] == pytest.approx(expected.ap[name])
            assert found["auroc"][name][0, trial] == pytest.approx(expected.auroc[name])


def test_the_bootstrap_error_of_an_auroc_is_the_one_of_theory():
    rng = np.random.default_rng(5)
    labels = np.r_[np.ones(150), np.zeros(450)].astype(int)
    scores = rng.normal(size=600) + labels
    counts = resamples(labels[:, None], np.arange(600), 1000, rng)
    boot = resampled_metrics(labels, scores, counts)["auroc"].std(ddof=1)
    positive, negative = scores[labels == 1], scores[labels == 0]
    below = (positive[:, None] > negative).astype(float)  # DeLong's placements
    theory = np.sqrt(below.mean(1).var(ddof=1) / 150 + below.mean(0).var(ddof=1) / 450)
    assert boot == pytest.approx(theory, rel=0.08)


def test_a_thousand_resamples_of_a_whole_study_take_seconds():
    rng = np.random.default_rng(0)
    labels, trials = rng.integers(0, 2, (1200, 4)), rng.uniform(size=(1, 1200, 4))
    started = time.perf_counter()
    resampled_families(labels, trials, resamples(labels, np.arange(1200), 1000, rng), families(list("abcd"), ["a"]))
    assert time.perf_counter() - started < 60 / 21  # 7 arms x 3 trials of this fit into a minute


def test_one_trial_counts_images_only():
    resampled = np.random.default_rng(0).normal(0.1, 0.04, (4000, 1))
    found = interval(np.array([0.1]), resampled, 0.95)
    assert (found.high - found.low) / 2 == pytest.approx(norm.isf(0.025) * 0.04, rel=0.05)
    assert found.p == pytest.approx(2 * norm.sf(0.1 / resampled.std(ddof=1)), rel=1e-6)


def test_without_image_noise_it_is_students_interval():
    differences = np.array([0.02, 0.05, 0.11])
    found = interval(differences, np.tile(differences, (10, 1)), 0.9)
    error = differences.std(ddof=1) / np.sqrt(3)
    assert found.low == pytest.approx(0.06 - t.isf(0.05, 2) * error)
    assert found.p == pytest.approx(2 * t.sf(0.06 / error, 2), rel=1e-6)


def test_what_the_trials_share_is_added_to_their_spread_and_p_is_where_the_interval_touches_zero():
    differences, rng = np.array([0.03, 0.06, 0.09]), np.random.default_rng(2)
    resampled = differences + rng.normal(0, 0.02, (500, 1)) + rng.normal(0, 0.01, (500, 3))
    found = interval(differences, resampled, 0.95)
    shared = np.cov(resampled.T)[np.triu_indices(3, 1)].mean()
    assert shared == pytest.approx(0.02**2, rel=0.2)
    assert found.error == pytest.approx(np.sqrt(shared + differences.var(ddof=1) / 3))
    assert found.freedom == pytest.approx(2 * found.error**4 / (differences.var(ddof=1) / 3) ** 2)  # Satterthwaite
    assert interval(differences, resampled, 1 - found.p).low == pytest.approx(0, abs=1e-9)


def test_limits_lie_between_those_of_images_alone_and_those_of_quadrature():
    differences, resampled = np.array([0.03, 0.06, 0.09]), np.random.default_rng(2).normal(0, 0.02, (500, 1))
    half = interval(differences, resampled + differences, 0.95).high - 0.06
    images, trials = resampled.std(ddof=1), differences.std(ddof=1) / np.sqrt(3)
    assert norm.isf(0.025) * np.hypot(images, trials) < half
    assert half < np.hypot(norm.isf(0.025) * images, t.isf(0.025, 2) * trials)


@pytest.mark.parametrize("distance", [0.3, 1.2, 9.0])
def test_p_is_a_blend_of_two_posteriors(distance):
    """Of the trials' variance v, under the priors 1 / v and 1 / v^3, integrated by brute force."""
    shared, own, trials = 0.4, 0.1, 4
    variance = np.exp(np.linspace(-25, 30, 200_001))
    likelihood = chi2.pdf(trials * own * (trials - 1) / variance, trials - 1) / variance
    beyond = 2 * norm.sf(distance / np.sqrt(shared + variance / trials))
    wide, narrow = (np.average(beyond, weights=likelihood * variance ** (1 - power)) for power in (1, 3))
    scale = own + distance**2 / 20
    weight = scale**2 / (scale**2 + (2 / 3 * shared) ** 2)
    assert _beyond(shared, own, trials)(distance) == pytest.approx(weight * wide + (1 - weight) * narrow, rel=1e-6)


def test_p_falls_with_the_distance_whatever_the_variances():
    distances = np.linspace(0, 30, 400)
    for trials, own in product((2, 3, 5, 9), (1e-6, 1e-3, 0.1, 0.4, 1, 5, 1000)):
        beyond = _beyond(1.0, own, trials)
        p = np.array([beyond(distance) for distance in distances])
        assert (np.diff(p) < 0).all(), (trials, own)
        assert p[0] == pytest.approx(1)


def test_the_sign_of_the_difference_does_not_change_p_and_equal_arms_have_p_one():
    differences, resampled = np.array([0.1, 0.2]), np.random.default_rng(1).normal(0.15, 0.1, (200, 2))
    up, down = interval(differences, resampled, 0.95), interval(-differences, -resampled, 0.95)
    assert (up.low, up.p) == (pytest.approx(-down.high), pytest.approx(down.p))
    assert interval(np.zeros(3), np.zeros((9, 3)), 0.95).p == 1
    assert interval(np.full(4, 0.25), np.full((9, 4), 0.25), 0.95).p == 0


def test_undefined_resamples_are_left_out():
    resampled = np.random.default_rng(1).normal(0.15, 0.1, (200, 2))
    holed = np.vstack([resampled, [[np.nan, 0.1]]])
    assert interval(np.array([0.1, 0.2]), holed, 0.95) == interval(np.array([0.1, 0.2]), resampled, 0.95)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])  # Wikipedia's and R's p.adjust
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_stepwise_procedure_rejects(p):
    adjusted = holm(p)
    rejected, still = set(), True
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        still = still and p[index] * (len(p) - rank) <= 0.05
        rejected |= {index} if still else set()
    assert {k for k, value in enumerate(adjusted) if value <= 0.05} == rejected


def test_a_perfect_ranking_has_the_perfect_curves():
    labels, trials = np.array([0, 0, 1, 1]), np.array([[0.1, 0.2, 0.8, 0.9], [0.2, 0.1, 0.9, 0.7]])
    roc, pr = mean_roc(labels, trials, np.ones(4)), mean_precision_recall(labels, trials, np.ones(4))
    assert roc.tpr.tolist()[0] == 1
    assert (pr.precision == 1).all()
    assert len(roc) <= 100
    assert pr.recall.iloc[-1] == 1


def test_the_mean_curve_lies_on_the_trials_curve_when_they_are_equal():
    rng = np.random.default_rng(4)
    labels, weights = rng.integers(0, 2, 90), rng.uniform(0.2, 3, 90)
    scores = rng.normal(size=90) + labels
    pr = mean_precision_recall(labels, np.stack([scores, scores]), weights)
    precision, recall, _ = precision_recall_curve(labels, scores, sample_weight=weights)
    for reached, value in zip(pr.recall, pr.precision, strict=True):
        assert value == pytest.approx(precision[recall >= reached - 1e-9][-1])
    roc = mean_roc(labels, np.stack([scores, scores]), weights)
    area = np.trapezoid(roc.tpr, roc.fpr)
    assert area == pytest.approx(auroc(labels, scores, weights), abs=0.02)


def test_a_curve_table_names_finding_and_arm_first():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (40, 2)), {arm: rng.uniform(size=(2, 40, 2)) for arm in ("x", "y")}
    table = curve_table(mean_roc, labels, scores, np.ones(40), ["a", "b"])
    assert list(table.columns) == ["finding", "arm", "fpr", "tpr"]
    assert table.groupby(["finding", "arm"]).size().to_dict() == {(f, a): 51 for f in "ab" for a in "xy"}
