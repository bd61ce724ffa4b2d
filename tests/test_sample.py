from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch

from raremix.generator import sample
from raremix.generator.base import load
from raremix.generator.latents import decode, roundtrip
from raremix.generator.sample import Order, Sampling, draw, draw_all, plain, set_up
from raremix.generator.tokens import encode as encode_text
from raremix.runtime.errors import UserError


def test_guidance_is_none_where_prompt_and_negative_prompt_agree(base):
    pipeline, prompts, seeds = load(base), [tiny.PROMPTS[2]], [3]
    unguided = draw(pipeline, Order(prompts, prompts, seeds), tiny.SAMPLING)
    assert (unguided == draw(pipeline, plain(prompts, seeds), replace(tiny.SAMPLING, guidance=1.0))).all()


@torch.no_grad()
def test_guidance_leads_from_the_negative_prompt_to_the_prompt(base):
    """One step of v-prediction by hand: the clean latent is alpha x - sigma v (Salimans & Ho 2022), noise sigma x +
    alpha v, of which the least is left."""
    pipeline, (with_it, without) = load(base), tiny.PROMPTS[:2]
    drawn = draw(pipeline, Order([with_it], [without], [3]), replace(tiny.SAMPLING, steps=1, guidance=3.0))
    pipeline.scheduler.set_timesteps(1)
    (step,) = pipeline.scheduler.timesteps
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    v_with, v_without = (
        pipeline.unet(noise, step, encode_text([prompt], pipeline.tokenizer, pipeline.text_encoder)).sample
        for prompt in (with_it, without)
    )
    share, last = pipeline.scheduler.alphas_cumprod[torch.tensor([step, 0])]
    v = v_without + 3 * (v_with - v_without)
    clean, noise = share.sqrt() * noise - (1 - share).sqrt() * v, (1 - share).sqrt() * noise + share.sqrt() * v
    by_hand = decode(pipeline.vae, last.sqrt() * clean + (1 - last).sqrt() * noise, "float32")
    assert np.abs(drawn.astype(int) - by_hand).max() <= 1


@torch.no_grad()
def test_ddim_goes_the_way_of_its_formula(base):
    """Song et al. 2021, eq. 12 without noise; of v-prediction the noise is sigma x + alpha v."""
    pipeline, (with_it, without), strong = load(base), tiny.PROMPTS[:2], replace(tiny.SAMPLING, guidance=40.0)
    order = Order([with_it], [without], [3])
    set_up(pipeline, "ddim", compiled=False)
    drawn = draw(pipeline, order, strong).astype(int)
    texts = [encode_text([prompt], pipeline.tokenizer, pipeline.text_encoder) for prompt in (with_it, without)]
    pipeline.scheduler.set_timesteps(strong.steps)
    steps = pipeline.scheduler.timesteps
    shares = pipeline.scheduler.alphas_cumprod[
        torch.tensor([*steps, 0])
    ]  # it ends with the least noise that the model knows
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    for step, (share, cleaner) in zip(steps, pairwise(shares), strict=True):
        v_with, v_without = (pipeline.unet(latents, step, text).sample for text in texts)
        v = v_without + strong.guidance * (v_with - v_without)
        clean, noise = share.sqrt() * latents - (1 - share).sqrt() * v, (1 - share).sqrt() * latents + share.sqrt() * v
        latents = cleaner.sqrt() * clean + (1 - cleaner).sqrt() * noise
    assert np.abs(drawn - decode(pipeline.vae, latents, "float32")).max() <= 1
    set_up(pipeline, "dpmsolver++", compiled=False)
    second_order = draw(pipeline, order, strong)
    assert np.abs(drawn - second_order).max() > 1
    assert (second_order == draw(load(base), order, strong)).all(), "unless told otherwise"


