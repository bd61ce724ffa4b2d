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
        weight: of each position, ``[n, 1, side, side]``; its mean over an image is brought to one.
    """
    noise = torch.randn(latents.shape, generator=random)
    steps = torch.randint(schedule.config.num_train_timesteps, (len(latents),), generator=random)
    noisy = schedule.add_noise(latents, noise, steps).to(device())
    epsilon = schedule.config.prediction_type == "epsilon"
    target = noise if epsilon else schedule.get_velocity(latents, noise, steps)
    error = (unet(noisy, steps.to(device()), text).sample.float() - target.to(device())).pow(2)
    if weight is not None:
        error = error * (weight / weight.mean((1, 2, 3), keepdim=True)).to(device())
    return error.mean((1, 2, 3))
