"""Guidance that is kept within limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel


@contextmanager
def limited(unet: UNet2DConditionModel, guidance: float, limit: float | None) -> Iterator[None]:
    """Within it, classifier-free guidance moves a prediction by ``limit`` times its norm at most; None is no limit.

    A token learned from five radiographs does ten times as much in one caption as in another, so no one guidance draws
    the finding here and leaves the chest whole there. This is the norm threshold of adaptive projected guidance (Sadat
    et al. 2025), in units of the unguided prediction's norm, image by image. Calls of ``unet`` must hold the unguided
    half of the batch first, as diffusers' pipelines do.
    """
    if limit is None:
        yield
        return
    hook = unet.register_forward_hook(partial(_shorten, guidance, limit))
    try:
        yield
    finally:
        hook.remove()


def _shorten(
    guidance: float, limit: float, _unet: torch.nn.Module, _inputs: Any, output: tuple[torch.Tensor]
) -> tuple[torch.Tensor]:
    unguided, prompted = output[0].float().chunk(2)
    away = prompted - unguided
    share = guidance * _norm(away) / _norm(unguided)
    return (torch.cat([unguided, unguided + away * (limit / share).clamp(max=1)]),)


def _norm(predictions: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(predictions, dim=(1, 2, 3), keepdim=True)
