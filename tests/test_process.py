"""The way from noise to image: the same as diffusers', readable, changeable, and walked back."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from diffusers import DDIMScheduler

from raremix.diagnosis.process import Edit, course, invert, walk, words
from raremix.generator.base import load
from raremix.generator.sample import Order, plain
from raremix.runtime.errors import UserError

STEPS = 5


@pytest.fixture(scope="module")
def pipeline(base):
    loaded = load(base)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture
def way(pipeline):
    """Call it with options of ``walk``: two images of the same noise, guidance 2."""
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    text = words(pipeline, plain(tiny.PROMPTS[:2], [0, 1]), 2.0, "float32")

    @torch.no_grad()
    def walked(guidance=2.0, **options):
        asked = replace(text, guidance=guidance)
        return walk(pipeline.unet, noise, asked, course(pipeline, STEPS), "float32", **options)

    return walked


def everywhere(value: float, channels: int = 16, side: int = 2) -> dict[int, torch.Tensor]:
    return {step: torch.full((1, channels, side, side), value) for step in range(STEPS)}


@pytest.mark.parametrize("predicts", ["v_prediction", "epsilon"])
def test_unedited_it_is_diffusers_ddim(pipeline, way, monkeypatch, predicts):
    """On even spacing from the start: on any other, diffusers' DDIM steps to a timestep that is not the next one."""
    options = {"prediction_type": predicts, "timestep_spacing": "leading"}
    monkeypatch.setattr(pipeline, "scheduler", DDIMScheduler.from_config(pipeline.scheduler.config, **options))
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    theirs = pipeline(
        prompt=tiny.PROMPTS[:2], num_inference_steps=STEPS, guidance_scale=2.0, latents=noise, output_type="latent"
    ).images
    torch.testing.assert_close(way(), theirs, rtol=1e-4, atol=1e-4)


def test_h_and_e_are_what_the_middle_block_gives_and_the_unet_gets(pipeline, way):
    given, taken, seen = [], [], []
    middle = pipeline.unet.mid_block.register_forward_hook(lambda _m, _i, output: given.append(output))
    whole = pipeline.unet.register_forward_pre_hook(lambda _m, inputs: taken.append(inputs[0]))
    way(seen=lambda step, h, e: seen.append((step, h, e)))
    middle.remove()
    whole.remove()
    assert [step for step, _, _ in seen] == list(range(STEPS))
    for (_, h, e), out, both in zip(seen, given, taken, strict=True):
        assert h.shape == (2, 2, 16, 2, 2)
        assert torch.equal(h.flatten(0, 1), out)
        assert torch.equal(torch.cat([e, e]), both)


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("branch", ["both", "prompt", "negative"])
def test_a_zero_edit_of_h_gives_the_same_bits(way, branch, asymmetric):
    assert torch.equal(way(), way(edit=Edit("h", everywhere(0.0), branch, asymmetric)))


def test_a_zero_edit_of_e_gives_the_same_bits(way):
    assert torch.equal(way(), way(edit=Edit("e", everywhere(0.0, 4, 4))))


@pytest.mark.parametrize("start", range(STEPS + 1))
@pytest.mark.parametrize(("space", "channels", "side"), [("h", 16, 2), ("e", 4, 4)])
def test_a_zero_edit_gives_the_same_bits_from_any_start_given_or_made(way, space, channels, side, start):
    plain_way = way(start=start)
    for shifts in (everywhere(0.0, channels, side), dict.fromkeys(range(STEPS), lambda values: 0 * values)):
        assert torch.equal(plain_way, way(edit=Edit(space, shifts), start=start))


@pytest.mark.parametrize("branch", ["both", "prompt", "negative"])
def test_a_shift_that_is_made_of_h_gets_each_branch_of_each_image(way, branch):
    """Doubling h at a step is adding what the plain way saw there."""
    seen, given = [], []

    def double(h):
        given.append(h)
        return h

    way(seen=lambda _, h, _e: seen.append(h))
    edited = []
    way(edit=Edit("h", {2: double}, branch, asymmetric=False), seen=lambda _, h, _e: edited.append(h))
    factors = {"both": (2, 2), "prompt": (1, 2), "negative": (2, 1)}[branch]
    for k, factor in enumerate(factors):
        torch.testing.assert_close(edited[2][k], factor * seen[2][k])
    assert all(h.shape == (2, 16, 2, 2) for h in given)


def test_a_shift_that_is_made_of_e_gets_the_latent_of_its_step(way):
    plain_way, edited = [], []
    way(seen=lambda _, _h, e: plain_way.append(e))
    way(edit=Edit("e", {1: lambda e: e}), seen=lambda _, _h, e: edited.append(e))
    assert torch.equal(edited[1], 2 * plain_way[1])


def test_from_another_start_the_steps_before_it_are_left_out(way):
    seen, later = [], []
    way(seen=lambda step, _h, e: seen.append((step, e)))
    way(start=2, seen=lambda step, _h, e: later.append((step, e)))
    assert [step for step, _ in later] == [2, 3, 4]
    assert torch.equal(later[0][1], seen[0][1]), "the noise is taken for what step 2 finds"


