"""The maps that a network's last layer sees the means of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from raremix.classifier.model import last_layer, normalised, on_device
from raremix.runtime.device import device


def pools_maps(model: nn.Module, images: NDArray[np.uint8]) -> bool:
    """Whether its last layer sees the means of maps of more than a pixel, of ``images [n, side, side]``.

    Not so with torchvision's vgg, mobilenet_v3 or convnext, which have more layers there, nor with a resnet below a
    side of 33.
    """
    maps, seen = _looked(model, images)
    means = maps.mean(dim=(2, 3))
    return means.shape == seen.shape and torch.allclose(means, seen, rtol=1e-3, atol=1e-4)


def last_maps(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """``[n, width, rows, columns]`` for ``images [n, side, side]``, all at once, in float32.

    If the ``model`` ``pools_maps``, their means over rows and columns are what its last layer sees.
    """
    return _looked(model, images)[0].cpu().numpy().astype(np.float64)


@torch.no_grad()
def _looked(model: nn.Module, images: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    """The last maps, and what the last layer sees: ``[n, width]``."""
    model = on_device(model).eval()
    seen: list[torch.Tensor] = []
    hook = last_layer(model)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = torch.from_numpy(images)[:, None].float().to(device()) / 255
    with _Maps() as last:
        model(normalised(batch))
    hook.remove()
    return last.maps, seen[0]


class _Maps(TorchFunctionMode):
    """Keeps the last maps of more than a pixel that any function returned; some networks pool without a module."""

    maps: torch.Tensor

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.ndim == 4 and found.shape[2:].numel() > 1:
            self.maps = found
        return found
