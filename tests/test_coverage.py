from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, chi2, norm

from raremix.evaluation.simulated import AUROCS, Design, arms, coverage, image_errors, population
from raremix.evaluation.statistics import delong, detectable, interval

COVERAGE = Path(__file__).parent.parent / "docs" / "coverage.csv"
GRID = np.geomspace(1e-4, 1e4, 70)  # variance of the mean by trials, where what they share has variance 1


def found(own, trials, level=0.95):
    """The interval whose variances are 1 (what all trials share) and ``own`` (by trials), around 0."""
    spread, noise = np.arange(trials) - (trials - 1) / 2, np.array([[-1.0], [1.0]]) / np.sqrt(2)
    return interval(spread * np.sqrt(own * trials / spread.var(ddof=1)), np.tile(noise, (1, trials)), level)


def shares(values, trials, ratio):
    """``values`` on ``GRID`` where studies' own variances lie, and the true error, if trials vary ``ratio`` times as
    much as the images' standard error; the studies are the chi-square distribution's quantiles."""
    own = ratio**2 / trials * chi2.ppf((np.arange(2000) + 0.5) / 2000, trials - 1) / (trials - 1)
    return np.interp(own, GRID, values), np.sqrt(1 + ratio**2 / trials)


@pytest.mark.parametrize(
    ("trials", "low", "high"),
    [(2, 0.95, 0.989), (3, 0.95, 0.9635), (4, 0.947, 0.956), (5, 0.947, 0.956), (10, 0.947, 0.956)],
)
def test_limits_cover_as_often_as_they_say_whatever_the_variances(trials, low, high):
    """Without chance: an integral over normal and chi-square distributions."""
    halves = np.array([found(own, trials).high for own in GRID])
    for ratio in (0, 0.5, 1, 1.5, 2, 3, 5, 10):
        half, error = shares(halves, trials, ratio)
        assert low <= np.mean(1 - 2 * norm.sf(half / error)) <= high, ratio


@pytest.mark.parametrize("trials", [3, 4, 5, 8])
def test_a_p_below_any_level_is_no_more_frequent_than_that(trials):
    """Holm's correction takes the smallest p of three at a third of the level: that tail has to be right, too."""
    for alpha in (0.2, 0.05, 0.05 / 3, 0.01, 0.001):
        halves = np.array([found(own, trials, 1 - alpha).high for own in GRID])
        for ratio in (0, 1, 2, 4, 5.5, 8, 20):
            half, error = shares(halves, trials, ratio)
            assert np.mean(2 * norm.sf(half / error)) <= 1.06 * alpha, (alpha, ratio)


@pytest.mark.parametrize("trials", [3, 5])
def test_what_is_called_detectable_is_detected_four_times_in_five(trials):
    """If a study estimates its variances rightly, as many others like it find the difference."""
    halves = np.array([found(own, trials).high for own in GRID])
    for ratio in (0, 1, 3):
        half, error = shares(halves, trials, ratio)
        difference = detectable(found(max(ratio**2 / trials, 1e-9), trials))
        assert np.mean(norm.sf((half - difference) / error)) == pytest.approx(0.8, abs=0.05), ratio


def test_in_simulated_studies_limits_cover_and_equal_arms_are_seldom_told_apart():
    """docs/coverage.csv has two thousand studies a cell; so few fail only by much, by chance once in two thousand."""
    studies = 120
    table = coverage(Design(3, 1.0), studies, 60)
    assert len(table) == 4
    assert (table.coverage * studies >= binom.ppf(5e-4, studies, 0.95)).all()
    assert (table.false_alarms * studies <= binom.ppf(1 - 5e-4, studies, 0.05)).all()
    assert (table.family * studies <= binom.ppf(1 - 5e-4, studies, 0.05)).all()


def test_the_simulated_arms_have_the_skill_and_the_variation_that_they_should():
    labels, weights = population(1)
    assert labels.sum(axis=0).tolist() == [160, 300]
    assert np.average(labels, axis=0, weights=weights) == pytest.approx([0.05, 0.15])
    errors, (many, _) = image_errors(), population(20)
    found = []
    for seed in range(40):
        scores = arms(many, Design(1, 2.0), errors, np.random.default_rng(seed))[:, 0, :, 1]
        found.append([delong(many[:, 1], scores[0], other) for other in scores[1:]])
    best, worst = [row[0].auroc_a for row in found], [row[-1].auroc_b for row in found]
    assert (np.mean(best), np.mean(worst)) == pytest.approx((AUROCS[0], AUROCS[-1]), abs=4 * errors[1] * 40**-0.5)
    differences = np.array([[one.difference for one in row[:-1]] for row in found])
    assert differences.std() == pytest.approx(errors[1] * np.sqrt(2**2 + 1 / 20), rel=0.25)


@pytest.mark.parametrize("trials", [3, 5])
def test_the_measured_coverage_is_what_was_promised(trials):
    table = pd.read_csv(COVERAGE)
    table = table[table.trials == trials]
    assert (table.studies >= 2000).all()
    assert table.ratio.max() == 3
    assert table.coverage.between(0.93, 0.97).all()
    assert (table.false_alarms <= 0.06).all()
    assert (table.family <= 0.06).all()