@pytest.mark.usefixtures("without_a_compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # of torch itself
def test_a_compiled_network_draws_the_same_each_batch_in_its_own_place(base, compiled_graphs):
    inside = np.zeros((6, tiny.SIZE, tiny.SIZE), np.float32)
    inside[2:4, :8], inside[4:, 8:] = 1, 1  # none in the first batch, another in each
    order = replace(plain(tiny.PROMPTS * 2, range(6)), inside=inside)
    plainly, compiled = load(base), load(base)
    set_up(compiled, "dpmsolver++", compiled=True)
    asked = replace(tiny.SAMPLING, guidance=20.0)
    expected = draw(plainly, order, asked, guidance_limit=2.0).astype(int)
    assert compiled_graphs() == 0
    drawn = draw(compiled, order, asked, guidance_limit=2.0)
    assert compiled_graphs() > 0
    assert np.abs(drawn - expected).max() <= 1
    everywhere = draw(plainly, replace(order, inside=None), asked, guidance_limit=2.0)
    assert all(np.abs(everywhere[index].astype(int) - expected[index]).max() > 1 for index in range(6))


@pytest.mark.parametrize(("guidance", "sizes"), [(2.0, [4, 4, 4, 2, 2, 2]), (1.0, [2, 2, 2, 1, 1, 1])])
def test_guidance_takes_one_call_of_the_unet_a_step_with_both_prompts_in_it(base, guidance, sizes):
    pipeline, seen = load(base), []
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    draw(pipeline, plain(tiny.PROMPTS, [1, 2, 3]), replace(tiny.SAMPLING, guidance=guidance))
    assert seen == sizes


def test_a_strength_that_leaves_no_step_is_refused(base):
    with pytest.raises(UserError, match=r"a strength of 0\.1 leaves none of 3 sampling steps"):
        draw(load(base), plain(tiny.PROMPTS[:1], [1]), tiny.SAMPLING, 0.1)


def test_an_image_depends_on_its_seed_and_prompt_not_on_its_neighbours(base):
    pipeline = load(base)
    pipeline.set_progress_bar_config(disable=True)
    together = draw(pipeline, plain(tiny.PROMPTS, [1, 2, 3]), tiny.SAMPLING)
    alone = draw(pipeline, plain(tiny.PROMPTS[1:2], [2]), tiny.SAMPLING)
    other = draw(pipeline, plain(tiny.PROMPTS[1:2], [4]), tiny.SAMPLING)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    assert np.abs(alone[0].astype(int) - other[0]).max() > 1


def test_batches_of_any_size_draw_the_same_images_within_one_grey_level(base):
    pipeline, order = load(base), plain((tiny.PROMPTS * 2)[:5], range(5))
    singly, *others = (draw(pipeline, order, replace(tiny.SAMPLING, batch=size)).astype(int) for size in (1, 2, 3, 5))
    for drawn in others:
        assert np.abs(drawn - singly).max() <= 1
        assert np.mean(drawn != singly) < 0.01, "rounding alone"


OUT_OF_MEMORY = torch.OutOfMemoryError("out of memory")


def full_above(most, monkeypatch, error=OUT_OF_MEMORY):
    """A device with room for ``most`` images at once, and ``error`` for more."""
    room = sample._batch

    def batch(pipeline, order, *rest):
        if len(order) > most:
            raise error
        return room(pipeline, order, *rest)

    monkeypatch.setattr(sample, "_batch", batch)


def test_where_memory_is_short_the_same_images_are_drawn_in_halves(base, monkeypatch, capsys):
    pipeline, sampling = load(base), replace(tiny.SAMPLING, batch=5)
    order = replace(plain((tiny.PROMPTS * 2)[:5], range(5)), originals=tiny.images(5))
    whole = draw(pipeline, order, sampling, 0.7)
    full_above(2, monkeypatch)
    halved = draw(pipeline, order, sampling, 0.7)
    assert np.abs(whole.astype(int) - halved).max() <= 1
    assert "no memory for 5 images at once; drawing 3" in capsys.readouterr().out


def test_words_of_cublas_for_it_are_heard_and_another_error_is_not_taken_for_it(base, monkeypatch, capsys):
    pipeline, order = load(base), plain(tiny.PROMPTS, [1, 2, 3])
    full_above(2, monkeypatch, RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"))
    assert len(draw(pipeline, order, replace(tiny.SAMPLING, batch=3))) == 3
    assert "no memory for 3 images at once; drawing 2" in capsys.readouterr().out
    full_above(1, monkeypatch, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        draw(pipeline, order, tiny.SAMPLING)


def test_what_memory_was_too_short_for_once_is_not_tried_again(base, tmp_path, monkeypatch, capsys):
    pipeline, sampling = load(base), replace(tiny.SAMPLING, batch=4)
    order = plain(tiny.PROMPTS * 4, range(12))
    files = [tmp_path / f"x-{index}-pos.png" for index in range(12)]
    full_above(2, monkeypatch)
    draw_all(pipeline, order, files, sampling, 1.0, None)
    assert all(file.is_file() for file in files)
    assert capsys.readouterr().out.count("no memory for") == 1


def test_no_memory_for_one_image_is_one_clear_line(base, monkeypatch):
    full_above(0, monkeypatch)
    with pytest.raises(UserError, match="no memory left for a single image"):
        draw(load(base), plain(tiny.PROMPTS, [1, 2, 3]), tiny.SAMPLING)


def test_a_weak_edit_stays_near_its_original_and_a_full_one_forgets_it(base):
    pipeline, fine = load(base), Sampling(20, 2.0, 2, "float32")
    order = replace(plain(tiny.PROMPTS, [1, 2, 3]), originals=tiny.images(3, seed=5))
    kept = roundtrip(pipeline.vae, order.originals, "float32").astype(float)
    weak = draw(pipeline, order, fine, strength=0.1)
    full = draw(pipeline, order, fine, strength=1.0)
    assert np.abs(weak - kept).mean() < 0.5 * np.abs(full - kept).mean()
    assert (full == draw(pipeline, plain(tiny.PROMPTS, [1, 2, 3]), fine)).all()


def test_synthesis_goes_on_where_it_was_killed(base, tmp_path, monkeypatch):
    pipeline = load(base)
    arguments = {
        "order": replace(plain(tiny.PROMPTS * 2, range(6)), originals=tiny.images(6)),
        "sampling": tiny.SAMPLING,
        "strength": 0.7,
        "guidance_limit": None,
    }
    whole = [tmp_path / "whole" / f"x-{index}-pos.png" for index in range(6)]
    draw_all(pipeline, files=whole, **arguments)
    killed = [tmp_path / "killed" / f"x-{index}-pos.png" for index in range(6)]
    calls, batch = [], sample._batch

    def dies(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return batch(*args)

    monkeypatch.setattr(sample, "_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        draw_all(pipeline, files=killed, **arguments)
    assert sum(file.is_file() for file in killed) == 2
    draw_all(pipeline, files=killed, **arguments)
    assert len(calls) == 4, "the first batch must not be drawn again"
    assert [file.read_bytes() for file in killed] == [file.read_bytes() for file in whole]
