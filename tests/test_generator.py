import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest
import tiny
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline

from raremix.generator import autoencoder, denoiser, tuned
from raremix.generator.base import load, published
from raremix.generator.latents import decode, encode, roundtrip, to_grey, to_rgb
from raremix.generator.loss import box_weights, denoising_loss, min_snr, noised
from raremix.generator.tokens import reserve
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.errors import UserError


def test_grey_images_stay_grey():
    pixels = tiny.images(3)
    assert (to_grey(to_rgb(pixels)) == pixels).all()
    assert to_rgb(pixels).shape == (3, 3, 16, 16)
    assert to_rgb(np.full((1, 2, 2), 255, np.uint8)).max() == 1


def test_latents_have_unit_spread_and_come_back_as_images(base):
    vae = load(base).vae
    latents = encode(vae, tiny.images(8), "float32")
    assert latents.shape == (8, 4, 4, 4)
    assert latents.std().item() == pytest.approx(1, abs=0.05)
    assert (decode(vae, latents, "float32") == roundtrip(vae, tiny.images(8), "float32")).all()


def test_the_autoencoder_learns_to_reconstruct():
    pixels = tiny.images(16)
    long = replace(tiny.AUTOENCODER, steps=150, batch=8, lr=3e-3)
    vae, losses = autoencoder.train(pixels, long, "float32", Checkpoint("long"))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    assert np.abs(roundtrip(vae, pixels, "float32").astype(float) - pixels).mean() < 20


def test_the_loss_is_the_squared_error_of_the_target_and_weights_move_it():
    class Zero(torch.nn.Module):
        def forward(self, noisy, steps, text):
            return type("Output", (), {"sample": torch.zeros_like(noisy)})

    latents, text = torch.zeros(6, 4, 8, 8), torch.zeros(6, 3, 2)
    schedule = DDPMScheduler(prediction_type="epsilon")
    batch = noised(schedule, latents, torch.Generator().manual_seed(0))
    plain = denoising_loss(Zero(), batch, text)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(plain, noise.pow(2).mean((1, 2, 3)))
    weight = torch.full((6, 1, 8, 8), 0.5)
    weight[:, :, :4] = 1.5
    weighted = denoising_loss(Zero(), batch, text, weight)
    by_hand = (noise.pow(2) * weight).mean((1, 2, 3))
    assert torch.allclose(weighted, by_hand)
    velocity = DDPMScheduler(prediction_type="v_prediction")
    clean = torch.randn(6, 4, 8, 8)
    other = noised(velocity, clean, torch.Generator().manual_seed(0))
    assert torch.equal(other.steps, batch.steps)
    assert not torch.allclose(denoising_loss(Zero(), other, text), plain)
    assert torch.equal(denoising_loss(Zero(), batch[2:5], text[2:5]), plain[2:5])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_caps_what_is_hardly_noised_and_leaves_the_rest(kind):
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=kind)
    steps = torch.tensor([0, 100, 500, 999])
    kept = schedule.alphas_cumprod[steps].double()
    ratio = kept / (1 - kept)
    expected = torch.minimum(ratio, torch.tensor(5.0)) / (ratio + 1 if kind == "v_prediction" else ratio)
    assert min_snr(schedule, steps, 5.0).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    if kind == "epsilon":
        assert min_snr(schedule, steps, 5.0)[-2:].tolist() == pytest.approx([1, 1]), "below the cap nothing is changed"


def test_boxes_hold_their_share_of_the_loss_however_small_they_are():
    inside = torch.zeros(5, 1, 8, 8)
    inside[0, :, 0, 0] = 1
    inside[1, :, :2] = 1
    inside[2, :, :6] = 1
    inside[3] = 1
    weights = box_weights(inside, 0.5)
    assert weights.mean((1, 2, 3)).tolist() == pytest.approx([1] * 5)
    held = (weights * inside).sum((1, 2, 3)) / weights.sum((1, 2, 3))
    assert held.tolist() == pytest.approx([0.5, 0.5, 0.75, 1, 0]), "large boxes weigh what they cover"
    assert (weights[2:] == 1).all()


