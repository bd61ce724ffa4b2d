"""Augmentation, the same for every arm."""

from dataclasses import dataclass

import torch
from jsonargparse.typing import NonNegativeFloat

from raremix.data.views import Views, affine


@dataclass(frozen=True)
class Augmentation:
    """The largest random change of geometry and grey values."""

    views: Views
    brightness: NonNegativeFloat  # share of the grey range
    contrast: NonNegativeFloat  # natural logarithm of the factor


def augment(images: torch.Tensor, augmentation: Augmentation, random: torch.Generator) -> torch.Tensor:
    """A random view of each of ``images [n, 1, side, side]`` in 0..1, with random contrast and brightness."""
    contrast, brightness = 2 * torch.rand(2, len(images), 1, 1, 1, generator=random) - 1
    seen = affine(images, augmentation.views, random)
    return (seen * torch.exp(contrast * augmentation.contrast) + brightness * augmentation.brightness).clamp(0, 1)
