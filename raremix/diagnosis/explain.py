"""Explanations beside each other: where a classifier looks, by Grad-CAM, Integrated Gradients and a counterfactual.

An explanation is a map ``[n, side, side]``, 0 or above, of which only the order of its pixels counts. It is scored by
whether it finds the true lesion: the pointing game (Zhang et al. 2018) and the overlap. Selvaraju et al. 2017 on
Grad-CAM, Sundararajan et al. 2017 on Integrated Gradients; captum computes both, in float32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation
from torch import nn

from raremix.classifier.model import normalised, on_device
from raremix.runtime.device import device
from raremix.runtime.seeds import generator

Array = NDArray[np.float64]
Images = NDArray[np.uint8]
Masks = NDArray[np.bool_]

BATCH = 64  # images that go through the network at once
PATH = 32  # steps of Integrated Gradients'
LEAST = 4  # pixels a side of the feature maps that Grad-CAM reads; a cell of two by two is a quarter of the picture
BASELINE = 0.45  # what ``normalised`` maps to 0
TIES = 6  # decimals of a map's maximum; pixels that differ by less are equal, whatever interpolation rounds
DRAWS = 1000
TILE, HEADER = 128, 16  # pixels of a panel


def grad_cam(model: nn.Module, images: Images, output: int) -> Array:
    """What raises the logit ``output``, by the last feature maps: ``[n, side, side]`` for ``images [n, side, side]``.

    The feature maps are weighted by their mean gradients; the sum's positive part is interpolated bilinearly. They are
    of the last block with a convolution, or of one before it if its maps are smaller than four by four: a resnet's
    fourth stage from 128 pixels on, its third at 64. A logit that no place raises has a map of zeros.
    """

    def explain(batch: torch.Tensor) -> torch.Tensor:
        cam = LayerGradCam(_logits(model), _last_block(model, batch[:1]))
        coarse = cam.attribute(batch, output, relu_attributions=True)
        return F.interpolate(coarse, batch.shape[2:], mode="bilinear")

    return _explained(model, images, explain)


def integrated_gradients(model: nn.Module, images: Images, output: int) -> Array:
    """What each pixel adds to the logit ``output`` or takes from it, absolute: ``[n, side, side]``.

    The path begins at mid-grey, the network's zero, since pixels of the baseline's own value get nothing: a black one
    would be blind to a pneumothorax, a white one to an effusion (Sturmfels et al. 2020).
    """
    gradients = IntegratedGradients(_logits(model))

    def explain(batch: torch.Tensor) -> torch.Tensor:
        return gradients.attribute(batch, BASELINE, output, n_steps=PATH, internal_batch_size=BATCH).abs()

    return _explained(model, images, explain)


def difference(before: Images, after: Images) -> Array:
    """By how much a counterfactual differs from its image, pixel by pixel: ``[n, side, side]`` in 0..1.

    Not smoothed, since Integrated Gradients, as pixelated, are not either.
    """
    return np.abs(after.astype(np.float64) - before) / 255


def pointing_game(maps: Array, masks: Masks) -> Array:
    """Whether the maximum lies in the mask, 1 or 0, for ``maps`` and ``masks [n, side, side]``.

    Without tolerance, since masks are exact. If several pixels share the maximum, the share of them in the mask: one
    drawn at random is expected to hit so often. So a constant map scores ``chance``.

    Raises:
        ValueError: a mask is empty.
    """
    _check(masks)
    levels = _levels(maps)
    peaks = levels == levels.max(axis=(1, 2), keepdims=True)
    return (peaks & masks).sum(axis=(1, 2)) / peaks.sum(axis=(1, 2))


def overlap(maps: Array, masks: Masks) -> Array:
    """Intersection over union, 0..1, of each mask with as many of the map's highest pixels as the mask has.

    So no threshold is tuned. Of pixels that tie for the last places each counts in part, as if drawn at random; a
    constant map scores ``chance``.

    Raises:
        ValueError: a mask is empty.
    """
    _check(masks)
    levels, inside = _levels(maps).reshape(len(maps), -1), masks.reshape(len(masks), -1)
    size = inside.sum(axis=1, keepdims=True)
    last = np.take_along_axis(np.sort(levels, axis=1), levels.shape[1] - size, axis=1)
    above, tied = levels > last, levels == last
    places = (size - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    shared = ((above + tied * places) * inside).sum(axis=1)
    return shared / (2 * size[:, 0] - shared)


def chance(masks: Masks) -> tuple[Array, Array]:
    """What a map that knows nothing scores in ``pointing_game`` and in ``overlap``, by mask.

    The mask's share p of the picture, and p / (2 - p): two masks of that share, laid at random, have p of each in
    common.

    Raises:
        ValueError: a mask is empty.
    """
    _check(masks)
    share = masks.mean(axis=(1, 2))
    return share, share / (2 - share)


def localisation(maps: Array, masks: Masks, seed: str) -> dict[str, float]:
    """``pointing`` and ``iou``, means over images, and what ``chance`` has (``chance_pointing``, ``chance_iou``).

    Each with a 95 % percentile bootstrap interval over images (``_low``, ``_high``); maps of several methods, scored
    with the same masks and ``seed``, are resampled alike. Without images there are no figures.
    """
    found: dict[str, float] = {}
    if not len(masks):
        return found
    scores = {"pointing": pointing_game(maps, masks), "iou": overlap(maps, masks)}
    picks = generator("localisation", seed).integers(len(masks), size=(DRAWS, len(masks)))
    for (name, values), luck in zip(scores.items(), chance(masks), strict=True):
        low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
        found |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high, f"chance_{name}": luck.mean()}
    return {name: float(value) for name, value in found.items()}


def panel(images: Images, maps: Mapping[str, Array], masks: Masks) -> Image.Image:
    """A row an image: the radiograph, then each of ``maps`` in colours over it, the mask outlined in all.

    A map's colours go from 0 to its own maximum. 256 colours, so that the PNG stays small.
    """
    page = Image.new("RGB", (TILE * (1 + len(maps)), HEADER + TILE * len(images)))
    pen = ImageDraw.Draw(page)
    nothing = np.zeros(images.shape)
    for column, (name, values) in enumerate({"radiograph": nothing, **maps}.items()):
        pen.text((TILE * column + 4, 2), name, "white")
        for row, parts in enumerate(zip(images, values, masks, strict=True)):
            page.paste(_tile(*parts), (TILE * column, HEADER + TILE * row))
    return page.quantize(256)


def gallery(before: Images, after: Images, masks: Masks, captions: Sequence[str], columns: int) -> Image.Image:
    """``columns`` counterfactuals a row: the image, its counterfactual, the difference, a caption above them.

    In the difference red is brighter afterwards and blue darker, up to the largest difference in the gallery; the mask
    is outlined there alone, so that it can be seen what was taken away.
    """
    width, height = 3 * TILE, HEADER + TILE
    page = Image.new("RGB", (width * columns, height * -(-len(before) // columns)))
    pen = ImageDraw.Draw(page)
    changes = after.astype(np.float64) - before
    shades = 0.5 + changes / max(2 * np.abs(changes).max(), 1)
    for index, (image, edited, shade, mask) in enumerate(zip(before, after, shades, masks, strict=True)):
        left, top = width * (index % columns), height * (index // columns)
        pen.text((left + 4, top + 2), captions[index], "white")
        last = _outlined(np.rint(255 * colormaps["RdBu_r"](shade)[..., :3]).astype(np.uint8), mask)
        for column, tile in enumerate((_scaled(image), _scaled(edited), last)):
            page.paste(tile, (left + TILE * column, top + HEADER))
    return page.quantize(256)


def _tile(image: Images, heat: Array, mask: Masks) -> Image.Image:
    heat = heat / max(heat.max(), np.finfo(float).tiny)
    shade = 0.8 * heat[..., None]
    colours = (1 - shade) * image[..., None] + shade * 255 * colormaps["inferno"](heat)[..., :3]
    return _outlined(np.rint(colours).astype(np.uint8), mask)


def _outlined(colours: Images, mask: Masks) -> Image.Image:
    tile = np.array(_scaled(colours))
    large = np.asarray(_scaled(mask.astype(np.uint8))) > 0
    tile[binary_dilation(large) & ~large] = (0, 255, 255)
    return Image.fromarray(tile)


def _scaled(pixels: Images) -> Image.Image:
    return Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BOX)


def _logits(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda images: model(normalised(images))


@torch.no_grad()
def _last_block(model: nn.Module, image: torch.Tensor) -> nn.Module:
    """The last of the network's parts, or of those of its sequences, that has a convolution and large enough maps."""
    blocks = [part for child in model.children() for part in (child if isinstance(child, nn.Sequential) else [child])]
    seen: list[nn.Module] = []

    def note(block: nn.Module, _: object, maps: torch.Tensor) -> None:
        if maps.shape[-1] >= LEAST:
            seen.append(block)

    with ExitStack() as hooks:
        for block in blocks:
            if any(isinstance(part, nn.Conv2d) for part in block.modules()):
                hooks.enter_context(block.register_forward_hook(note))
        _logits(model)(image)
    return seen[-1]


def _explained(model: nn.Module, images: Images, explain: Callable[[torch.Tensor], torch.Tensor]) -> Array:
    """``explain``'s maps of images ``[batch, 1, side, side]`` in 0..1, batch by batch."""
    found = []
    with _evaluated(on_device(model)):
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH])[:, None].float().to(device()) / 255
            found.append(explain(batch)[:, 0].detach().cpu().numpy())
    return np.concatenate(found).astype(np.float64)


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Every part of ``model`` in evaluation, and afterwards in the mode that it was in."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _levels(maps: Array) -> Array:
    """``maps`` by their maxima, rounded until equal pixels are equal."""
    most = maps.max(axis=(1, 2), keepdims=True)
    return np.round(maps / np.where(most > 0, most, 1), TIES)


def _check(masks: Masks) -> None:
    if not masks.any(axis=(1, 2)).all():
        raise ValueError("a mask is empty: only images with the lesion can be scored")
