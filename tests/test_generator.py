import os
import resource
import shutil
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

from raremix.data import captions
from raremix.generator import autoencoder, denoiser, tuned
from raremix.generator.base import assemble, load, published
from raremix.generator.dreambooth import Captioned, _encoded_views, fine_tune
from raremix.generator.latents import decode, encode, roundtrip, to_grey, to_rgb
from raremix.generator.loss import box_weights, denoising_loss
from raremix.generator.sample import Order, Sampling, draw, draw_all, plain
from raremix.generator.tokens import encode as encode_text
from raremix.generator.tokens import reserve, tokenizer
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.errors import UserError

SAMPLING = Sampling(3, 2.0, 2, "float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny trained pipeline on disk."""
    pixels, prompts = tiny.images(8), (tiny.PROMPTS * 3)[:8]
    vae, _ = autoencoder.train(pixels, tiny.AUTOENCODER, "float32", Checkpoint("vae"))
    tokens = tokenizer(captions.vocabulary(prompts), 12)
    latents = encode(vae, pixels, "float32")
    boxes = torch.zeros(8, 1, 4, 4)
    unet, encoder, _ = denoiser.train(latents, boxes, prompts, tokens, tiny.DENOISER, "float32", Checkpoint("unet"))
    path = tmp_path_factory.mktemp("models") / "base"
    assemble(vae, unet, encoder, tokens).save_pretrained(path)
    return path


def captioned(count=3, token="<nodule_mass>"):
    pixels = tiny.images(count, seed=1)
    boxes = np.zeros(pixels.shape, np.float32)
    boxes[:, 4:9, 4:9] = 1
    return Captioned(pixels, [f"chest x-ray pa view {token}"] * count, boxes)


def teach(base, name="x", training=tiny.DREAMBOOTH, lora_rank=None):
    pipeline = tuned.prepare(base, "<nodule_mass>", "<calcification>", lora_rank)
    prior = Captioned(tiny.images(4, seed=2), ["chest x-ray pa view"] * 4, np.zeros((4, 16, 16), np.float32))
    losses = fine_tune(pipeline, captioned(), prior, training, "float32", "n", Checkpoint(name), lambda step: None)
    return pipeline, losses


def weights(pipeline):
    return {name: tensor.clone() for name, tensor in pipeline.unet.state_dict().items()}


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
    plain = denoising_loss(Zero(), schedule, latents, text, torch.Generator().manual_seed(0))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(plain, noise.pow(2).mean((1, 2, 3)))
    weight = torch.full((6, 1, 8, 8), 0.5)
    weight[:, :, :4] = 1.5
    weighted = denoising_loss(Zero(), schedule, latents, text, torch.Generator().manual_seed(0), weight)
    by_hand = (noise.pow(2) * weight).mean((1, 2, 3))
    assert torch.allclose(weighted, by_hand)
    velocity = DDPMScheduler(prediction_type="v_prediction")
    clean = torch.randn(6, 4, 8, 8)
    assert not torch.allclose(denoising_loss(Zero(), velocity, clean, text, torch.Generator().manual_seed(0)), plain)


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


def test_guidance_is_none_where_prompt_and_negative_prompt_agree(base):
    pipeline, prompts, seeds = load(base), [tiny.PROMPTS[2]], [3]
    unguided = draw(pipeline, Order(prompts, prompts, seeds), SAMPLING)
    assert (unguided == draw(pipeline, plain(prompts, seeds), replace(SAMPLING, guidance=1.0))).all()


@torch.no_grad()
def test_guidance_leads_from_the_negative_prompt_to_the_prompt(base):
    """One step of v-prediction by hand: the clean latent is alpha x - sigma v (Salimans & Ho 2022)."""
    pipeline, (with_it, without) = load(base), tiny.PROMPTS[:2]
    drawn = draw(pipeline, Order([with_it], [without], [3]), replace(SAMPLING, steps=1, guidance=3.0))
    pipeline.scheduler.set_timesteps(1)
    (step,) = pipeline.scheduler.timesteps
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    v_with, v_without = (
        pipeline.unet(noise, step, encode_text([prompt], pipeline.tokenizer, pipeline.text_encoder)).sample
        for prompt in (with_it, without)
    )
    share = pipeline.scheduler.alphas_cumprod[step]
    clean = share.sqrt() * noise - (1 - share).sqrt() * (v_without + 3 * (v_with - v_without))
    by_hand = decode(pipeline.vae, clean, "float32")
    assert np.abs(drawn.astype(int) - by_hand).max() <= 1


def test_a_strength_that_leaves_no_step_is_refused(base):
    with pytest.raises(UserError, match=r"a strength of 0\.1 leaves none of 3 sampling steps"):
        draw(load(base), plain(tiny.PROMPTS[:1], [1]), SAMPLING, tiny.images(1), 0.1)


def test_small_boxes_keep_their_share_in_every_view(base):
    boxes = np.zeros((3, 16, 16), np.float32)
    boxes[:, 5:10, 6:11] = 1
    taught = Captioned(tiny.images(3), ["chest x-ray"] * 3, boxes)
    _, weights, _ = _encoded_views(load(base), taught, replace(tiny.DREAMBOOTH, encoded_views=8), "float32", "views")
    assert weights.mean((1, 2, 3)).tolist() == pytest.approx([1] * 24, abs=1e-5)
    held = torch.where(weights > 1, weights, 0).mean((1, 2, 3))
    assert held.tolist() == pytest.approx([0.5] * 24, abs=1e-5)


def test_diffusers_opens_and_samples_the_base_model(base):
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("chest x-ray", num_inference_steps=2, output_type="np").images
    assert picture.shape == (1, 16, 16, 3)


def test_an_image_depends_on_its_seed_and_prompt_not_on_its_neighbours(base):
    pipeline = load(base)
    pipeline.set_progress_bar_config(disable=True)
    together = draw(pipeline, plain(tiny.PROMPTS, [1, 2, 3]), SAMPLING)
    alone = draw(pipeline, plain(tiny.PROMPTS[1:2], [2]), SAMPLING)
    other = draw(pipeline, plain(tiny.PROMPTS[1:2], [4]), SAMPLING)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    assert np.abs(alone[0].astype(int) - other[0]).max() > 1


def test_a_weak_edit_stays_near_its_original_and_a_full_one_forgets_it(base):
    pipeline, fine = load(base), Sampling(20, 2.0, 2, "float32")
    originals = tiny.images(3, seed=5)
    kept = roundtrip(pipeline.vae, originals, "float32").astype(float)
    weak = draw(pipeline, plain(tiny.PROMPTS, [1, 2, 3]), fine, originals, strength=0.1)
    full = draw(pipeline, plain(tiny.PROMPTS, [1, 2, 3]), fine, originals, strength=1.0)
    assert np.abs(weak - kept).mean() < 0.5 * np.abs(full - kept).mean()
    assert (full == draw(pipeline, plain(tiny.PROMPTS, [1, 2, 3]), fine)).all()


def test_synthesis_goes_on_where_it_was_killed(base, tmp_path, monkeypatch):
    pipeline = load(base)
    arguments = {
        "order": plain(tiny.PROMPTS * 2, range(6)),
        "sampling": SAMPLING,
        "originals": tiny.images(6),
        "strength": 0.7,
    }
    whole = [tmp_path / "whole" / f"x-{index}-pos.png" for index in range(6)]
    draw_all(pipeline, files=whole, **arguments)
    killed = [tmp_path / "killed" / f"x-{index}-pos.png" for index in range(6)]
    from raremix.generator import sample

    calls = []

    def dies(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(sample, "draw", dies)
    with pytest.raises(KeyboardInterrupt):
        draw_all(pipeline, files=killed, **arguments)
    assert sum(file.is_file() for file in killed) == 2
    draw_all(pipeline, files=killed, **arguments)
    assert len(calls) == 4, "the first batch must not be drawn again"
    assert [file.read_bytes() for file in killed] == [file.read_bytes() for file in whole]


def test_dreambooth_changes_the_unet_and_nothing_else(base):
    before = tuned.prepare(base, "<nodule_mass>", "<calcification>", None)
    after, losses = teach(base)
    assert len(losses) == 4
    assert any(not torch.equal(a, b) for a, b in zip(weights(before).values(), weights(after).values(), strict=True))
    for part in ("vae", "text_encoder"):
        old, new = getattr(before, part).state_dict(), getattr(after, part).state_dict()
        assert all(torch.equal(old[name], new[name]) for name in old)


@pytest.mark.parametrize(("text_encoder", "lora_rank"), [(False, None), (True, None), (False, 2)])
def test_dreambooth_killed_and_resumed_ends_with_the_same_bytes(base, tmp_path, killed_after, text_encoder, lora_rank):
    training = replace(tiny.DREAMBOOTH, text_encoder=text_encoder)
    whole, losses = teach(base, "whole", training, lora_rank)
    with killed_after(2), pytest.raises(KeyboardInterrupt):
        teach(base, "killed", training, lora_rank)
    resumed, again = teach(base, "killed", training, lora_rank)
    assert again == losses
    for name, pipeline in {"whole": whole, "resumed": resumed}.items():
        tuned.save(pipeline, tmp_path / name, "<nodule_mass>", lora_rank)
    assert tuned.fingerprint(tmp_path / "whole") == tuned.fingerprint(tmp_path / "resumed")


def test_a_lora_starts_alike_whatever_was_drawn_before(base):
    first = tuned.prepare(base, "<nodule_mass>", None, 2)
    torch.rand(1)
    second = tuned.prepare(base, "<nodule_mass>", None, 2)
    other = tuned.prepare(base, "<calcification>", None, 2)
    assert all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(first).values(), weights(other).values(), strict=True))


