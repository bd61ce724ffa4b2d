"""Features of radiographs from a published network: torchxrayvision's DenseNet-121 (Cohen et al. 2022).

A second witness beside the backbone, which the study itself has trained: this network has seen hundreds of thousands of
radiographs of other hospitals. Its weights are a local file with the ``state_dict`` of
``torchxrayvision.models.DenseNet`` (source: torchxrayvision/models.py at commit f4087a0), whose layout is torchvision's
densenet121 with one input channel; its last layer and its thresholds are not used. The weights that torchxrayvision
downloads are a pickled module, which could run any code, so they are refused. Which data it has seen decides
where it can be a judge: ``densenet121-res224-all`` has not learned from VinDr-CXR, but from NIH ChestX-ray14, the test
images of a study on NIH's among them.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import interpolate, relu
from torchvision.models import densenet121

from raremix.runtime.device import Precision, arithmetic, device
from raremix.runtime.errors import UserError

SIDE = 224  # pixels, of the images that the network was trained on
REACH = 1024.0  # black is -1024 and white 1024: torchxrayvision.utils.normalize
BATCH = 32
LAYERS = "features."
SAVE = (
    "safetensors.torch.save_model(torchxrayvision.models.DenseNet(weights='densenet121-res224-all'), "
    "'densenet121.safetensors')"
)


def features(network: nn.Module, images: NDArray[np.uint8], precision: Precision) -> NDArray[np.float64]:
    """What the network's last layer sees: ``[n, 1024]``, each at least 0; the means of ``maps``."""
    chunks = (maps(network, images[start : start + BATCH], precision) for start in range(0, len(images), BATCH))
    return np.concatenate([chunk.mean(axis=(2, 3)) for chunk in chunks])


@torch.no_grad()
def maps(network: nn.Module, images: NDArray[np.uint8], precision: Precision) -> NDArray[np.float64]:
    """The network's last maps, all at once: ``[n, 1024, 7, 7]``, each at least 0.

    Args:
        network: of ``load``.
        images: grey, 0..255, ``[n, side, side]`` with n at least 1; they are brought to 224 pixels a side.
        precision: of the convolutions.
    """
    with arithmetic(precision):
        found = relu(network(_prepared(torch.from_numpy(images).to(device()))))
    return found.float().cpu().numpy().astype(np.float64)


def load(file: Path) -> nn.Module:
    """The network without its last layer, where it runs: ``[n, 1, 224, 224]`` in, ``[n, 1024, 7, 7]`` out.

    Args:
        file: a ``state_dict`` in safetensors' format.

    Raises:
        UserError: there is no such file, or it does not hold these weights.
    """
    weights = {
        name.removeprefix(LAYERS): tensor for name, tensor in _read(file).items() if name.startswith(LAYERS)
    }  # neither classifier nor op_threshs
    # On no device: the weights come from the file, and drawing random ones would move the global stream.
    with torch.device("meta"):
        network = densenet121().features
        network.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    wanted = network.state_dict()
    for name in [*wanted, *weights]:
        if name not in weights or name not in wanted or weights[name].shape != wanted[name].shape:
            here, there = (_shape(tensors.get(name)) for tensors in (weights, wanted))
            raise UserError(
                f"{file}: '{LAYERS}{name}' is {here} where torchxrayvision's DenseNet-121 has {there}; save it: {SAVE}"
            )
    network.load_state_dict(weights, assign=True)
    ready = network.float().eval().to(device())
    return ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _read(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; where torchxrayvision is installed, save its weights: {SAVE}")
    try:
        return load_file(file)
    except SafetensorError:
        raise UserError(
            f"{file}: no safetensors (torchxrayvision's own download is a pickled module, which is not opened); "
            f"where torchxrayvision is installed, save its weights: {SAVE}"
        ) from None


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {list(tensor.shape)}"


def _prepared(images: torch.Tensor) -> torch.Tensor:
    """``[n, side, side]`` in 0..255 as the network knows radiographs: ``[n, 1, 224, 224]`` in -1024..1024."""
    spread = (2 * images[:, None].float() / 255 - 1) * REACH
    return interpolate(spread, size=(SIDE, SIDE), mode="bilinear", antialias=True)
