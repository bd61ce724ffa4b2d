"""Effects from edits that move more than their target, and from images, in worlds whose slopes the test knows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from raremix.diagnosis.readers import Units
from raremix.diagnosis.sensitivity import (
    DRAWS,
    Changes,
    Seen,
    as_they_are,
    edited,
    effects,
    interval,
    null,
    resampled,
)

IMAGES, ATTRIBUTES = 120, 4
SLOPES = np.array([[1.0, 0.0], [-0.5, 0.3], [0.0, 0.0], [0.2, -0.8]])  # of the logits a unit, by finding
UNITS = Units(["a", "b", "c", "d"], [0.0] * 4, [1.0] * 4, [-1.0, -0.5, -1.2, -1.0], [1.0, 0.5, 1.3, 1.0])
LOW, HIGH = np.array(UNITS.low), np.array(UNITS.high)
READABLE = [0, 1, 2, 3]


def images(seed: int = 0, count: int = 4 * IMAGES, noise: float = 0.1) -> Seen:
    """Pictures whose logits follow their attributes, but for ``noise``."""
    rng = np.random.default_rng(seed)
    read = rng.normal(size=(count, ATTRIBUTES))
    return Seen(read, expit([-2.0, -1.0] + read @ SLOPES + noise * rng.normal(size=(count, 2))))


def truth(seen: Seen) -> np.ndarray:
    """What becomes of the probabilities if one attribute is set to either end, with the slopes as they are."""
    found = []
    for k in range(ATTRIBUTES):
        at = np.clip(seen.read[:, k], UNITS.natural[0][k], UNITS.natural[1][k])[:, None]
        ends = [expit(logit(seen.probability) + SLOPES[k] * (end[k] - at)).mean(axis=0) for end in (LOW, HIGH)]
        found.append(ends[1] - ends[0])
    return np.array(found)


def world(seed: int = 0, noise: float = 0.05, leak: float = 0.8) -> Changes:
    """Every attribute edited there and back; each edit moves the next attribute almost as far as its own."""
    rng, before = np.random.default_rng(seed), images(seed, IMAGES).probability
    targets, doses = np.repeat(np.arange(ATTRIBUTES), 2), np.tile([-1.0, 1.0], ATTRIBUTES)
    each = np.eye(ATTRIBUTES) + leak * np.roll(np.eye(ATTRIBUTES), 1, axis=1)
    read = doses[:, None, None] * each[targets][:, None] * rng.uniform(0.5, 1.5, (len(targets), IMAGES, 1))
    after = expit(logit(before) + read @ SLOPES + noise * rng.normal(size=(len(targets), IMAGES, 2)))
    flipped = (after > 0.5) != (before > 0.5)
    return Changes(targets, doses, read, before, after - before, flipped, np.ones(read.shape[:2], bool))


def test_known_slopes_are_found_although_every_edit_moves_a_second_attribute():
    changes, seen = world(), images()
    found, draws = effects([edited(changes)], seen, UNITS, READABLE, "test")
    np.testing.assert_allclose(found, truth(seen), atol=0.01)
    assert draws.shape == (DRAWS, ATTRIBUTES, 2)
    own = (changes.probability[1::2] - changes.probability[::2]).mean(axis=1)
    naive = own / changes.moved(ATTRIBUTES)[:, None] * (HIGH - LOW)[:, None]
    assert np.abs(naive - truth(seen)).max() > 0.05, "an attribute's own edits alone are misleading"


def test_images_as_they_are_tell_the_same_without_an_edit():
    seen = images()
    found, _ = effects([as_they_are(seen)], seen, UNITS, READABLE, "test")
    np.testing.assert_allclose(found, truth(seen), atol=0.01)


@pytest.mark.parametrize("dose", [1.0, 0.1])
def test_two_sources_count_the_same_however_far_edits_go(dose):
    """Edits, one attribute each, that say the opposite of the images: together they say next to nothing."""
    seen, changes = images(noise=0.0), world(noise=0.0, leak=0.0)
    read = dose * changes.read
    opposed = replace(changes, read=read, probability=expit(logit(changes.before) - read @ SLOPES) - changes.before)
    alone, _ = effects([edited(opposed)], seen, UNITS, READABLE, "test")
    np.testing.assert_allclose(np.sign(alone[SLOPES != 0]), -np.sign(truth(seen)[SLOPES != 0]))
    found, _ = effects([edited(opposed), as_they_are(seen)], seen, UNITS, READABLE, "test")
    assert np.abs(found).max() < 0.1 * np.abs(truth(seen)).max()


def test_edits_beyond_what_is_natural_do_not_count():
    changes, seen = world(noise=0.0), images()
    wild = replace(changes, probability=changes.probability.copy(), natural=changes.natural.copy())
    wild.probability[::2], wild.natural[::2] = 0.3, False
    found, _ = effects([edited(wild)], seen, UNITS, READABLE, "test")
    np.testing.assert_allclose(found, truth(seen), atol=0.01)


def test_an_effect_is_a_change_in_probability_and_small_where_the_classifier_is_sure():
    sure = images()
    sure = replace(sure, probability=expit(logit(sure.probability) - 6))
    found, _ = effects([edited(world())], sure, UNITS, READABLE, "test")
    unsure, _ = effects([edited(world())], images(), UNITS, READABLE, "test")
    assert np.abs(found).max() < 0.05 * np.abs(unsure).max()
    certain = replace(sure, probability=np.zeros_like(sure.probability))
    assert np.isfinite(effects([as_they_are(certain)], certain, UNITS, READABLE, "test")[0]).all()


def test_what_is_not_readable_has_no_effect():
    seen = images()
    found, draws = effects([edited(world(leak=0.0))], seen, UNITS, [0, 3], "test")
    assert np.isnan(found[[1, 2]]).all()
    assert np.isnan(draws[:, [1, 2]]).all()
    np.testing.assert_allclose(found[[0, 3]], truth(seen)[[0, 3]], atol=0.01)


@pytest.mark.parametrize("kinds", [("edits",), ("images",), ("edits", "images")])
def test_intervals_hold_the_truth(kinds):
    held, widths, told_over = [], [], images()
    true = truth(told_over)
    for seed in range(24):
        parts = {"edits": edited(world(seed, noise=1.0)), "images": as_they_are(images(seed + 50, noise=1.0))}
        sources = [parts[kind] for kind in kinds]
        found, draws = effects(sources, told_over, UNITS, READABLE, str(seed))
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        assert ((low < found) & (found < high)).all()
        held += list(((low <= true) & (true <= high)).ravel())
        widths.append((high - low).mean())
    assert 0.9 < np.mean(held) < 0.99
    assert np.mean(widths) < 0.3


def test_how_far_own_edits_moved_is_from_the_lowest_dose_to_the_highest():
    read = np.zeros((4, 2, 3))
    read[:, :, 1] = np.array([[1.0, 3.0], [-1.0, -1.0], [0.2, 0.2], [9.0, 9.0]])
    natural = np.ones(read.shape[:2], bool)
    changes = Changes(np.array([1, 1, 1, 0]), np.array([2.0, -2.0, 0.5, 1.0]), read, read[0], read, read > 0, natural)
    assert changes.moved(3).tolist() == [0, 3, 0]


def test_what_means_nothing_is_scaled_like_an_effect():
    """Spans of -0.1 to 0.3 at edits that typically go a third of the way."""
    spans = np.linspace(-0.1, 0.3, 41)
    probability = np.stack([sign * spans / 2 for sign in (-1, 1)], 1).reshape(-1, 1, 1) + np.zeros((1, 5, 1))
    targets, doses = np.repeat(np.arange(41), 2), np.tile([-2.0, 2.0], 41)
    pointless = Changes(
        targets, doses, probability, probability[0], probability, probability > 0, np.ones(probability.shape[:2], bool)
    )
    low, high = null(pointless, np.array([0.5, 1.0, 2.0]), np.array([1.5, 3.0, 2.0]))
    assert (low[0], high[0]) == pytest.approx((3 * -0.09, 3 * 0.29))
    low, high = null(pointless, np.array([]), np.array([]))
    assert (low[0], high[0]) == pytest.approx((-0.09, 0.29)), "with nothing to scale by, as they are"


def test_an_interval_is_of_the_mean_over_images():
    values = np.random.default_rng(0).normal([1.0, -2.0], [0.1, 3.0], size=(100, 2))
    mean, low, high = interval(values, "test")
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(high - low, 2 * 1.96 * values.std(axis=0) / 10, rtol=0.15)
    np.testing.assert_array_equal(resampled(values, "test"), resampled(values, "test"))
    _, low, high = interval(np.full((5, 1), 0.3), "test")
    assert (low[0], high[0]) == pytest.approx((0.3, 0.3)), "of images that agree there is no doubt"