def test_diffusers_opens_and_samples_the_base_model(base):
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("chest x-ray", num_inference_steps=2, output_type="np").images
    assert picture.shape == (1, 16, 16, 3)


@pytest.mark.parametrize("room", ["autoencoder", "denoiser"])
def test_base_training_killed_and_resumed_ends_with_the_same_weights(base, killed_after, room):
    tokens = load(base).tokenizer
    latents, boxes, prompts = torch.randn(3, 4, 4, 4), torch.zeros(3, 1, 4, 4), tiny.PROMPTS
    rooms = {
        "autoencoder": lambda name: autoencoder.train(tiny.images(4), tiny.AUTOENCODER, "float32", Checkpoint(name)),
        "denoiser": lambda name: denoiser.train(
            latents, boxes, prompts, tokens, tiny.DENOISER, "float32", Checkpoint(name)
        ),
    }
    whole = rooms[room]("whole")
    with killed_after(2), pytest.raises(KeyboardInterrupt):
        rooms[room]("killed")
    resumed = rooms[room]("killed")
    assert resumed[-1] == whole[-1]
    for one, other in zip(whole[:-1], resumed[:-1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_rare_words_are_drawn_more_often():
    often = denoiser.rarity(["chest", "chest", "chest", "chest tube"])
    assert often == [1, 1, 1, 2]


def test_a_token_the_tokenizer_lacks_gets_an_embedding_of_its_own(base):
    pipeline = load(base)
    size = len(pipeline.tokenizer)
    reserve("<nodule_mass>", pipeline.tokenizer, pipeline.text_encoder)
    assert len(pipeline.tokenizer) == size, "the base model reserves all fourteen"
    reserve("<new_finding>", pipeline.tokenizer, pipeline.text_encoder)
    table = pipeline.text_encoder.get_input_embeddings().weight
    assert len(table) == len(pipeline.tokenizer) == size + 1
    again = load(base)
    reserve("<new_finding>", again.tokenizer, again.text_encoder)
    assert torch.equal(again.text_encoder.get_input_embeddings().weight[-1], table[-1])


def test_a_published_model_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"base\.revision"):
        published("CompVis/stable-diffusion-v1-4", None)
    with pytest.raises(UserError, match="no pipeline at"):
        published(str(tmp_path), None)


def test_a_model_that_no_stage_made_is_one_clear_line(base, tmp_path):
    with pytest.raises(UserError, match=r"models/base: no model_index\.json.*`dvc repro base`"):
        load(tmp_path / "models" / "base")
    with pytest.raises(UserError, match=r"models/lora: neither a pipeline nor a LoRA.*`dvc repro dreambooth`"):
        tuned.load_tuned(base, tmp_path / "models" / "lora", "<nodule_mass>")


def test_a_hub_that_hangs_up_is_one_clear_line(monkeypatch):
    def hangs_up(*_, **__):
        raise httpx2.RemoteProtocolError("Server disconnected\nwithout a response")

    monkeypatch.setattr(StableDiffusionPipeline, "download", hangs_up)
    with pytest.raises(UserError, match="Server disconnected without a response"):
        published("someone/something", "main")


def test_a_hub_that_is_out_of_reach_is_one_clear_line(tmp_path):
    code = """
import time
time.sleep = lambda seconds: None  # the hub's client tries again, later each time
from raremix.generator.base import published
from stages.cli import run
def get() -> None:
    published("someone/something", "main")
run(get, ["params.yaml"])
"""
    (tmp_path / "params.yaml").write_text("{}")
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "HF_HOME": str(tmp_path / "hub")}
    path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=os.environ | hub | path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no pipeline at 'someone/something'" in done.stderr
    assert "refused" in done.stderr
