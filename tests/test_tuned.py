import resource
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from raremix.generator import tuned
from raremix.generator.base import load
from raremix.generator.dreambooth import Captioned, _encoded_views, fine_tune
from raremix.generator.sample import draw, plain
from raremix.runtime.checkpoints import Checkpoint


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


def test_small_boxes_keep_their_share_in_every_view(base):
    boxes = np.zeros((3, 16, 16), np.float32)
    boxes[:, 5:10, 6:11] = 1
    taught = Captioned(tiny.images(3), ["chest x-ray"] * 3, boxes)
    _, weights, _ = _encoded_views(load(base), taught, replace(tiny.DREAMBOOTH, encoded_views=8), "float32", "views")
    assert weights.mean((1, 2, 3)).tolist() == pytest.approx([1] * 24, abs=1e-5)
    held = torch.where(weights > 1, weights, 0).mean((1, 2, 3))
    assert held.tolist() == pytest.approx([0.5] * 24, abs=1e-5)


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
