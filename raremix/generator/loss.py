"""The denoising objective that base training and DreamBooth share."""

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from raremix.runtime.device import device


def denoising_loss(
    unet: UNet2DConditionModel,
    schedule: DDPMScheduler,
    latents: torch.Tensor,
    text: torch.Tensor,
    random: torch.Generator,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Each sample's squared error of the predicted noise or v at a random step: ``[n]`` (Ho et al. 2020, equation 14).

    Args:
        latents: scaled, ``[n, channels, side, side]``, on the CPU.
        text: embeddings ``[n, length, width]`` on the device.
        random: draws noise and steps, so that they depend on the training step alone.
        weight: of each position, ``[n, 1, side, side]``, of mean one over an image.
    """
    noise = torch.randn(latents.shape, generator=random)
    steps = torch.randint(schedule.config.num_train_timesteps, (len(latents),), generator=random)
    noisy = schedule.add_noise(latents, noise, steps).to(device())
    epsilon = schedule.config.prediction_type == "epsilon"
    target = noise if epsilon else schedule.get_velocity(latents, noise, steps)
    error = (unet(noisy, steps.to(device()), text).sample.float() - target.to(device())).pow(2)
    if weight is not None:
        error = error * weight.to(device())
    return error.mean((1, 2, 3))


def box_weights(inside: torch.Tensor, share: float) -> torch.Tensor:
    """Weights of mean one under which the boxes of an image hold ``share`` of its loss, however small they are.

    Args:
        inside: 1 inside a box, else 0, ``[n, 1, side, side]``; an image without a box, or all box, is weighted evenly.
        share: at least that of the area, which weighs every position the same.
    """
    area = inside.mean((1, 2, 3), keepdim=True)
    aimed = torch.where((area > 0) & (area < 1), area.clamp(min=share), area)
    return torch.where(inside > 0, aimed / area, (1 - aimed) / (1 - area)).nan_to_num(1.0, 1.0, 1.0)
