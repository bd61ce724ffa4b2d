"""The latents of many images on disk: h and e at every sampling step, in half precision, one batch in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from raremix.diagnosis.process import Edit, Seen, course, invert, walk, words
from raremix.diagnosis.stored import FILES
from raremix.generator.latents import decode, encode
from raremix.generator.sample import Order, Sampling
from raremix.runtime.device import device, seeded
from raremix.runtime.progress import track


def drawn(
    pipeline: StableDiffusionPipeline,
    noise: torch.Tensor,
    order: Order,
    sampling: Sampling,
    edit: Edit | None = None,
    start: int = 0,
) -> NDArray[np.uint8]:
    """Grey images ``[n, size, size]`` that DDIM makes of ``noise [n, channels, side, side]``, on request edited.

    The shifts of ``edit`` are ``[1, channels, side, side]`` a step, or made from each image's own latents. Of another
    ``start``, the noise is what ``inverted`` gives for it.
    """
    parts = [
        _walked(pipeline, noise[part], order[part], sampling, edit, None, start)
        for part in _batches(len(order), sampling)
    ]
    return np.concatenate(parts)


def capture(
    pipeline: StableDiffusionPipeline, noise: torch.Tensor, order: Order, sampling: Sampling, folder: Path
) -> NDArray[np.uint8]:
    """The images that ``drawn`` gives, their latents written to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[NDArray[np.float16]] = []
    images = []
    for part in track(_batches(len(order), sampling), "latents"):
        passed = _Passed()
        images.append(_walked(pipeline, noise[part], order[part], sampling, None, passed))
        h, e = passed.arrays()
        if not files:
            shapes = [(len(order), *array.shape[1:]) for array in (h, e)]
            files = [
                open_memmap(folder / name, "w+", np.float16, shape) for name, shape in zip(FILES, shapes, strict=True)
            ]
        for file, array in zip(files, (h, e), strict=True):
            file[part] = array
    for file in files:
        file.flush()  # type: ignore[attr-defined]
    return np.concatenate(images)


def inverted(
    pipeline: StableDiffusionPipeline,
    images: NDArray[np.uint8],
    prompts: list[str],
    sampling: Sampling,
    refinements: int,
    start: int = 0,
) -> torch.Tensor:
    """The noise ``[n, channels, side, side]``, on the CPU, of which DDIM at guidance 1 makes ``images`` again.

    Of another ``start``, it is only as noisy as that step finds it.
    """
    order, steps = Order(prompts, prompts, range(len(prompts))), course(pipeline, sampling.steps)
    noise = []
    for part in track(_batches(len(order), sampling), "invert"):
        latents = encode(pipeline.vae, images[part], sampling.precision).to(device())
        text = words(pipeline, order[part], 1.0, sampling.precision)
        noise.append(invert(pipeline.unet, latents, text, steps, sampling.precision, refinements, start).cpu())
    return torch.cat(noise)


def noise_for(pipeline: StableDiffusionPipeline, names: Sequence[str]) -> torch.Tensor:
    """The noise ``[n, channels, side, side]`` that an image of each name starts from."""
    unet = pipeline.unet.config
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    return torch.stack([torch.randn(shape, generator=seeded("noise", name)) for name in names])


def likeness(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each of ``images [n, size, size]`` to its other, at most 100."""
    errors = ((images.astype(np.float64) - others) ** 2).mean(axis=(1, 2))
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(255**2 / errors), 100.0)


@torch.no_grad()
def _walked(
    pipeline: StableDiffusionPipeline,
    noise: torch.Tensor,
    order: Order,
    sampling: Sampling,
    edit: Edit | None,
    seen: Seen | None,
    start: int = 0,
) -> NDArray[np.uint8]:
    text = words(pipeline, order, sampling.guidance, sampling.precision)
    steps = course(pipeline, sampling.steps)
    latents = walk(pipeline.unet, noise.to(device()), text, steps, sampling.precision, edit, seen, start)
    return decode(pipeline.vae, latents, sampling.precision)


class _Passed:
    """What a batch passed through."""

    def __init__(self) -> None:
        self._h: list[NDArray[np.float16]] = []
        self._e: list[NDArray[np.float16]] = []

    def __call__(self, _: int, h: torch.Tensor, e: torch.Tensor) -> None:
        self._h.append(_half(h.transpose(0, 1)))
        self._e.append(_half(e))

    def arrays(self) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """h and e by image, then step."""
        return np.stack(self._h, 1), np.stack(self._e, 1)


def _batches(count: int, sampling: Sampling) -> list[slice]:
    return [slice(start, start + sampling.batch) for start in range(0, count, sampling.batch)]


def _half(values: torch.Tensor) -> NDArray[np.float16]:
    return values.detach().half().cpu().numpy()
