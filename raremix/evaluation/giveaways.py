"""What gives the images away that an arm adds: class-activation maps of the probe that measures the domain gap.

The probe is linear in features that are means of the network's last maps. So these maps, weighted as the probe weights
the features, say what each place adds to an image's score (Zhou et al. 2016). They are held against the mean maps, else
they would show what all chests have in common. They are coarse: a resnet's have a cell for 32 pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from raremix.evaluation.audit import folds, probe
from raremix.evaluation.gallery import Gallery, Pixels
from raremix.evaluation.gap import largest_kind

ACROSS = 8  # images in a row of the picture
BATCH = 64  # images whose maps are held at once
TILE, HEADER = 128, 16  # pixels
STRONGEST = 0.7  # share of the colour where a map is largest

Array = NDArray[np.float64]
Maps = Callable[[Pixels], Array]  # [n, side, side] to [n, width, rows, columns], whose means are the features


def weights_unseen(real: Array, added: Array) -> Array:
    """``[n + m, width]``: a probe's weights of features ``real [n, width]`` and ``added [m, width]``, by image.

    For each image those of a probe that has not learned from it, of the fold of ``real_or_synthetic`` that holds it
    out. There must be five of either.
    """
    features, labels = np.concatenate([real, added]), np.repeat([0, 1], [len(real), len(added)])
    weights = np.empty(features.shape)
    for learned, held in folds().split(features, labels):
        scaler, linear = probe().fit(features[learned], labels[learned])
        weights[held] = linear.coef_[0] / scaler.scale_
    return weights


@dataclass(frozen=True)
class Giveaways:
    """The images that a probe is surest of, added ones and real ones, the surest first.

    A score is in log odds, and above 0 if the image is nearer to the mean added one than to the mean real one.
    """

    finding: str  # which they all have, or ``no finding``
    table: pd.DataFrame  # image_id, source (added or real), score
    pixels: Pixels  # [n, side, side]
    activation: Array  # [n, rows, columns], what each place adds to the score, their mean but for rounding


def giveaways(real: Gallery, added: Gallery, findings: Sequence[str], maps: Maps) -> Giveaways | None:
    """Of ``real`` and ``added`` images of that kind of which there are most (see ``largest_kind``).

    None if there are too few.
    """
    kind = largest_kind(*(gallery.rows[list(findings)].to_numpy(np.int64) for gallery in (real, added)))
    if kind is None:
        return None
    ours, theirs = (gallery.of(gallery.rows.index[mask]) for gallery, mask in ((real, kind.real), (added, kind.added)))
    weights = weights_unseen(ours.features, theirs.features)
    middle = (_mean_maps(ours.pixels, maps) + _mean_maps(theirs.pixels, maps)) / 2
    features = np.concatenate([ours.features, theirs.features])
    scores, count = ((features - middle.mean(axis=(1, 2))) * weights).sum(axis=1), len(ours.rows)
    surest = count + np.argsort(-scores[count:], kind="stable")[:ACROSS]
    shown = np.concatenate([surest, np.argsort(scores[:count], kind="stable")[:ACROSS]])
    pixels = np.concatenate([ours.pixels, theirs.pixels])[shown]
    activation = np.einsum("nkrc,nk->nrc", maps(pixels) - middle, weights[shown])
    names, sources = [*ours.rows.index, *theirs.rows.index], np.repeat(["real", "added"], [count, len(theirs.rows)])
    table = pd.DataFrame({"image_id": names, "source": sources, "score": scores}).iloc[shown]
    return Giveaways([*findings, "no finding"][kind.place], table, pixels, activation)


def _mean_maps(pixels: Pixels, maps: Maps) -> Array:
    """``[width, rows, columns]``."""
    sums = [maps(pixels[start : start + BATCH]).sum(axis=0) for start in range(0, len(pixels), BATCH)]
    mean: Array = np.sum(sums, axis=0) / len(pixels)
    return mean


def picture(found: Giveaways, arm: str) -> Image.Image:
    """Images that the ``arm`` adds above the same with their maps, then real ones likewise.

    Red speaks for added and blue for real, the stronger the more, on one scale; maps are interpolated bilinearly.
    """
    sides = {f"added by {arm}, {found.finding}": "added", f"real, {found.finding}": "real"}
    page = Image.new("RGB", (TILE * ACROSS, len(sides) * (HEADER + 2 * TILE)))
    pen = ImageDraw.Draw(page)
    shades = found.activation / max(np.abs(found.activation).max(), np.finfo(float).tiny)
    for row, (title, source) in enumerate(sides.items()):
        top = row * (HEADER + 2 * TILE)
        pen.text((4, top + 2), title, "white")
        for column, place in enumerate(np.flatnonzero(found.table["source"] == source)):
            plain = np.asarray(Image.fromarray(found.pixels[place]).resize((TILE, TILE), Image.Resampling.BOX))
            tiles = (np.repeat(plain[..., None], 3, axis=2), _coloured(plain, shades[place]))
            for below, tile in enumerate(tiles):
                page.paste(Image.fromarray(tile), (TILE * column, top + HEADER + TILE * below))
    return page.quantize(256)


def _coloured(plain: Pixels, shade: Array) -> Pixels:
    """``plain [side, side]`` with a ``shade`` in -1..1 over it: ``[side, side, 3]``."""
    fine = F.interpolate(torch.from_numpy(shade)[None, None], plain.shape, mode="bilinear")[0, 0].numpy()
    cover = STRONGEST * np.abs(fine)[..., None]
    mixed = (1 - cover) * plain[..., None] + cover * 255 * colormaps["RdBu_r"](0.5 + fine / 2)[..., :3]
    return np.rint(mixed).astype(np.uint8)
