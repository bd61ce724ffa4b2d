"""Guidance that is kept within limits, of how far it leads and where."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel


@contextmanager
def limited(
    unet: UNet2DConditionModel, guidance: float, limit: float | None, inside: torch.Tensor | None = None
) -> Iterator[None]:
    """Within it, classifier-free guidance moves a prediction by ``limit`` times its norm at most; None is no limit.

    Where ``inside [n, 1, side, side]`` is 0, it moves nothing; None is everywhere. The smaller a place, the further a
    prediction moves in it.

    A token learned from five radiographs does ten times as much in one caption as in another, so no one guidance draws
    the finding here and leaves the chest whole there. This is the norm threshold of adaptive projected guidance (Sadat
    et al. 2025), in units of the unguided prediction's norm, image by image. Calls of ``unet`` must hold the unguided
    half of the batch first, as diffusers' pipelines do.
    """
    if limit is None and inside is None:
        yield
        return
    hook = unet.register_forward_hook(partial(_shorten, guidance, limit, inside))
    try:
        yield
    finally:
        hook.remove()


def _shorten(
    guidance: float,
    limit: float | None,
    inside: torch.Tensor | None,
    _unet: torch.nn.Module,
    _inputs: Any,
    output: tuple[torch.Tensor],
) -> tuple[torch.Tensor]:
    unguided, prompted = output[0].float().chunk(2)
    away = prompted - unguided
    if inside is not None:
        away = away * inside
    if limit is not None:
        away = away * (limit * _norm(unguided) / (guidance * _norm(away))).clamp(max=1)
    return (torch.cat([unguided, unguided + away]),)


def _norm(predictions: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(predictions, dim=(1, 2, 3), keepdim=True)
