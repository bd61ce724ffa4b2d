"""Fine-tuning where memory is short: parts of a step, what leaves the device, and what a state holds."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import prepared
import pytest
import taught
import tiny
import torch
from taught import teach, weights

from raremix.generator import dreambooth, tuned
from raremix.generator.base import load
from raremix.runtime import checkpoints, processes
from raremix.runtime.errors import UserError
from stages.dreambooth import dreambooth as taught_by_stage

REFUSALS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


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

    def _short(most, error=REFUSALS[0]):
        monkeypatch.setattr(taught, "load", lambda folder: short_of_memory(load(folder), most, error))

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
