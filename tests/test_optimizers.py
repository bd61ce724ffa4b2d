"""Of every training: which kernel steps its weights, and how exactly they are kept."""

from dataclasses import replace

import pytest
import test_classifier
import tiny
import torch
from test_tuned import teach
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from raremix.generator import autoencoder, denoiser
from raremix.generator.base import load
from raremix.runtime.checkpoints import Checkpoint

TRAININGS = {
    "autoencoder": lambda base: autoencoder.train(tiny.images(4), tiny.AUTOENCODER, "float32", Checkpoint("vae")),
    "denoiser": lambda base: denoiser.train(
        torch.randn(3, 4, 4, 4), torch.zeros(3, 1, 4, 4), tiny.PROMPTS, load(base).tokenizer, tiny.DENOISER, "float32",
        Checkpoint("unet"),
    ),
    "dreambooth": teach,
    "classifier": lambda base: test_classifier.fit("classifier"),
}  # fmt: skip


@pytest.fixture
def stepped():
    """The optimizer of each step that is taken."""
    seen = []
    hook = register_optimizer_step_post_hook(lambda optimizer, *_: seen.append(optimizer))
    yield seen
    hook.remove()


@pytest.fixture
def activations():
    """The precisions in which convolutions of networks that learn answer: of the UNet alone in DreamBooth."""
    seen = set()

    def keep(module, _, output):
        if module.training and isinstance(module, torch.nn.Conv2d):
            seen.add(output.dtype)

    hook = register_module_forward_hook(keep)
    yield seen
    hook.remove()


@pytest.mark.parametrize("training", TRAININGS)
def test_every_step_is_one_fused_kernel(base, stepped, training):
    TRAININGS[training](base)
    assert len(stepped) == 4
    for optimizer in stepped:
        assert type(optimizer) is torch.optim.AdamW
        assert all(group["fused"] for group in optimizer.param_groups)


def test_what_is_multiplied_in_bfloat16_is_kept_in_float32(base, stepped, activations, monkeypatch):
    with_amx = torch.cpu.get_capabilities() | {"amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: with_amx)
    training = replace(tiny.DREAMBOOTH, text_encoder=True)
    pipeline, _ = teach(base, training=training, precision="bfloat16")
    assert activations == {torch.bfloat16}
    weights = [p for model in (pipeline.unet, pipeline.text_encoder) for p in model.parameters()]
    moments = [state[name] for state in stepped[-1].state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert len(moments) == 2 * len(weights)
    assert {tensor.dtype for tensor in (*weights, *moments)} == {torch.float32}