def test_an_edit_acts_from_its_step_on_and_is_seen(way):
    plain_way, edited = [], []
    way(seen=lambda _, h, e: plain_way.append((h, e)))
    shift = {2: everywhere(0.5)[2]}
    way(edit=Edit("h", shift, "prompt"), seen=lambda _, h, e: edited.append((h, e)))
    for step in range(3):
        assert torch.equal(plain_way[step][1], edited[step][1])
    negative, prompt = edited[2][0]
    assert torch.equal(negative, plain_way[2][0][0])
    torch.testing.assert_close(prompt, plain_way[2][0][1] + 0.5)
    assert not torch.equal(plain_way[3][1], edited[3][1])


def test_an_edit_of_e_moves_the_latent_by_its_shift(way):
    plain_way, edited = [], []
    way(seen=lambda _, _h, e: plain_way.append(e))
    way(edit=Edit("e", {1: everywhere(0.25, 4, 4)[1]}), seen=lambda _, _h, e: edited.append(e))
    assert torch.equal(plain_way[0], edited[0])
    torch.testing.assert_close(edited[1], plain_way[1] + 0.25)


def test_an_asymmetric_edit_moves_the_predicted_image_and_keeps_the_noise(pipeline, way):
    """With one step from alpha bar a to 1 the noise has no say; with more, x' - x = sqrt(a') (P' - P) after one."""
    states = {}
    for name, edit in {
        "none": None,
        "asymmetric": Edit("h", {0: everywhere(0.5)[0]}, asymmetric=True),
        "symmetric": Edit("h", {0: everywhere(0.5)[0]}, asymmetric=False),
    }.items():
        seen = []
        way(edit=edit, seen=lambda _, _h, e, seen=seen: seen.append(e))
        states[name] = seen[1]
    way_of = course(pipeline, STEPS)
    before, after = way_of.shares[0], way_of.shares[1]
    moved = states["symmetric"] - states["none"]
    # v moves by d: the image by -sigma d, the noise by +signal d.
    factor = -(1 - before).sqrt() * after.sqrt()
    both = factor + before.sqrt() * (1 - after).sqrt()
    torch.testing.assert_close(states["asymmetric"] - states["none"], moved * factor / both, rtol=1e-3, atol=1e-5)
    assert moved.abs().max() > 1e-4


def test_shifts_of_their_own_edit_each_image_alone(way):
    shift = torch.zeros(2, 16, 2, 2)
    shift[1] = 0.5
    edited, untouched = way(edit=Edit("h", {0: shift})), way()
    assert torch.equal(edited[0], untouched[0])
    assert not torch.equal(edited[1], untouched[1])


def test_without_guidance_the_negative_text_is_not_asked(way):
    seen = []
    alone = way(guidance=1.0, seen=lambda _, h, _e: seen.append(h))
    assert all(h.shape[0] == 1 for h in seen)
    edited = way(guidance=1.0, edit=Edit("h", everywhere(0.0), "prompt"))
    assert torch.equal(alone, edited)


def test_what_is_inverted_comes_back(pipeline):
    clean = 0.5 * torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    prompts = tiny.PROMPTS[:2]
    text = words(pipeline, Order(prompts, prompts, [0, 1]), 1.0, "float32")
    way_of = course(pipeline, 20)

    def error(refinements, start=0):
        noise = invert(pipeline.unet, clean, text, way_of, "float32", refinements, start)
        with torch.no_grad():
            return float((walk(pipeline.unet, noise, text, way_of, "float32", start=start) - clean).abs().max())

    assert error(20) < 1e-4
    assert error(20, start=7) < 1e-4
    assert error(0, start=20) == 0, "no step is no change"
    assert error(20) < error(3) < error(0), "each refinement helps"


def test_the_last_step_ends_at_the_clean_latent_whatever_the_schedule_ends_at(pipeline, monkeypatch):
    options = {"set_alpha_to_one": False}
    monkeypatch.setattr(pipeline, "scheduler", DDIMScheduler.from_config(pipeline.scheduler.config, **options))
    shares = course(pipeline, STEPS).shares
    assert shares[-1] == 1
    assert (shares.diff() > 0).all()


def test_gradients_reach_the_shift(pipeline):
    shift = torch.zeros(1, 16, 2, 2, requires_grad=True)
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    text = words(pipeline, plain(tiny.PROMPTS[:1], [0]), 2.0, "float32")
    walk(pipeline.unet, noise, text, course(pipeline, 2), "float32", Edit("h", {0: shift})).sum().backward()
    assert shift.grad is not None
    assert np.abs(shift.grad.numpy()).max() > 0


def test_a_unet_without_a_middle_block_is_refused(pipeline, way, monkeypatch):
    monkeypatch.setattr(pipeline.unet, "mid_block", None)
    with pytest.raises(UserError, match="has no middle block"):
        way()
