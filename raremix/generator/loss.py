"""The denoising objective that base training and DreamBooth share."""

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr

from raremix.runtime.device import device, sent


@dataclass(frozen=True)
class Noised:
    """What the UNet is to see, and what it is to make of it; on the CPU."""

    noisy: torch.Tensor  # [n, channels, side, side]
    steps: torch.Tensor  # [n]
    target: torch.Tensor  # [n, channels, side, side], noise or v

    def __getitem__(self, part: slice) -> "Noised":
        """The samples of ``part``."""
        return Noised(self.noisy[part], self.steps[part], self.target[part])


def noised(schedule: DDPMScheduler, latents: torch.Tensor, random: torch.Generator) -> Noised:
    """Scaled ``latents [n, channels, side, side]``, on the CPU, at random steps of the ``schedule``.

    ``random`` draws noise and steps, so that they depend on the training step alone.
    """
    noise = torch.randn(latents.shape, generator=random)
    steps = torch.randint(schedule.config.num_train_timesteps, (len(latents),), generator=random)
    epsilon = schedule.config.prediction_type == "epsilon"
    target = noise if epsilon else schedule.get_velocity(latents, noise, steps)
    return Noised(schedule.add_noise(latents, noise, steps), steps, target)


def denoising_loss(
    unet: UNet2DConditionModel, batch: Noised, text: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Each sample's squared error of the predicted noise or v: ``[n]`` (Ho et al. 2020, equation 14).

    Args:
        unet: the model.
        batch: n samples.
        text: embeddings ``[n, length, width]`` on the device.
        weight: of each position, ``[n, 1, side, side]``, of mean one over an image.
    """
    noisy, steps, target = (sent(tensor, device()) for tensor in (batch.noisy, batch.steps, batch.target))
    error = (unet(noisy, steps, text).sample.float() - target).pow(2)
    if weight is not None:
        error = error * sent(weight, device())
    return error.mean((1, 2, 3))


def min_snr(schedule: DDPMScheduler, steps: torch.Tensor, gamma: float) -> torch.Tensor:
    """Weights ``[n]`` of samples at ``steps [n]``, which keep what is hardly noised from ruling (Hang et al. 2023).

    The signal-to-noise ratio, ``gamma`` at most, over itself where the noise is predicted, over itself plus one where v
    is.
    """
    ratio = compute_snr(schedule, steps)
    return ratio.clamp(max=gamma) / (ratio + (schedule.config.prediction_type == "v_prediction"))


def box_weights(inside: torch.Tensor, share: float) -> torch.Tensor:
    """Weights of mean one under which the boxes of an image hold ``share`` of its loss, however small they are.

    Args:
        inside: 1 inside a box, else 0, ``[n, 1, side, side]``; an image without a box, or all box, is weighted evenly.
        share: at least that of the area, which weighs every position the same.
    """
    area = inside.mean((1, 2, 3), keepdim=True)
    aimed = torch.where((area > 0) & (area < 1), area.clamp(min=share), area)
    return torch.where(inside > 0, aimed / area, (1 - aimed) / (1 - area)).nan_to_num(1.0, 1.0, 1.0)