def test_the_fingerprint_covers_every_weight_file(base, tmp_path):
    model = shutil.copytree(base, tmp_path / "model")
    prints = {tuned.fingerprint(model)}
    files = sorted(model.rglob("*.safetensors"))
    for file in files:
        file.write_bytes(file.read_bytes() + b" ")
        prints.add(tuned.fingerprint(model))
    files[0].rename(files[0].with_stem("renamed"))
    prints.add(tuned.fingerprint(model))
    assert {file.parent.name for file in files} == {"unet", "vae", "text_encoder"}
    assert len(prints) == len(files) + 2


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_a_full_disk_while_a_model_is_saved_names_it(base, tmp_path, lora_rank):
    pipeline = tuned.prepare(base, "<nodule_mass>", None, lora_rank)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path / 'model'}"):
            tuned.save(pipeline, tmp_path / "model", "<nodule_mass>", lora_rank)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


def test_lora_trains_few_weights_and_opens_over_the_base(base, tmp_path):
    pipeline, _ = teach(base, "lora", lora_rank=2)
    trained = sum(p.numel() for p in pipeline.unet.parameters() if p.requires_grad)
    everything = sum(p.numel() for p in load(base).unet.parameters())
    assert trained < everything / 2
    tuned.save(pipeline, tmp_path / "lora", "<nodule_mass>", 2)
    opened = tuned.load_tuned(base, tmp_path / "lora", "<nodule_mass>")
    opened.set_progress_bar_config(disable=True)
    pipeline.set_progress_bar_config(disable=True)
    arguments = (plain(["chest x-ray <nodule_mass>"], [5]), SAMPLING)
    assert (draw(opened, *arguments) == draw(pipeline, *arguments)).all()
    assert len(tuned.fingerprint(tmp_path / "lora")) == 64


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

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", hangs_up)
    with pytest.raises(UserError, match="Server disconnected without a response"):
        published("someone/something", "main")


def test_a_hub_that_is_out_of_reach_is_one_clear_line(tmp_path):
    code = """
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
