"""Boundaries between latents whose attributes are known, because the test planted them."""

import numpy as np
import pytest

from raremix.diagnosis.boundary import check, fit
from raremix.runtime.errors import UserError

DIMENSIONS, COUNT = 400, 300


def planted(strength: float, seed: int = 0):
    """Latents in which the first of two attributes moves along the first axis; the second is not in them at all."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((COUNT, 2)) < 0.5).astype(int)
    spread = np.linspace(1, 0.05, DIMENSIONS)
    latents = rng.normal(size=(COUNT, DIMENSIONS)) * spread
    latents[:, 0] += strength * (labels[:, 0] - 0.5)
    return latents, labels


def test_a_planted_attribute_is_found_and_an_absent_one_is_not():
    latents, labels = planted(4.0)
    found = fit(latents, labels, 20, "test", 40, 10)
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1)
    assert found.auc[0] > 0.95
    assert found.auc[0] > found.null[0]
    assert found.normals[0, 0] > 0.9, "towards where it is present"
    assert found.stability[0] > 0.9
    assert found.auc[1] < found.null[1] + 0.02
    assert found.stability[1] < found.stability[0]


def test_a_boundary_does_not_depend_on_the_attributes_beside_it():
    latents, labels = planted(4.0)
    together, alone = fit(latents, labels, 20, "test", 5, 2), fit(latents, labels[:, :1], 20, "test", 5, 2)
    assert alone.normals.shape == (1, DIMENSIONS)
    np.testing.assert_allclose(alone.normals[0], together.normals[0], atol=1e-9)
    np.testing.assert_allclose(alone.auc[0], together.auc[0])


def test_the_null_holds_for_labels_without_any_boundary():
    """One in twenty lies above the quantile; forty draws of it, and twenty pairs, are what the slack is for."""
    above = []
    for seed in range(20):
        latents, labels = planted(0.0, seed)
        found = fit(latents, labels, 10, str(seed), 40, 1)
        above += list(found.auc > found.null)
    assert np.mean(above) < 0.18


def related(count: int = 400):
    """Three attributes, each on an axis of 30, the second mostly the first and seldom with the third."""
    rng = np.random.default_rng(1)
    labels = (rng.random((count, 3)) < 0.5).astype(int)
    labels[:, 1] = np.where(rng.random(count) < 0.2, labels[:, 1], labels[:, 0])
    labels[:, 2] = np.where(rng.random(count) < 0.5, labels[:, 2], 1 - labels[:, 1])
    return rng.normal(size=(count, 30)) + 3 * (labels - 0.5) @ np.eye(3, 30), labels


def crossed(directions: np.ndarray, normals: np.ndarray) -> tuple[float, float]:
    """How far a unit step along each direction goes across its own boundary, and at most across another."""
    scores = directions @ normals.T / np.linalg.norm(directions, axis=1, keepdims=True)
    return float(scores.diagonal().min()), float(np.abs(scores - np.diag(scores.diagonal())).max())


def test_a_move_crosses_its_own_boundary_and_runs_along_the_others():
    latents, labels = related()
    found = fit(latents, labels, 30, "moves", 1, 1)
    _, others = crossed(found.normals, found.normals)
    assert others > 0.3, "the normals themselves cross each other"
    own, others = crossed(found.moves, found.normals)
    assert own > 0.5
    assert others < 0.05
    along = latents @ (found.moves / np.linalg.norm(found.moves, axis=1, keepdims=True)).T
    np.testing.assert_allclose(np.linalg.norm(found.moves, axis=1), along.std(axis=0))


def test_moves_of_permuted_labels_cross_no_boundary():
    latents, labels = related()
    found = fit(latents, labels, 30, "moves", 1, 1)
    assert (np.linalg.norm(found.permuted, axis=1) > 0.5).all()
    scores = found.permuted @ found.normals.T / np.linalg.norm(found.permuted, axis=1, keepdims=True)
    assert np.abs(scores).max() < 0.5
    own, _ = crossed(found.moves, found.normals)
    assert np.abs(scores).max() < own


def test_the_same_seed_gives_the_same_boundaries():
    first, second = (fit(*planted(1.0), 10, "again", 3, 3) for _ in range(2))
    np.testing.assert_array_equal(first.normals, second.normals)
    np.testing.assert_array_equal(first.null, second.null)
    np.testing.assert_array_equal(first.moves, second.moves)
    np.testing.assert_array_equal(first.permuted, second.permuted)


def test_labels_without_a_boundary_are_named():
    labels = np.zeros((100, 2), int)
    labels[:50, 0] = 1
    labels[:9, 1] = 1
    with pytest.raises(UserError, match=r"'tube' is present in 9 of 100 images; a boundary needs 10 on either side"):
        check(labels, ["male", "tube"], 20)
    with pytest.raises(UserError, match=r"'tube' is present in 91 of 100"):
        check(1 - labels, ["male", "tube"], 20)
    with pytest.raises(UserError, match=r"boundary\.components: 51 ask for 102 images or more, 100 are left"):
        check(labels, ["male", "tube"], 51)
    check(labels[:, :1], ["male"], 50)
