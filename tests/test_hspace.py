"""Latents on disk: what was passed through, at any batch size, and the way back from real images."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from raremix.diagnosis.hspace import capture, drawn, inverted, likeness
from raremix.diagnosis.process import Edit, course, walk, words
from raremix.diagnosis.stored import read
from raremix.generator.base import load
from raremix.generator.latents import roundtrip
from raremix.generator.sample import Sampling, plain
from raremix.runtime.errors import UserError

NOISE = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
ORDER = plain(tiny.PROMPTS, [0, 1, 2])


@pytest.fixture(scope="module")
def pipeline(base):
    return load(base)


def test_what_is_on_disk_is_what_was_passed_through(pipeline, tmp_path):
    images = capture(pipeline, NOISE, ORDER, tiny.SAMPLING, tmp_path)
    latents = read(tmp_path)
    assert isinstance(latents.h, np.memmap)
    assert latents.h.dtype == latents.e.dtype == np.float16
    assert latents.h.shape == (3, tiny.SAMPLING.steps, 2, 16, 2, 2)
    assert latents.e.shape == (3, tiny.SAMPLING.steps, 4, 4, 4)
    np.testing.assert_array_equal(latents.e[:, 0], NOISE.half().numpy())
    seen = []
    text = words(pipeline, ORDER, tiny.SAMPLING.guidance, "float32")
    steps = course(pipeline, tiny.SAMPLING.steps)
    with torch.no_grad():
        walk(pipeline.unet, NOISE, text, steps, "float32", seen=lambda _, h, _e: seen.append(h.numpy()))
    expected = np.stack(seen).transpose(2, 0, 1, 3, 4, 5)
    np.testing.assert_allclose(latents.h, expected, rtol=2e-3, atol=2e-3)
    assert (images == drawn(pipeline, NOISE, ORDER, tiny.SAMPLING)).all()


def test_latents_do_not_depend_on_the_batch(pipeline, tmp_path):
    for batch in (1, 3):
        capture(pipeline, NOISE, ORDER, replace(tiny.SAMPLING, batch=batch), tmp_path / str(batch))
    one, three = read(tmp_path / "1"), read(tmp_path / "3")
    np.testing.assert_allclose(one.h, three.h, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(one.e, three.e, rtol=2e-3, atol=2e-3)


def test_a_zero_edit_gives_the_same_image_and_another_does_not(pipeline):
    before = drawn(pipeline, NOISE, ORDER, tiny.SAMPLING)
    for space, shape in {"h": (1, 16, 2, 2), "e": (1, 4, 4, 4)}.items():
        zero = {step: torch.zeros(shape) for step in range(tiny.SAMPLING.steps)}
        one = {step: torch.ones(shape) for step in range(tiny.SAMPLING.steps)}
        nothing = {step: lambda latents: 0 * latents for step in range(tiny.SAMPLING.steps)}
        for shifts in (zero, nothing):
            assert (drawn(pipeline, NOISE, ORDER, tiny.SAMPLING, Edit(space, shifts)) == before).all()
        assert (drawn(pipeline, NOISE, ORDER, tiny.SAMPLING, Edit(space, one)) != before).any()


def test_a_real_image_is_walked_back_to_noise_and_comes_again(pipeline):
    real, sampling = tiny.images(3), Sampling(12, 1.0, 2, "float32")
    kept = roundtrip(pipeline.vae, real, "float32")

    def likeness_after(refinements):
        noise = inverted(pipeline, real, tiny.PROMPTS, sampling, refinements)
        assert noise.shape == (3, 4, 4, 4)
        return likeness(drawn(pipeline, noise, ORDER, sampling), kept).min()

    assert likeness_after(20) > 40
    assert likeness_after(20) > likeness_after(0)


def test_a_real_image_is_walked_back_to_any_step_and_comes_again(pipeline):
    real, sampling = tiny.images(3), Sampling(12, 1.0, 2, "float32")
    kept = roundtrip(pipeline.vae, real, "float32")
    for start in (4, 11, 12):
        part_way = inverted(pipeline, real, tiny.PROMPTS, sampling, 20, start)
        assert likeness(drawn(pipeline, part_way, ORDER, sampling, start=start), kept).min() > 40, start
    assert (drawn(pipeline, part_way, ORDER, sampling, start=12) == kept).all(), "no step is left"


def test_likeness_is_the_peak_signal_to_noise_ratio_of_each_image():
    images = tiny.images(2)
    other = images.copy()
    other[1] = np.clip(images[1].astype(int) + 5, 0, 255)
    error = np.mean((other[1].astype(float) - images[1]) ** 2)
    same, differing = likeness(images, other)
    assert same == 100
    assert differing == pytest.approx(10 * np.log10(255**2 / error))


def test_missing_latents_are_named(tmp_path):
    with pytest.raises(UserError, match=r"h\.npy: no such latents; run `dvc repro latents`"):
        read(tmp_path)
