"""Augmentation: the common one, and RandAugment within radiographic reason for the arm that asks for more."""

from dataclasses import dataclass

import torch
from jsonargparse.typing import NonNegativeFloat
from torchvision.transforms import v2

from raremix.data.views import Views, affine
from raremix.runtime.device import sent


@dataclass(frozen=True)
class Augmentation:
    """The largest random change of geometry and grey values."""

    views: Views
    brightness: NonNegativeFloat  # share of the grey range
    contrast: NonNegativeFloat  # natural logarithm of the factor


def augment(images: torch.Tensor, augmentation: Augmentation, random: torch.Generator) -> torch.Tensor:
    """A random view of each of ``images [n, 1, side, side]`` in 0..1, with random contrast and brightness."""
    contrast, brightness = sent(2 * torch.rand(2, len(images), 1, 1, 1, generator=random) - 1, images.device)
    seen = affine(images, augmentation.views, random)
    return (seen * torch.exp(contrast * augmentation.contrast) + brightness * augmentation.brightness).clamp(0, 1)


class Radiographic(v2.RandAugment):
    """RandAugment (Cubuk et al. 2020) without what makes no radiograph: inverted and quantised greys, and colours.

    Two drawn operations an image, both at torchvision's usual magnitude (9 of 31) and with a drawn sign; it draws from
    torch's global generator.
    """

    _AUGMENTATION_SPACE = {  # noqa: RUF012 - torchvision's name and form
        name: how
        for name, how in v2.RandAugment._AUGMENTATION_SPACE.items()
        if name not in {"Posterize", "Solarize", "Color"}
    }


def randaugment(images: torch.Tensor) -> torch.Tensor:
    """Each of ``images [n, 1, side, side]`` in 0..1 changed in its own way."""
    change = Radiographic()
    return torch.stack([change(image) for image in (images * 255).round().to(torch.uint8)]).float() / 255
