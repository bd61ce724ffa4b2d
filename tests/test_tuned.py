import resource
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from diffusers import DDPMScheduler
from taught import teach, weights

from raremix.generator import tuned
from raremix.generator.base import load
from raremix.generator.dreambooth import Captioned, _encoded_views, _Lessons
from raremix.generator.loss import min_snr
from raremix.generator.sample import draw, plain
from raremix.runtime.errors import UserError


def test_small_boxes_keep_their_share_in_every_view(base):
    boxes = np.zeros((3, 16, 16), np.float32)
    boxes[:, 5:10, 6:11] = 1
    taught = Captioned(tiny.images(3), ["chest x-ray"] * 3, boxes)
    _, weights, _ = _encoded_views(load(base), taught, replace(tiny.DREAMBOOTH, encoded_views=8), "float32", "views")
    assert weights.mean((1, 2, 3)).tolist() == pytest.approx([1] * 24, abs=1e-5)
    held = torch.where(weights > 1, weights, 0).mean((1, 2, 3))
    assert held.tolist() == pytest.approx([0.5] * 24, abs=1e-5)


def test_dreambooth_changes_the_unet_and_nothing_else(base):
    before = tuned.prepare(load(base), "<nodule_mass>", "<calcification>", None)
    after, losses = teach(base)
    assert len(losses) == 4
    assert any(not torch.equal(a, b) for a, b in zip(weights(before).values(), weights(after).values(), strict=True))
    for part in ("vae", "text_encoder"):
        old, new = getattr(before, part).state_dict(), getattr(after, part).state_dict()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_gradient_that_is_no_number_stops_the_run_at_its_step(base, monkeypatch):
    clip, steps = torch.nn.utils.clip_grad_norm_, []

    def spoiled(learned, most):
        steps.append(most)
        if len(steps) == 3:
            learned[0].grad.fill_(torch.nan)
        return clip(learned, most)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoiled)
    with pytest.raises(UserError, match=r"^the loss is nan at step 2; lower the learning rate or use float32$"):
        teach(base)


def test_min_snr_weighs_instances_and_prior_by_their_own_noise(base):
    """diffusers' script holds the instances' errors against the noise of instances and prior at once."""
    training = replace(tiny.DREAMBOOTH, snr_gamma=5.0, prior_weight=2.0)
    pipeline = load(base)
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    lessons = _Lessons(torch.randn(6, 4, 4, 4), torch.ones(6, 1, 4, 4), ["x"] * 6, torch.randn(3, 4, 4, 4), ["y"] * 3)
    batch = lessons.batch(training, schedule, torch.Generator().manual_seed(3))
    assert batch.prompts == ["x", "x", "y", "y"]
    by_hand = min_snr(schedule, batch.noised.steps, 5.0) * torch.tensor([0.5, 0.5, 1.0, 1.0])
    assert torch.allclose(batch.shares, by_hand)
    assert len(set(batch.shares.tolist())) == 4, "each by its own step"


def test_averaged_weights_are_kept_and_lie_between(base):
    last, losses = teach(base, "last")
    averaged, others = teach(base, "averaged", replace(tiny.DREAMBOOTH, ema_decay=0.9))
    assert others == losses, "averaging changes nothing on the way"
    start = weights(tuned.prepare(load(base), "<nodule_mass>", "<calcification>", None))
    moved, kept = (
        sum((tensor - start[name]).pow(2).sum() for name, tensor in weights(model).items())
        for model in (last, averaged)
    )
    assert 0 < kept < moved


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # of torch itself
def test_a_compiled_step_learns_the_same(base, compiled_graphs):
    plainly, losses = teach(base, "plain")
    assert compiled_graphs() == 0
    compiled, others = teach(base, "compiled", replace(tiny.DREAMBOOTH, compiled=True))
    assert compiled_graphs() > 0
    assert others == pytest.approx(losses, rel=1e-4)
    assert weights(compiled).keys() == weights(plainly).keys()


@pytest.mark.parametrize(
    ("text_encoder", "lora_rank", "ema_decay", "stepped_by"),
    [
        (False, None, None, "adamw"),
        (True, None, 0.9, "adamw"),
        (False, 2, None, "adamw"),
        (True, None, None, "adafactor"),
    ],
)
def test_dreambooth_killed_and_resumed_ends_with_the_same_bytes(
    base, tmp_path, killed_after, text_encoder, lora_rank, ema_decay, stepped_by
):
    training = replace(tiny.DREAMBOOTH, text_encoder=text_encoder, ema_decay=ema_decay, optimizer=stepped_by)
    whole, losses = teach(base, "whole", training, lora_rank)
    with killed_after(2), pytest.raises(KeyboardInterrupt):
        teach(base, "killed", training, lora_rank)
    resumed, again = teach(base, "killed", training, lora_rank)
    assert again == losses
    for name, pipeline in {"whole": whole, "resumed": resumed}.items():
        tuned.save(pipeline, tmp_path / name, "<nodule_mass>", lora_rank)
    assert tuned.fingerprint(tmp_path / "whole") == tuned.fingerprint(tmp_path / "resumed")


def test_a_lora_starts_alike_whatever_was_drawn_before(base):
    first = tuned.prepare(load(base), "<nodule_mass>", None, 2)
    torch.rand(1)
    second = tuned.prepare(load(base), "<nodule_mass>", None, 2)
    other = tuned.prepare(load(base), "<calcification>", None, 2)
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
    pipeline = tuned.prepare(load(base), "<nodule_mass>", None, lora_rank)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path / 'model'}"):
            tuned.save(pipeline, tmp_path / "model", "<nodule_mass>", lora_rank)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lora_trains_few_weights_and_opens_over_the_base(base, tmp_path):
    pipeline, _ = teach(base, "lora", lora_rank=2)
    trained = sum(p.numel() for p in pipeline.unet.parameters() if p.requires_grad)
    everything = sum(p.numel() for p in load(base).unet.parameters())
    assert trained < everything / 2
    tuned.save(pipeline, tmp_path / "lora", "<nodule_mass>", 2)
    opened = tuned.load_tuned(base, tmp_path / "lora", "<nodule_mass>")
    opened.set_progress_bar_config(disable=True)
    pipeline.set_progress_bar_config(disable=True)
    arguments = (plain(["chest x-ray <nodule_mass>"], [5]), tiny.SAMPLING)
    assert (draw(opened, *arguments) == draw(pipeline, *arguments)).all()
    assert len(tuned.fingerprint(tmp_path / "lora")) == 64
