import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from raremix.evaluation.statistics import delong, detectable, holm, interval, mcnemar, paired_bootstrap
from raremix.runtime.errors import UserError

REFERENCE = Path(__file__).parent / "reference"  # each file of numbers stands beside the script that computed it
R, STATSMODELS = (json.loads((REFERENCE / name).read_text()) for name in ("r.json", "statsmodels.json"))
P = [0.0121, 0.0480, 0.0007, 0.2600, 0.0480, 0.0132]
SCORES = pd.read_csv(REFERENCE / "scores.csv")


def study(seed=0, trials=3, gain=0.8):
    """Labels of 90 images, and two arms' scores [trials, images]."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(30), np.zeros(60)].astype(int)
    hard = rng.normal(size=90)
    return y, *(y * shift + hard + rng.normal(size=(trials, 90)) for shift in (gain + 0.3, gain))


@pytest.mark.parametrize(("case", "other"), [("delong_ties", "b"), ("delong", "c")])
def test_delong_is_that_of_proc(case, other):
    found = delong(SCORES.y.to_numpy(), SCORES.a.to_numpy(), SCORES[other].to_numpy())
    assert {name: getattr(found, name) for name in R[case]} == pytest.approx(R[case], abs=1e-9)
    assert found.difference == found.auroc_a - found.auroc_b


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_delong_is_the_paper_s_by_pairs_of_images_with_ties(seed, distinct):
    """DeLong, DeLong and Clarke-Pearson 1988, equations 3 to 6, every positive against every negative."""
    rng = np.random.default_rng(seed)
    y = np.r_[1, 1, 0, 0, rng.integers(0, 2, 26)]
    scores = rng.integers(0, distinct, (2, 30)) / distinct
    wins = [np.heaviside(s[y == 1][:, None] - s[y == 0], 0.5) for s in scores]
    by_positive, by_negative = np.cov([w.mean(1) for w in wins]), np.cov([w.mean(0) for w in wins])
    contrast = np.array([1, -1])
    variance = contrast @ (by_positive / (y == 1).sum() + by_negative / (y == 0).sum()) @ contrast
    found = delong(y, *scores)
    assert found.error == pytest.approx(np.sqrt(max(variance, 0)), abs=1e-7)
    assert (found.auroc_a, found.auroc_b) == pytest.approx([roc_auc_score(y, s) for s in scores])


def test_scores_that_rank_alike_do_not_differ():
    y, a, _ = study(trials=1)
    found = delong(y, a[0], np.exp(a[0]))
    assert (found.difference, found.error, found.z, found.p) == (0, 0, 0, 1)


def test_a_difference_without_variance_is_certain():
    y = np.array([0, 0, 0, 1, 1])
    found = delong(y, y * 2.0, y * -1.0)
    assert (found.auroc_a, found.auroc_b, found.error, found.z, found.p) == (1, 0, 0, np.inf, 0)
    assert delong(y, y * -1.0, y * 2.0).z == -np.inf
    assert delong(y, y * 2.0, y + np.arange(5) / 10).p == 1


@pytest.mark.parametrize("case", STATSMODELS["mcnemar"], ids=lambda case: f"{case['only_a']}-{case['only_b']}")
def test_mcnemar_is_that_of_statsmodels(case):
    only_a, only_b = case["only_a"], case["only_b"]
    right_a = np.r_[np.ones(50 + only_a), np.zeros(only_b + 30)].astype(bool)
    right_b = np.r_[np.ones(50), np.zeros(only_a), np.ones(only_b), np.zeros(30)].astype(bool)
    y = np.random.default_rng(0).integers(0, 2, len(right_a))
    found = mcnemar(y, np.where(right_a, y, 1 - y), np.where(right_b, y, 1 - y))
    assert (found.only_a, found.only_b, found.exact) == (only_a, only_b, case["exact"])
    assert (found.statistic, found.p) == pytest.approx((case["statistic"], case["p"]), rel=1e-9)


def test_few_discordant_pairs_are_a_coin_thrown_and_none_tell_nothing():
    y, a, b = np.ones(20, dtype=int), np.r_[np.ones(17), np.zeros(3)].astype(int), np.r_[np.zeros(6), np.ones(14)]
    assert mcnemar(y, a, b.astype(int)).p == pytest.approx(binomtest(3, 9).pvalue)
    assert mcnemar(y, a, a).p == 1


def test_holm_is_that_of_statsmodels_and_r():
    assert holm(P) == pytest.approx(STATSMODELS["holm"], abs=1e-9)
    assert holm(P) == pytest.approx(R["holm"], abs=1e-9)


def test_the_smallest_detectable_difference_is_that_of_student_s_t_in_statsmodels_and_r():
    for trials, of_r, of_statsmodels in zip((3, 5, 30), R["detectable"], STATSMODELS["detectable"], strict=True):
        differences = np.random.default_rng(trials).normal(0.02, 0.01, trials)
        found = interval(differences, np.tile(differences, (20, 1)), 0.95)
        assert found.error == pytest.approx(differences.std(ddof=1) / np.sqrt(trials))
        assert found.freedom == pytest.approx(trials - 1)
        assert detectable(found) / found.error == pytest.approx(of_r, rel=1e-6)
        assert detectable(found) / found.error == pytest.approx(of_statsmodels, rel=1e-5)


def test_where_only_images_count_it_is_the_textbook_s_2_8_standard_errors():
    resampled = np.random.default_rng(0).normal(0.1, 0.04, (4000, 1))
    found = interval(np.array([0.1]), resampled, 0.95)
    assert found.freedom == np.inf
    assert detectable(found) == pytest.approx((1.959964 + 0.841621) * resampled.std(ddof=1), rel=1e-4)
    assert detectable(found, 0.5) == pytest.approx(found.high - 0.1, rel=1e-4)
    assert detectable(interval(np.zeros(3), np.zeros((9, 3)), 0.95)) == 0


def test_a_paired_bootstrap_of_one_trial_agrees_with_delong():
    y, a, b = study(trials=1)
    found, theory = paired_bootstrap(y, a, b, np.arange(90), 3, draws=4000), delong(y, a[0], b[0])
    assert found.difference == pytest.approx(theory.difference)
    assert found.error == pytest.approx(theory.error, rel=0.05)
    assert found.p == pytest.approx(theory.p, abs=0.02)


def test_a_paired_bootstrap_counts_trials_and_is_the_same_for_the_same_seed():
    y, a, b = study()
    a = a + y * np.array([[-1.0], [0.0], [1.0]])
    found = paired_bootstrap(y, a, b, np.arange(90), 3)
    by_trial = [roc_auc_score(y, s) - roc_auc_score(y, r) for s, r in zip(a, b, strict=True)]
    assert found.difference == pytest.approx(np.mean(by_trial))
    assert found.error > np.std(by_trial, ddof=1) / np.sqrt(3)
    assert found == paired_bootstrap(y, a, b, np.arange(90), 3)
    assert found != paired_bootstrap(y, a, b, np.arange(90), 4)
    assert paired_bootstrap(y, a, b, np.arange(90), 3, level=0.8).low > found.low


def test_a_patient_s_second_image_that_says_the_same_adds_nothing():
    y, a, b = study(trials=1)
    once = paired_bootstrap(y, a, b, np.arange(90), 3)
    twice = (y.repeat(2), a.repeat(2, axis=1), b.repeat(2, axis=1))
    by_patient = paired_bootstrap(*twice, np.arange(90).repeat(2), 3)
    assert by_patient.error == pytest.approx(once.error, rel=1e-6)
    assert paired_bootstrap(*twice, np.arange(180), 3).error == pytest.approx(once.error / np.sqrt(2), rel=0.08)


@pytest.mark.parametrize("positives", [0, 1, 4, 5])
def test_one_class_only_is_refused(positives):
    y, a = np.r_[np.ones(positives), np.zeros(5 - positives)].astype(int), np.arange(5.0)
    for compared in (lambda: delong(y, a, a), lambda: paired_bootstrap(y, a[None], a[None], np.arange(5), 0)):
        with pytest.raises(UserError, match=f"^{positives} of 5 images have the finding; [^\n]*$"):
            compared()


def test_what_does_not_fit_is_refused():
    y, a, b = study()
    with pytest.raises(UserError, match=r"^90 labels, but scores of shape \(3, 90\) and \(2, 90\)"):
        paired_bootstrap(y, a, b[:2], np.arange(90), 0)
    with pytest.raises(UserError, match=r"^90 images, but the patients of 89"):
        paired_bootstrap(y, a, b, np.arange(89), 0)
    with pytest.raises(UserError, match=r"^labels must be 0 or 1, not 2"):
        delong(y + 1, a[0], b[0])
    with pytest.raises(UserError, match=r"^decisions b must be 0 or 1, not 0\.5"):
        mcnemar(y, y, y / 2)
