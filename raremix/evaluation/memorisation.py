"""Which synthetic images are copies of training images, by the measure of real images that no model has seen.

A distance alone can't tell: a plain radiograph has many near it, copied or not. So the distance to the nearest training
image counts in relation to the mean distance to the next ones, of fifty in all (Carlini et al. 2023, "Extracting
training data from diffusion models"), and too near is what hardly any held-out real image is, in feature space or in
pixel space. Carlini et al. take half that mean for all images; here the held-out images say how much it is. The
radiograph that an image is known to be laid over is none of its neighbours: asked is whether it copies any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from raremix.data import images, resemblance
from raremix.runtime.errors import UserError

NEIGHBOURS = 50
COMPONENTS = 128  # of features, at most
SPACES = ("feature", "pixel")
ACROSS = 4  # pairs in a picture's row
DUPLICATE = 0.1  # a held-out image whose relative distance in pixel space is smaller is a training image itself

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Images with their names and what the feature extractor sees."""

    names: Sequence[str]
    pictures: NDArray[np.uint8]  # [n, side, side]
    features: Array  # [n, width]
    originals: Sequence[str] = ()  # the training image that each is laid over, or ''; none of them is, if empty


@dataclass(frozen=True)
class Memorised:
    """The nearest training image of each synthetic and each held-out image, and who counts as a copy.

    Both tables are ``image_id, nearest, feature_distance, pixel_distance, copy``, in the order given. The distances are
    relative: 0 is a copy, and 1 no nearer to one training image than to fifty. If the spaces disagree, ``nearest`` is
    of the one in which the image is nearer by the measure of the threshold.
    """

    synthetic: pd.DataFrame
    held_out: pd.DataFrame
    thresholds: dict[str, float]  # by space: a distance below it is a copy's; NaN where all features are equal
    rate: float  # of ordinary images below a threshold, as expected: at most the one asked for


def memorised(synthetic: Seen, training: Seen, held_out: Seen, rate: float) -> Memorised:
    """Find copies of ``training`` images among ``synthetic`` ones (at least one), with at most ``rate`` false alarms.

    Each space has a threshold, the r-th smallest distance of the n ``held_out`` images with ``r = floor(rate / 2 * (n +
    1))``: a further image like them is below it with a probability of r / (n + 1), and below either with at most
    ``rate``. Distances in pixel space bear a small shift, zoom and rotation and another grey curve
    (``raremix.data.resemblance``), those in feature space are taken after whitening.

    Raises:
        UserError: fewer than three training images, too few held-out ones for ``rate``, or so many of these are
            training images that the threshold would let copies pass. A check that can't be calibrated must not look
            passed.
    """
    n = len(held_out.names)
    rank = int(rate / 2 * (n + 1) + 1e-9)  # in floating point 0.29 * 100 is below 29
    if len(training.names) < 3:
        raise UserError(f"{len(training.names)} training images, three needed to tell a copy; check the split")
    if not rank:
        raise UserError(
            f"{n} held-out images can't calibrate {rate:g} false alarms, {int(np.ceil(2 / rate)) - 1} can; allow more "
            "false alarms or raise split.validation"
        )
    whitening = _whitening(training.features)
    of_synthetic, of_held_out = (_nearest(seen, training, whitening) for seen in (synthetic, held_out))
    thresholds = {space: float(np.sort(of_held_out[space].distances)[rank - 1]) for space in SPACES}
    checked = _table(held_out.names, of_held_out, training.names, thresholds)
    if thresholds["pixel"] < DUPLICATE:
        row = checked.iloc[int(np.argmin(of_held_out["pixel"].distances))]
        raise UserError(
            f"held-out images are training images as well, '{row['image_id']}' is '{row['nearest']}'; remove "
            "duplicates from the data"
        )
    table = _table(synthetic.names, of_synthetic, training.names, thresholds)
    return Memorised(table, checked, thresholds, 2 * rank / (n + 1))


def worst_pairs(found: Memorised, synthetic: Seen, training: Seen, count: int) -> NDArray[np.uint8]:
    """One picture of the ``count`` synthetic images nearest to training: each beside its nearest, ``ACROSS`` a row.

    The worst is top left. Fewer if there are fewer; a last row that is not full is left out.
    """
    table = found.synthetic
    worst = np.argsort(_beyond(table, found.thresholds).min(axis=1), kind="stable")[:count]
    position = {name: index for index, name in enumerate(training.names)}
    beside = [position[name] for name in table["nearest"].iloc[worst]]
    pairs = np.stack([synthetic.pictures[worst], training.pictures[beside]], axis=1)
    return images.grid(pairs.reshape(-1, *pairs.shape[2:]), 2 * min(ACROSS, len(worst)))


