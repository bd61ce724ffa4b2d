"""Counterfactuals: edits that flip a decision, no larger than they need be."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from raremix.classifier.predict import probability
from raremix.diagnosis import counterfactual
from raremix.diagnosis.counterfactual import Decision, Search, counterfactuals
from raremix.generator.base import load
from raremix.generator.latents import roundtrip
from raremix.runtime.device import device
from raremix.runtime.errors import UserError

SEARCH = Search(steps=6, step=4, refinements=10, iterations=12, precision="float32")
IMAGES = tiny.images(6)


class Brightness(nn.Module):
    """Output 1 is how bright an image is, output 0 nothing."""

    def forward(self, images):
        bright = 4 * images.mean(dim=(1, 2, 3))
        return torch.stack([0 * bright, bright], dim=1)


@pytest.fixture(scope="module")
def pipeline(base):
    return load(base).to(device())


@pytest.fixture(scope="module")
def decision(pipeline):
    """Whether an image is brighter than most; two are."""
    chances = np.sort(probability(Brightness(), roundtrip(pipeline.vae, IMAGES, "float32"), "float32")[:, 1])
    return Decision(Brightness(), 1, float(chances[3:5].mean()))


def test_every_decision_is_flipped_to_the_other_side_and_hardly_further(pipeline, decision):
    found = counterfactuals(pipeline, IMAGES, decision, SEARCH)
    assert found.flipped.all()
    there = found.chances >= decision.threshold
    assert there[:, 0].sum() == 2
    assert (there[:, 0] != there[:, 1]).all()
    np.testing.assert_allclose(found.chances[:, 1], decision.threshold, atol=0.02)
    for side, pictures in enumerate((found.before, found.after)):
        assert pictures.dtype == np.uint8
        assert pictures.shape == IMAGES.shape
        np.testing.assert_array_equal(probability(Brightness(), pictures, "float32")[:, 1], found.chances[:, side])


def test_without_an_edit_the_image_comes_back(pipeline, decision):
    found = counterfactuals(pipeline, IMAGES, decision, SEARCH)
    best = roundtrip(pipeline.vae, IMAGES, "float32")
    assert abs(found.before.astype(int) - best).max() <= 2


def test_the_further_from_the_threshold_the_larger_the_edit(pipeline, decision):
    found = counterfactuals(pipeline, IMAGES, decision, SEARCH)
    way = abs(found.chances[:, 0] - decision.threshold)
    assert (found.sizes > 0).all()
    assert found.sizes[way.argmax()] == found.sizes.max()


def test_a_decision_that_nothing_moves_is_not_flipped(pipeline):
    found = counterfactuals(pipeline, IMAGES, Decision(Brightness(), 0, 0.6), SEARCH)
    assert not found.flipped.any()
    np.testing.assert_array_equal(found.after, found.before)
    assert (found.sizes == 0).all()


def test_too_few_iterations_flip_what_is_near_alone(pipeline, decision, monkeypatch):
    monkeypatch.setattr(counterfactual, "FIRST", 1e-6)
    found = counterfactuals(pipeline, IMAGES, decision, replace(SEARCH, iterations=1))
    assert not found.flipped.any()
    np.testing.assert_allclose(found.sizes, 1e-6, rtol=1e-3)


def test_the_same_again_and_in_batches(pipeline, decision, monkeypatch):
    found = counterfactuals(pipeline, IMAGES, decision, SEARCH)
    again = counterfactuals(pipeline, IMAGES, decision, SEARCH)
    monkeypatch.setattr(counterfactual, "BATCH", 4)
    parts = counterfactuals(pipeline, IMAGES, decision, SEARCH)
    for name, values in vars(found).items():
        np.testing.assert_array_equal(values, getattr(again, name))
        assert len(getattr(parts, name)) == len(IMAGES)
    np.testing.assert_allclose(parts.sizes, found.sizes, rtol=0.2)


def test_the_models_are_as_they_were(pipeline, decision):
    counterfactuals(pipeline, IMAGES, decision, SEARCH)
    for model in (pipeline.unet, pipeline.vae):
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_step_that_leaves_none_is_refused():
    with pytest.raises(UserError, match=r"params\.yaml, explain\.step: 6 leaves none of 6 steps"):
        replace(SEARCH, step=6)
