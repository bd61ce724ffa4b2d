"""Guidance that is kept within limits: image by image, never further than told, and not at all where it is short."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from raremix.generator.base import load
from raremix.generator.guidance import limited
from raremix.generator.sample import Order, draw, draw_all

UNGUIDED = torch.tensor([[3.0, 4.0], [6.0, 8.0]]).reshape(2, 2, 1, 1)  # norms 5 and 10
PROMPTED = torch.tensor([[3.0, 5.0], [6.0, 12.0]]).reshape(2, 2, 1, 1)  # 1 and 4 away


class Fixed(torch.nn.Module):
    """A UNet that predicts what it is told, the unguided half first."""

    def forward(self):
        return (torch.cat([UNGUIDED, PROMPTED]),)


def guided(limit, guidance=2.0, inside=None):
    unet = Fixed()
    with limited(unet, guidance, limit, inside):
        unguided, prompted = unet()[0].chunk(2)
    assert (unet()[0] == Fixed()()[0]).all(), "the limit must end with its context"
    return unguided + guidance * (prompted - unguided)


def test_what_is_further_than_the_limit_is_brought_back_to_it_in_its_own_direction():
    """Two times 1 over 5 is below one half and stays; two times 4 over 10 is brought from .8 to .5."""
    expected = torch.tensor([[3.0, 6.0], [6.0, 13.0]]).reshape(2, 2, 1, 1)
    torch.testing.assert_close(guided(0.5), expected)


def test_a_guidance_beyond_all_limits_moves_every_prediction_as_far():
    moved = (guided(0.5, guidance=1000.0) - UNGUIDED).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, torch.tensor([2.5, 5.0]), rtol=1e-4, atol=0)


def test_no_limit_and_a_wide_one_change_nothing():
    assert (guided(None) == guided(100.0)).all()


def test_a_prompt_that_says_nothing_new_moves_nothing(monkeypatch):
    monkeypatch.setattr("test_guidance.PROMPTED", UNGUIDED.clone())
    assert (guided(0.5) == UNGUIDED).all()


def test_outside_its_place_guidance_moves_nothing_and_inside_it_all_that_the_limit_allows(monkeypatch):
    """3 away on the left, 4 on the right of an image of norm 10: .5 allows 5, all on the left if the place is there."""
    unguided = torch.tensor([6.0, 8.0]).reshape(1, 1, 1, 2)
    monkeypatch.setattr("test_guidance.UNGUIDED", unguided)
    monkeypatch.setattr("test_guidance.PROMPTED", unguided + torch.tensor([3.0, 4.0]).reshape(1, 1, 1, 2))
    left = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    assert (guided(None, inside=left) - unguided).flatten().tolist() == [6.0, 0.0]
    assert (guided(0.5, inside=left) - unguided).flatten().tolist() == [5.0, 0.0]
    assert (guided(0.5, inside=1 - left) - unguided).flatten().tolist() == [0.0, 5.0]
    assert (guided(0.5, inside=0 * left) == unguided).all()


def test_an_image_is_led_where_it_is_told(base):
    pipeline, far = load(base), replace(tiny.SAMPLING, guidance=50.0)
    nowhere, everywhere = np.zeros((2, 1, 8, 8), np.float32), np.ones((2, 1, 8, 8), np.float32)
    order = Order(tiny.PROMPTS[:1], tiny.PROMPTS[1:2], [3], inside=nowhere[0])
    unguided = draw(pipeline, Order(tiny.PROMPTS[1:2], tiny.PROMPTS[1:2], [3]), far)
    assert (draw(pipeline, order, far) == unguided).all()
    whole = draw(pipeline, replace(order, inside=everywhere[0]), far)
    assert (whole == draw(pipeline, replace(order, inside=None), far)).all()
    assert (whole != unguided).any()


def test_the_limit_ends_when_drawing_fails():
    unet = Fixed()
    with pytest.raises(KeyboardInterrupt), limited(unet, 2.0, 0.1):
        raise KeyboardInterrupt
    assert (unet()[0] == Fixed()()[0]).all()


def test_a_limit_holds_images_near_the_unguided_ones_and_does_not_touch_those(base):
    pipeline, far = load(base), replace(tiny.SAMPLING, guidance=50.0)
    pairs = Order(tiny.PROMPTS[:1] * 2, tiny.PROMPTS[1:2] * 2, [3, 4])
    alike = Order(tiny.PROMPTS[1:2] * 2, tiny.PROMPTS[1:2] * 2, [3, 4])
    unguided = draw(pipeline, alike, far)
    assert (draw(pipeline, alike, far, guidance_limit=0.1) == unguided).all()
    near, nearer = (
        np.abs(draw(pipeline, pairs, far, guidance_limit=limit).astype(float) - unguided).mean()
        for limit in (0.5, 0.05)
    )
    assert 0 < nearer < near < np.abs(draw(pipeline, pairs, far).astype(float) - unguided).mean()


def test_images_that_are_drawn_into_files_are_limited_too(base, tmp_path):
    pipeline, far = load(base), replace(tiny.SAMPLING, guidance=50.0)
    order = Order(tiny.PROMPTS[:1], tiny.PROMPTS[1:2], [3])
    draw_all(pipeline, order, [tmp_path / "x-0-pos.png"], far, 1.0, guidance_limit=0.05)
    drawn = np.asarray(Image.open(tmp_path / "x-0-pos.png"))
    assert (drawn == draw(pipeline, order, far, guidance_limit=0.05)[0]).all()
    assert (drawn != draw(pipeline, order, far)[0]).any()