@dataclass(frozen=True)
class _Nearest:
    """The nearest training image of each image in one space."""

    distances: Array  # [n], in relation to the next nearest
    indices: NDArray[np.int64]  # [n], into the training images


def _nearest(seen: Seen, training: Seen, whitening: Array) -> dict[str, _Nearest]:
    """By space."""
    own = _own(seen, training)
    neighbours = min(NEIGHBOURS + 1, len(training.names))  # one more than are wanted
    chunks = [_smallest(chunk, neighbours) for chunk in resemblance.distances(seen.pictures, training.pictures)]
    distances, indices = (np.concatenate(part) for part in zip(*chunks, strict=True))
    pixel = _related(*_others(distances, indices, own))
    if not whitening.shape[1]:
        return {"feature": _Nearest(np.full(len(seen.names), np.nan), pixel.indices), "pixel": pixel}
    search = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(training.features @ whitening)
    distances, indices = search.kneighbors(seen.features @ whitening)
    return {"feature": _related(*_others(distances, indices, own)), "pixel": pixel}


def _own(seen: Seen, training: Seen) -> NDArray[np.int64]:
    """``[n]``: the index of the training image that each image is laid over, -1 if there is none."""
    places = {name: index for index, name in enumerate(training.names)}
    return np.array([places.get(name, -1) for name in seen.originals or [""] * len(seen.names)])


def _others(distances: Array, indices: NDArray[np.int64], own: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """The nearest ``[n, neighbours]`` but for the image's ``own`` original; where that is not among them, the last."""
    left_out = indices == own[:, None]
    left_out[~left_out.any(axis=1), -1] = True
    one_less = len(indices), indices.shape[1] - 1
    return distances[~left_out].reshape(one_less), indices[~left_out].reshape(one_less)


def _smallest(distances: resemblance.Array, count: int) -> tuple[resemblance.Array, NDArray[np.int64]]:
    """The ``count`` smallest of each row, ascending, and their columns."""
    columns = np.argpartition(distances, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(distances, columns, axis=1)
    order = np.argsort(values, axis=1)
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(columns, order, axis=1)


def _related(distances: Array, indices: NDArray[np.int64]) -> _Nearest:
    """From the nearest ``[n, neighbours]``, ascending."""
    first, others = distances[:, 0].astype(float), distances[:, 1:].mean(axis=1, dtype=float)
    relative = np.divide(first, others, out=np.zeros_like(first), where=others > 0)
    return _Nearest(relative, indices[:, 0])


def _whitening(features: Array) -> Array:
    """``[width, components]`` that turns features into principal components of variance 1; none if all are equal.

    Networks let a few directions vary a hundred times as much as others that tell images apart as well. There are at
    least four images to a component, and a component varies at least a millionth as much as the first.
    """
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(features, rowvar=False)))
    most = min(COMPONENTS, max(len(features) // 4, 1))
    values, vectors = values[: -most - 1 : -1], vectors[:, : -most - 1 : -1]
    kept = values > max(1e-6 * values[0], 1e-12 * np.square(features).mean())
    axes: Array = vectors[:, kept] / np.sqrt(values[kept])
    return axes


def _table(
    names: Sequence[str], nearest: dict[str, _Nearest], training: Sequence[str], thresholds: dict[str, float]
) -> pd.DataFrame:
    table = pd.DataFrame({"image_id": list(names), "nearest": ""}, dtype=str)
    for space in SPACES:
        table[f"{space}_distance"] = nearest[space].distances
    beyond = _beyond(table, thresholds)
    chosen = np.where(beyond[:, 0] < beyond[:, 1], *(nearest[space].indices for space in SPACES))
    table["nearest"] = [training[index] for index in chosen]
    table["copy"] = beyond.min(axis=1) < 1
    return table


def _beyond(table: pd.DataFrame, thresholds: dict[str, float]) -> Array:
    """``[n, 2]``: distance over threshold, in each space; infinite where a space says nothing."""
    ratios = [table[f"{space}_distance"] / thresholds[space] for space in SPACES]
    return np.nan_to_num(np.stack(ratios, axis=1), nan=np.inf)
