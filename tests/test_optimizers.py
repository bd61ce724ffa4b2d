"""Of every training: which kernel steps its weights, and how exactly they are kept."""

from copy import deepcopy
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
from raremix.generator.optimizers import KEPT, optimizer
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
    for steps in stepped:
        assert type(steps) is torch.optim.AdamW
        assert all(group["fused"] for group in steps.param_groups)


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


def test_adafactor_keeps_less_of_each_weight_and_learns():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3), torch.nn.Flatten(), torch.nn.Linear(64, 32))
    seen, kept, losses = torch.randn(32, 8, 4, 4), {}, []
    for name, bytes_a_weight in KEPT.items():
        network = deepcopy(model)
        steps = optimizer(name, network.parameters(), 1e-2)
        for _ in range(30):
            losses.append(network(seen).square().mean())
            losses[-1].backward()
            steps.step()
            steps.zero_grad()
        assert losses[-1] < 0.5 * losses[-30]
        for weight in (network[0].weight, network[2].weight):
            held = sum(4 * state.numel() for state in steps.state[weight].values() if state.numel() > 1)
            assert held <= bytes_a_weight * weight.numel()
            kept[name, weight.ndim] = held
    assert kept["adamw", 2] > 20 * kept["adafactor", 2]


def test_adafactor_adapts_to_gradients_as_small_as_those_of_large_models():
    weight = torch.nn.Parameter(torch.ones(8, 64))
    steps = optimizer("adafactor", [weight], 1e-2)
    torch.manual_seed(0)
    weight.grad = 1e-6 * torch.randn(8, 64) * torch.logspace(-1, 1, 8)[:, None]
    weight.grad[3] = 0.0
    steps.step()
    moved = (weight.detach() - 1).square().mean(1).sqrt()
    assert moved[3] == 0
    assert all(0.5e-2 < row < 2e-2 for row in moved[[0, 1, 2, 4, 5, 6, 7]].tolist())
