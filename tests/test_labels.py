import numpy as np
import pytest

from raremix.data.labels import agreement, decide

VOTES = np.array([[0, 1], [2, 3], [1, 2]])
THREE = np.array([3, 3, 3])


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("any", [[0, 1], [1, 1], [1, 1]]),
        ("majority", [[0, 0], [1, 1], [0, 1]]),
        ("unanimous", [[0, 0], [0, 1], [0, 0]]),
    ],
)
def test_rules(rule, wanted):
    assert decide(VOTES, THREE, rule).tolist() == wanted


@pytest.mark.parametrize("rule", ["any", "majority", "unanimous"])
def test_a_consensus_is_taken_as_it_is(rule):
    assert decide(np.array([[0, 1]]), np.array([1]), rule).tolist() == [[0, 1]]


def test_half_of_the_readers_are_no_majority():
    assert decide(np.array([[1, 2]]), np.array([2]), "majority").tolist() == [[0, 1]]


def test_agreement_is_two_readers_over_any():
    first, second = agreement(VOTES)
    assert first == {"any": 2, "two": 1, "ratio": 0.5}
    assert second == {"any": 3, "two": 2, "ratio": 0.6667}
    assert agreement(np.zeros((2, 1)))[0]["ratio"] is None
