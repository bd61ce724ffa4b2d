"""Effects from edits that move more than their target, in worlds whose slopes the test knows."""

from dataclasses import replace

import numpy as np
import pytest

from raremix.diagnosis.sensitivity import (
    DRAWS,
    Changes,
    agreement,
    effects,
    interval,
    null,
    resampled,
)

IMAGES, ATTRIBUTES, REACH = 120, 4, np.array([2.0, 1.0, 2.5, 2.0])
SLOPES = np.array([[0.20, 0.00], [-0.10, 0.05], [0.0, 0.0], [0.02, -0.15]])  # a unit, by finding


def world(seed: int = 0, noise: float = 0.02, leak: float = 0.8) -> Changes:
    """Every attribute edited there and back; each edit moves the next attribute almost as far as its own."""
    rng = np.random.default_rng(seed)
    targets, doses = np.repeat(np.arange(ATTRIBUTES), 2), np.tile([-1.0, 1.0], ATTRIBUTES)
    each = np.eye(ATTRIBUTES) + leak * np.roll(np.eye(ATTRIBUTES), 1, axis=1)
    read = doses[:, None, None] * each[targets][:, None] * rng.uniform(0.5, 1.5, (len(targets), IMAGES, 1))
    probability = read @ SLOPES + noise * rng.normal(size=(len(targets), IMAGES, 2))
    return Changes(targets, doses, read, probability, np.abs(probability) > 0.1, np.ones(read.shape[:2], bool))


def test_known_slopes_are_found_although_every_edit_moves_a_second_attribute():
    changes = world()
    found, draws = effects(changes, REACH, [0, 1, 2, 3], "test")
    np.testing.assert_allclose(found, SLOPES * REACH[:, None], atol=0.02)
    assert draws.shape == (DRAWS, ATTRIBUTES, 2)
    moved = changes.moved(ATTRIBUTES)
    spans = (changes.probability[1::2] - changes.probability[::2]).mean(axis=1)
    naive = spans / moved[:, None] * REACH[:, None]
    assert np.abs(naive - SLOPES * REACH[:, None]).max() > 0.1, "an attribute's own edits alone are misleading"


def test_edits_beyond_what_is_natural_do_not_count():
    changes = world(noise=0.0)
    wild = replace(changes, probability=changes.probability.copy(), natural=changes.natural.copy())
    wild.probability[::2], wild.natural[::2] = 9.0, False
    found, _ = effects(wild, REACH, [0, 1, 2, 3], "test")
    np.testing.assert_allclose(found, SLOPES * REACH[:, None], atol=0.02)


def test_what_is_not_readable_has_no_effect():
    found, draws = effects(world(leak=0.0), REACH, [3, 0], "test")
    assert np.isnan(found[[1, 2]]).all()
    assert np.isnan(draws[:, [1, 2]]).all()
    np.testing.assert_allclose(found[[0, 3]], (SLOPES * REACH[:, None])[[0, 3]], atol=0.02)


def test_intervals_hold_the_truth():
    held, widths = [], []
    for seed in range(40):
        found, draws = effects(world(seed, noise=0.2), REACH, [0, 1, 2, 3], str(seed))
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        assert ((low < found) & (found < high)).all()
        held += list(((low <= SLOPES * REACH[:, None]) & (SLOPES * REACH[:, None] <= high)).ravel())
        widths.append((high - low).mean())
    assert 0.9 < np.mean(held) < 0.99
    assert np.mean(widths) < 0.3


def test_how_far_own_edits_moved_is_from_the_lowest_dose_to_the_highest():
    read = np.zeros((4, 2, 3))
    read[:, :, 1] = np.array([[1.0, 3.0], [-1.0, -1.0], [0.2, 0.2], [9.0, 9.0]])
    natural = np.ones(read.shape[:2], bool)
    changes = Changes(np.array([1, 1, 1, 0]), np.array([2.0, -2.0, 0.5, 1.0]), read, read, read > 0, natural)
    assert changes.moved(3).tolist() == [0, 3, 0]


def test_what_means_nothing_is_scaled_like_an_effect():
    """Spans of -0.1 to 0.3 at edits that typically go a third of the way."""
    spans = np.linspace(-0.1, 0.3, 41)
    probability = np.stack([sign * spans / 2 for sign in (-1, 1)], 1).reshape(-1, 1, 1) + np.zeros((1, 5, 1))
    targets, doses = np.repeat(np.arange(41), 2), np.tile([-2.0, 2.0], 41)
    pointless = Changes(targets, doses, probability, probability, probability > 0, np.ones(probability.shape[:2], bool))
    low, high = null(pointless, np.array([0.5, 1.0, 2.0]), np.array([1.5, 3.0, 2.0]))
    assert (low[0], high[0]) == pytest.approx((3 * -0.09, 3 * 0.29))
    low, high = null(pointless, np.array([]), np.array([]))
    assert (low[0], high[0]) == pytest.approx((-0.09, 0.29)), "with nothing to scale by, as they are"


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


def test_an_interval_is_of_the_mean_over_images():
    values = np.random.default_rng(0).normal([1.0, -2.0], [0.1, 3.0], size=(100, 2))
    mean, low, high = interval(values, "test")
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(high - low, 2 * 1.96 * values.std(axis=0) / 10, rtol=0.15)
    np.testing.assert_array_equal(resampled(values, "test"), resampled(values, "test"))
    _, low, high = interval(np.full((5, 1), 0.3), "test")
    assert (low[0], high[0]) == pytest.approx((0.3, 0.3)), "of images that agree there is no doubt"
