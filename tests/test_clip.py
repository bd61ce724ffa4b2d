"""CLIP as a witness: similarities of pictures and phrases, and what is said where there is no model."""

import numpy as np
import pytest
import tiny
import torch

from raremix.diagnosis import coarse
from raremix.diagnosis.clip import load
from raremix.diagnosis.eyes import Classifier, Eyes
from raremix.diagnosis.readers import Units
from raremix.generator.base import load as load_base
from raremix.runtime.errors import UserError

PHRASES = ["pacemaker", "purple lamp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CLIP model of random weights, as one would be downloaded."""
    path = tmp_path_factory.mktemp("clip")
    tiny.save_clip(path, PHRASES)
    return path


def test_similarities_are_clip_s_own(folder):
    """CLIPModel's logits are the same cosines, times its temperature."""
    clip, pictures = load(folder), tiny.images(3)
    found = clip.likeness(pictures, PHRASES)
    assert found.shape == (3, 2)
    pixels = clip.processor([np.stack([one] * 3, -1) for one in pictures], return_tensors="pt").pixel_values
    words = clip.tokens(PHRASES, padding="max_length", max_length=16, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = clip.model(input_ids=words, pixel_values=pixels).logits_per_image
        scale = clip.model.logit_scale.exp()
    np.testing.assert_allclose(found, (logits / scale).numpy(), atol=1e-5)


def test_samples_are_held_against_every_phrase(folder, base):
    units = Units(["male"], [0.5], [0.5], [0.0], [1.0])
    flat = Classifier(["a"], lambda pictures: np.zeros((len(pictures), 1)), np.array([0.5]))
    eyes = Eyes(_Nothing(), units, {"flat": flat}, "float32")
    found = coarse.pairs(load_base(base), PHRASES, 2, tiny.SAMPLING, eyes, flat, load(folder))
    assert [one.likeness.shape for one in found] == [(2, 2), (2, 2)]
    assert np.abs(found[0].likeness).max() > 0


class _Nothing(torch.nn.Module):
    def forward(self, pictures):
        return torch.zeros(len(pictures), 1)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"sensitivity\.clip: .*none holds no CLIP model with its tokenizer .* or null"):
        load(tmp_path / "none")
