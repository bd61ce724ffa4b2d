"""The classifier: a torchvision network by name, with one logit a finding, for grey images."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
import torchvision
from torch import nn

from raremix.classifier.products import as_products
from raremix.runtime import weights
from raremix.runtime.device import device, seeded
from raremix.runtime.errors import UserError, one_line

Start = Literal["corpus", "imagenet", "random"]


def build(name: str, outputs: int) -> nn.Module:
    """A torchvision classification network with ``outputs`` logits and random weights, the same at each call.

    Raises:
        UserError: torchvision has no network of that name.
    """
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(f"params.yaml, model: torchvision has no classifier '{name}'; try resnet18 or resnet50")
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, num_classes=outputs)


def imagenet(name: str, outputs: int) -> nn.Module:
    """The same with torchvision's ImageNet weights, but for the last layer.

    Raises:
        UserError: the weights can't be had, or are of another network.
    """
    model = build(name, outputs)
    try:
        published = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, UnpicklingError, EOFError) as error:  # no way there, or no such weights
        raise UserError(
            f"params.yaml, backbone.start: ImageNet weights of {name} can't be had ({one_line(error)}); "
            "empty torch.hub's cache and run it again, or start from the corpus"
        ) from None
    _fill_all_but_last(
        model, published, f"params.yaml, backbone.start: ImageNet's {name}", "empty torch.hub's cache and run it again"
    )
    return model


def from_backbone(name: str, outputs: int, backbone: Path, *seed: object) -> nn.Module:
    """A network that starts from the file ``backbone``, its last layer drawn anew from ``seed``."""
    model = build(name, outputs)
    remedy = "run `dvc repro backbone` to make it again"
    source = f"{backbone}, for a {name} as params.yaml has it"
    _fill_all_but_last(model, weights.read(backbone, remedy), source, remedy)
    _, last = last_layer(model)
    bound = last.in_features**-0.5
    random = seeded("last layer", *seed)
    with torch.no_grad():
        last.weight.copy_((2 * torch.rand(last.weight.shape, generator=random) - 1) * bound)
        last.bias.zero_()
    return model


def on_device(model: nn.Module) -> nn.Module:
    """``model`` where it runs, its convolutions as they are fastest there.

    On a GPU weights are laid out as ``normalised`` lays out images. On a CPU they stay: AdamW would copy them in each
    step.
    """
    if device().type == "cpu":
        return as_products(model.to("cpu"))
    return model.to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def normalised(images: torch.Tensor) -> torch.Tensor:
    """``[n, 1, side, side]`` in 0..1 as three equal channels of about zero mean and unit spread."""
    return ((images - 0.45) / 0.225).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _fill_all_but_last(model: nn.Module, tensors: dict[str, torch.Tensor], source: str, remedy: str) -> None:
    prefix = last_layer(model)[0] + "."
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    last = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(prefix)}
    weights.fill(model, kept | last, source, remedy)


def last_layer(model: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the network's last linear layer."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
