"""Random views of radiographs: small rotations, shifts and zooms. Never a flip: the heart is on the left."""

import math
from dataclasses import dataclass

import torch
from jsonargparse.typing import NonNegativeFloat
from torch.nn import functional

from raremix.runtime.device import sent


@dataclass(frozen=True)
class Views:
    """The largest change of a view."""

    rotation: NonNegativeFloat  # degrees
    shift: NonNegativeFloat  # share of the image's side
    zoom: NonNegativeFloat  # natural logarithm of the factor


def affine(images: torch.Tensor, views: Views, random: torch.Generator) -> torch.Tensor:
    """A random view of each of ``images [n, channels, side, side]``, black (0) where nothing was seen."""
    angle, zoom, right, down = (2 * torch.rand(4, len(images), generator=random) - 1).double()
    angle, scale = angle * math.radians(views.rotation), torch.exp(zoom * views.zoom)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [
        torch.stack(row, 1)
        for row in ((cosine, -sine, 2 * views.shift * right), (sine, cosine, 2 * views.shift * down))
    ]
    theta = sent(torch.stack(rows, 1).to(images.dtype), images.device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
