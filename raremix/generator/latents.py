"""Between grey images and the autoencoder's latents."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from raremix.runtime.device import Precision, arithmetic, device

BATCH = 32
PIXELS = 2**21  # of a batch at most, so that eight images of 512 pixels go through the autoencoder at once


def to_rgb(images: NDArray[np.uint8]) -> torch.Tensor:
    """``[n, size, size]`` in 0..255 as ``[n, 3, size, size]`` in -1..1, three equal channels."""
    scaled = torch.from_numpy(images).float() / 127.5 - 1
    return scaled[:, None].expand(-1, 3, -1, -1)


def to_grey(images: torch.Tensor) -> NDArray[np.uint8]:
    """``[n, 3, size, size]`` in -1..1 as ``[n, size, size]`` in 0..255: the mean of the channels, rounded."""
    grey = (images.float().mean(1).clamp(-1, 1) + 1) * 127.5
    return grey.round().to(torch.uint8).cpu().numpy()


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, images: NDArray[np.uint8], precision: Precision) -> torch.Tensor:
    """Scaled latents ``[n, channels, size / factor, size / factor]``: the posterior's mean, on the CPU in float32."""
    found, batch = [], _batch(images.shape[-1])
    for start in range(0, len(images), batch):
        pixels = to_rgb(images[start : start + batch]).to(device())
        with arithmetic(precision):
            found.append(autoencoder.encode(pixels).latent_dist.mean.float().cpu())
    return torch.cat(found) * autoencoder.config.scaling_factor


@torch.no_grad()
def decode(autoencoder: AutoencoderKL, latents: torch.Tensor, precision: Precision) -> NDArray[np.uint8]:
    """Grey images ``[n, size, size]`` of scaled latents."""
    factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    found, batch = [], _batch(factor * latents.shape[-1])
    for start in range(0, len(latents), batch):
        part = latents[start : start + batch].to(device()) / autoencoder.config.scaling_factor
        with arithmetic(precision):
            found.append(to_grey(autoencoder.decode(part).sample))
    return np.concatenate(found)


def _batch(size: int) -> int:
    """How many images of ``size`` pixels a side go through the autoencoder at once."""
    return max(1, min(BATCH, PIXELS // size**2))


def roundtrip(autoencoder: AutoencoderKL, images: NDArray[np.uint8], precision: Precision) -> NDArray[np.uint8]:
    """What the autoencoder leaves of ``images``: the best that any sample of it can look."""
    return decode(autoencoder, encode(autoencoder, images, precision), precision)
