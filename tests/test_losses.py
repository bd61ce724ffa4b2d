import pytest

from raremix.evaluation.losses import POINTS, loss_curves


def test_a_curve_is_the_mean_over_its_runs_and_windows():
    table = loss_curves([("a", [4.0] * 40), ("b", [1.0] * 3), ("a", list(range(40)))])
    a, b = (table[table["curve"] == name] for name in "ab")
    assert len(a) == POINTS
    assert a["step"].tolist() == list(range(2, 41, 2))
    assert a["loss"].tolist()[:2] == pytest.approx([(4 + 0.5) / 2, (4 + 2.5) / 2])
    assert b["step"].tolist() == [1, 2, 3]
    assert b["loss"].tolist() == [1, 1, 1]
