"""How far pictures are apart, and the tripwire: training images in validation or test."""

import numpy as np
import pytest
from altered import SLIGHT, phantoms

from raremix.data.leaks import NEAR, check_leaks
from raremix.data.resemblance import distances
from raremix.runtime.errors import UserError

TRAINING, EVALUATION = 40, 30
NAMES = [f"t{i}" for i in range(TRAINING)], [f"e{i}" for i in range(EVALUATION)]


@pytest.fixture(scope="module")
def parts():
    return phantoms(0, TRAINING), phantoms(TRAINING, TRAINING + EVALUATION)


def check(training, evaluation):
    check_leaks(training, NAMES[0], evaluation, NAMES[1])


def apart(pictures, others):
    return np.concatenate(list(distances(pictures, others)))


def test_different_patients_are_no_leak(parts):
    check(*parts)
    assert apart(*parts).min() > 2 * NEAR


@pytest.mark.parametrize("change", SLIGHT)
@pytest.mark.parametrize("planted", ["training", "evaluation"])
def test_a_planted_leak_fails_and_is_named(parts, change, planted):
    training, evaluation = (part.copy() for part in parts)
    if planted == "training":
        training[17] = SLIGHT[change](evaluation[5])
    else:
        evaluation[5] = SLIGHT[change](training[17])
    with pytest.raises(
        UserError, match=r"'t17'.* 'e5' of validation or test are nearly the same image; take"
    ) as raised:
        check(training, evaluation)
    assert "\n" not in str(raised.value)


def test_several_leaks_are_counted_and_the_nearest_is_named(parts):
    training, evaluation = (part.copy() for part in parts)
    evaluation[5], evaluation[9] = training[17], SLIGHT["noise"](training[3])
    with pytest.raises(UserError, match=r"'t17'.*'e5'.*\(as 1 more pairs\)"):
        check(training, evaluation)


def test_distances_are_of_pairs_whatever_the_order_and_the_chunks(parts):
    many = np.concatenate([parts[1]] * 5)  # more than a chunk
    order = np.random.default_rng(0).permutation(len(many))
    expected = np.tile(apart(parts[1], parts[0]), (5, 1))
    assert apart(many[order], parts[0][::-1]) == pytest.approx(expected[order][:, ::-1], abs=1e-4)


def test_a_copy_is_at_no_distance_and_a_shift_costs_less_than_another_patient(parts):
    training, evaluation = parts
    assert apart(training, training).diagonal().max() < 0.003
    shifted = np.roll(training, 2, axis=1)
    assert apart(shifted, training).diagonal().max() < apart(evaluation, training).min()


@pytest.mark.parametrize("side", [8, 16, 32, 63, 100, 256])
def test_every_side_is_read(side):
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side)).astype(np.uint8)
    found = apart(pictures, pictures)
    assert found.diagonal().max() < 0.003
    assert found[~np.eye(3, dtype=bool)].min() > 0.3


def test_pictures_of_one_grey_are_copies_of_nothing(parts):
    grey = np.full((2, 64, 64), 100, np.uint8)
    assert (apart(parts[1], grey) == 1).all()
    assert (apart(grey, parts[0]) > 0.5).all()
    assert (apart(grey, grey) == 1).all()


def test_nothing_to_compare_is_no_leak(parts):
    check_leaks(parts[0], NAMES[0], parts[1][:0], [])
