import resource
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import prepared
import pytest
import tiny
import torch
from diffusers import DDPMScheduler

from raremix.generator import dreambooth, tuned
from raremix.generator.base import load
from raremix.generator.dreambooth import Captioned, _encoded_views, _Lessons, fine_tune
from raremix.generator.loss import min_snr
from raremix.generator.sample import draw, plain
from raremix.runtime import checkpoints, processes
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.errors import UserError
from stages.dreambooth import dreambooth as taught_by_stage

REFUSALS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def captioned(count=3, token="<nodule_mass>"):
    pixels = tiny.images(count, seed=1)
    boxes = np.zeros(pixels.shape, np.float32)
    boxes[:, 4:9, 4:9] = 1
    return Captioned(pixels, [f"chest x-ray pa view {token}"] * count, boxes)


def teach(base, name="x", training=tiny.DREAMBOOTH, lora_rank=None, precision="float32"):
    pipeline = tuned.prepare(load(base), "<nodule_mass>", "<calcification>", lora_rank)
    prior = Captioned(tiny.images(4, seed=2), ["chest x-ray pa view"] * 4, np.zeros((4, 16, 16), np.float32))
    losses = fine_tune(pipeline, captioned(), prior, training, precision, "n", Checkpoint(name), lambda step: None)
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


def first_gradients(base, training, monkeypatch):
    """Of one step, before they are clipped; its loss."""
    found = []

    def keep(learned, most):
        found.append(torch.cat([parameter.grad.flatten() for parameter in learned]))
        return found[0].norm()

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", keep)
        _, losses = teach(base, "gradients", replace(training, steps=1))
    return found[0], losses[0]


@pytest.mark.parametrize(
    "change",
    [{"accumulation": 2}, {"accumulation": 3}, {"accumulation": 4}, {"gradient_checkpointing": True}],
    ids=lambda change: " ".join(map(str, *change.items())),
)
def test_less_memory_learns_the_same(base, monkeypatch, change):
    """Gradients, as AdamW makes whole steps of those that are rounding alone."""
    plainly = replace(tiny.DREAMBOOTH, text_encoder=True, snr_gamma=5.0, prior_weight=3.0)
    whole, loss = first_gradients(base, plainly, monkeypatch)
    saving, other = first_gradients(base, replace(plainly, **change), monkeypatch)
    assert other == pytest.approx(loss, rel=1e-5)
    assert (saving - whole).norm() < 1e-4 * whole.norm()


def short_of_memory(pipeline, most, error):
    """Have its UNet find no memory for more than ``most`` images, and say so by ``error``."""
    forward = pipeline.unet.forward

    def tried(noisy, *given, **named):
        if len(noisy) > most:
            raise error
        return forward(noisy, *given, **named)

    pipeline.unet.forward = tried
    return pipeline


@pytest.fixture
def short(monkeypatch):
    """Tells that models are to find no memory for more than so many images."""
    load_base = load

    def _short(most, error=REFUSALS[0]):
        monkeypatch.setattr(
            sys.modules[__name__], "load", lambda folder: short_of_memory(load_base(folder), most, error)
        )

    return _short


@pytest.mark.parametrize("error", REFUSALS, ids=str)
def test_where_memory_is_short_a_step_is_worked_through_in_more_parts(base, short, capsys, error):
    asked, losses = teach(base, "asked", replace(tiny.DREAMBOOTH, accumulation=4))
    short(1, error)
    found, others = teach(base, "found")
    told = capsys.readouterr().out
    assert "no memory for a step in 1 parts; trying 2" in told
    assert told.count("trying 4") == 1, "it is not tried again"
    assert others == losses
    assert all(torch.equal(a, b) for a, b in zip(weights(asked).values(), weights(found).values(), strict=True))


def test_another_error_of_a_step_is_not_taken_for_a_lack_of_memory(base, short):
    short(1, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        teach(base)


def test_no_memory_for_one_image_of_a_step_is_one_clear_line(base, short):
    short(0)
    with pytest.raises(
        UserError, match=r"^the cpu has no memory left for 1 of a step's images at once; raise .*adafactor"
    ):
        teach(base)


def test_processes_that_share_a_step_stop_where_one_lacks_memory(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(UserError, match="no memory left for 2 of a step's images"):
        dreambooth._more(2, 4)


@pytest.mark.parametrize("text_encoder", [False, True])
def test_what_no_step_needs_leaves_the_device_but_for_samples(base, monkeypatch, text_encoder):
    here, moved = torch.device("cpu", 0), []
    monkeypatch.setattr(dreambooth, "device", lambda: here)
    monkeypatch.setattr(dreambooth, "_put", lambda models, where: moved.append((len(models), where == here)))
    teach(base, training=replace(tiny.DREAMBOOTH, sample_every=2, text_encoder=text_encoder))
    count = 1 if text_encoder else 2  # the autoencoder, and the text encoder where it does not learn
    assert moved == [(count, False), *[(count, True), (count, False)] * 2, (count, True)]


def test_more_parts_than_images_are_refused():
    with pytest.raises(UserError, match=r"accumulation: 5 parts of 4 images"):
        replace(tiny.DREAMBOOTH, accumulation=5)


def test_more_processes_than_images_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 4)
    dreambooth.check_parts(tiny.DREAMBOOTH)
    monkeypatch.setattr(processes, "count", lambda: 5)
    with pytest.raises(UserError, match="4 images a step are too few for 5 parts"):
        dreambooth.check_parts(tiny.DREAMBOOTH)


def test_the_stage_refuses_them_before_it_reads_anything(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 5)
    nowhere = [Path("nowhere")] * 9
    with pytest.raises(UserError, match="too few for 5 parts"):
        taught_by_stage(prepared.STUDY, SimpleNamespace(training=tiny.DREAMBOOTH), 10, 0, *nowhere)


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


def test_a_state_of_a_lora_holds_no_weight_that_it_does_not_learn(base, killed_after):
    sizes = {}
    for rank in (None, 2):
        with killed_after(2), pytest.raises(KeyboardInterrupt):
            teach(base, f"killed {rank}", lora_rank=rank)
        (state,) = checkpoints.SCRATCH.glob("*/state.pt")
        held = torch.load(state, weights_only=True)
        sizes[rank] = sum(tensor.numel() for part in ("unet", "encoder") for tensor in held[part].values())
        shutil.rmtree(state.parent)
    pipeline = tuned.prepare(load(base), "<nodule_mass>", None, 2)
    assert sizes[2] == sum(kept.numel() for kept in pipeline.unet.parameters() if kept.requires_grad)
    assert sizes[None] == sum(kept.numel() for kept in load(base).unet.parameters())


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
