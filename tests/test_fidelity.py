"""Each measure against an independent implementation, and where there is too little to measure."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from raremix.evaluation.fidelity import Measuring, fidelity, kid, neighbourhood, similarity

REFERENCE = json.loads((Path(__file__).parent / "reference" / "fidelity.json").read_text())
HOW = Measuring(subsets=20, subset_size=30, neighbours=3, pairs=40)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 8)), 0.8 * rng.normal(size=(45, 8)) + 0.3


def rng():
    return np.random.default_rng(1)


def test_kid_of_one_whole_subset_is_that_of_torchmetrics_and_torch_fidelity(features):
    real, synthetic = features[0][:45], features[1]
    mean, spread = kid(real, synthetic, 1, 45, rng())
    assert mean == pytest.approx(float(poly_mmd(*map(torch.from_numpy, (real, synthetic)))), abs=1e-9)
    assert mean == pytest.approx(REFERENCE["kid"], abs=1e-9)  # of torch-fidelity
    assert spread == 0


def test_kid_over_subsets_is_that_of_torchmetrics(features, monkeypatch):
    with pytest.warns(UserWarning, match="memory footprint"):
        theirs = KernelInceptionDistance(nn.Identity(), subsets=50, subset_size=30)
    for kind, is_real in zip(features, (True, False), strict=True):
        theirs.update(torch.from_numpy(kind[np.lexsort(kind.T)]), real=is_real)
    same = rng()
    monkeypatch.setattr(torch, "randperm", lambda n: torch.from_numpy(same.permutation(n)))
    assert kid(*features, 50, 30, rng()) == pytest.approx([float(value) for value in theirs.compute()], abs=1e-9)


def test_kid_over_many_subsets_is_that_of_torch_fidelity(features):
    mean, spread = kid(*features, 4000, 30, rng())
    assert mean == pytest.approx(REFERENCE["kid_mean"], abs=4 * spread / math.sqrt(1000))  # of a thousand subsets
    assert spread == pytest.approx(REFERENCE["kid_sd"], rel=0.1)


def test_kid_of_one_population_is_zero_on_average_whatever_the_size():
    rows = np.random.default_rng(0).normal(size=(2000, 8))
    for size in (2, 10, 100):
        mean, spread = kid(rows[:1000], rows[1000:], 500, size, rng())
        assert abs(mean) < 4 * spread / math.sqrt(500) + 0.01


@pytest.mark.parametrize("k", [3, 5])
def test_neighbourhoods_are_those_of_prdc(features, k):
    assert neighbourhood(*features, k) == pytest.approx(REFERENCE["prdc"][str(k)], abs=1e-9)


def test_identical_sets_are_as_good_as_can_be(features):
    real = features[0]
    assert neighbourhood(real, real.copy(), 3) == (1, 1, 1, 1)
    assert kid(real, real.copy(), 1, 60, rng())[0] < 0


def test_far_images_have_no_precision_and_a_single_one_covers_little(features):
    real = features[0]
    assert neighbourhood(real, real + 100, 3) == (0, 0, 0, 0)
    precision, recall, _, coverage = neighbourhood(real, np.repeat(real[:1], 30, axis=0), 3)
    assert (precision, recall) == (1, 0)
    assert 0 < coverage < 0.2


def test_similarity_is_torchmetrics_over_all_pairs():
    pictures = tiny.images(5, 64)
    scaled = torch.from_numpy(pictures)[:, None].double() / 255
    first, second = zip(*[(a, b) for a in range(5) for b in range(5) if a != b], strict=True)
    weights = np.array([0.0448, 0.2856, 0.3001])
    theirs = multiscale_structural_similarity_index_measure(
        scaled[list(first)], scaled[list(second)], data_range=1.0, betas=tuple(weights / weights.sum())
    )
    assert similarity(pictures, 1000, rng()) == pytest.approx(float(theirs), abs=1e-5)


def test_pairs_drawn_at_random_tell_what_all_pairs_tell():
    pictures = tiny.images(40, 32)
    every = similarity(pictures, 10**6, rng())
    assert similarity(pictures, 600, rng()) == pytest.approx(every, abs=0.05)


@pytest.mark.parametrize("side", [11, 16, 21, 22, 43, 44, 64, 88, 98, 99, 128, 176])
def test_equal_pictures_are_similar_at_every_size(side):
    assert similarity(np.repeat(tiny.images(1, side), 3, axis=0), 10, rng()) == pytest.approx(1, abs=1e-5)


def test_more_diverse_pictures_are_less_similar():
    pictures = tiny.images(12, 64)
    few = np.concatenate([pictures[:2]] * 6)
    assert similarity(pictures, 100, rng()) < similarity(few, 100, rng())


def measured(real, synthetic):
    pictures = [tiny.images(len(kind), 64, seed) for seed, kind in enumerate((real, synthetic))]
    return fidelity(real, synthetic, *pictures, HOW, 5)


def test_a_row_says_how_many_images_it_is_of(features):
    row = measured(*features)
    assert (row.real, row.synthetic, row.kid_subset) == (60, 45, 30)
    assert (row.precision, row.recall, row.density, row.coverage) == pytest.approx(REFERENCE["prdc"]["3"])
    assert all(math.isfinite(value) for value in asdict(row).values())
    assert row == measured(*features)


def test_the_order_of_images_changes_nothing(features):
    pictures = [tiny.images(len(kind), 64, seed) for seed, kind in enumerate(features)]
    orders = [np.random.default_rng(7).permutation(len(kind)) for kind in features]
    shuffled = [[kind[order] for kind, order in zip(kinds, orders, strict=True)] for kinds in (features, pictures)]
    ours, theirs = (asdict(fidelity(*f, *p, HOW, 5)) for f, p in ((features, pictures), shuffled))
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(("real", "synthetic"), [(1, 45), (60, 1), (60, 0), (0, 0)])
def test_too_few_images_are_no_error(features, real, synthetic):
    row = measured(features[0][:real], features[1][:synthetic])
    assert (row.real, row.synthetic) == (real, synthetic)
    assert all(math.isnan(value) for value in (row.kid, row.precision, row.recall, row.density, row.coverage))
    assert math.isnan(row.similarity_synthetic) == (synthetic < 2)


def test_as_many_images_as_neighbours_are_too_few(features):
    assert all(map(math.isnan, neighbourhood(features[0][:3], features[1], 3)))
    assert not any(map(math.isnan, neighbourhood(features[0][:4], features[1], 3)))


def test_constant_features_say_nothing_of_neighbourhoods():
    same = np.full((20, 4), 0.1)
    assert all(map(math.isnan, neighbourhood(same, same, 3)))
    assert kid(same, same, 5, 10, rng()) == pytest.approx((0, 0), abs=1e-12)
