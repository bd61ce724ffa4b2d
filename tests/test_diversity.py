import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ortho_group

from raremix.evaluation.diversity import added_diversity, effective_number

REFERENCE = json.loads((Path(__file__).parent / "reference" / "fidelity.json").read_text())


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(40, 6))


def test_the_effective_number_is_the_vendi_score(features):
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    rows = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    values = np.linalg.svd(rows @ rows.T / 40, compute_uv=False)
    entropy = -sum(value * math.log(value) for value in values if value > 1e-12)
    assert effective_number(features, features) == pytest.approx(math.exp(entropy), abs=1e-9)
    assert effective_number(features, features) == pytest.approx(REFERENCE["vendi"], abs=1e-9)


def test_it_counts_kinds_of_images():
    kinds = ortho_group(dim=8, seed=0).rvs()[:5]
    reference = np.concatenate([np.eye(8), -np.eye(8)])  # of mean 0 and equal scales
    assert effective_number(kinds, reference) == pytest.approx(5)
    assert effective_number(np.repeat(kinds, 7, axis=0), reference) == pytest.approx(5)
    assert effective_number(kinds[:1], reference) == pytest.approx(1)


def test_repetitions_add_nothing_even_or_not(features):
    real, rng = features[:10], np.random.default_rng(1)
    assert added_diversity(real, np.repeat(real, 3, axis=0), features) == 0
    assert added_diversity(real, real[rng.integers(0, 3, 50)], features) == 0
    assert added_diversity(real, real[:0], features) == 0
    assert added_diversity(np.repeat(real, 2, axis=0), real[:1], features) == 0


def test_new_images_add_and_more_of_one_kind_takes_away(features):
    real, new = features[:10], features[10:]
    gain = added_diversity(real, new, features)
    assert gain > 0.2
    assert added_diversity(real, np.concatenate([new, new, real]), features) == pytest.approx(gain)
    alike = real[:1] + 1e-6 * np.random.default_rng(1).normal(size=(200, 6))
    assert added_diversity(real, alike, features) < -1


def test_the_order_changes_nothing(features):
    order = np.random.default_rng(1).permutation(30)
    shuffled = added_diversity(features[:10][::-1], features[10:][order], features[::-1])
    assert shuffled == pytest.approx(added_diversity(features[:10], features[10:], features))


def test_nothing_and_constant_features(features):
    same = np.full((20, 6), 0.1)
    assert math.isnan(effective_number(features[:0], features))
    assert effective_number(same, same) == 1
    assert added_diversity(same, same, features) == 0
