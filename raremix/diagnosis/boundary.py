"""Linear boundaries in a latent space: on one side an attribute is present, on the other it is not.

Shen et al. 2020 found them in GANs, Zhu et al. 2023 (boundary diffusion) in diffusion models. There are far more
dimensions than images, so a boundary is fitted in the span of the first principal components, by ridge regression on
the labels: between Fisher's discriminant and, the stronger the ridge, the difference of the means.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold

from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator, seed_for

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
STRENGTHS = np.logspace(-2, 4, 7)  # of the ridge, in units of the images' number times the components' mean variance
FOLDS = 5
SHRINKAGE = 0.02  # of the normals' products, lest two that nearly agree leave each other nothing
LEAST = 10  # images of either class, without which a fold may have none


@dataclass(frozen=True)
class Boundaries:
    """Of every attribute, in one space at one step."""

    normals: Array  # unit vectors [attributes, dimensions], towards where the attribute is present
    auc: Array  # on images that were held out, [attributes]
    null: Array  # what 95 % of boundaries of permuted labels stay below, [attributes]
    stability: Array  # mean cosine to the normals of bootstrap resamples, [attributes]
    moves: (
        Array  # along each normal, the others' taken out, a standard deviation of the images [attributes, dimensions]
    )
    permuted: Array  # the same of permuted labels [attributes, dimensions]


def fit(latents: Array, labels: Labels, components: int, seed: str, permutations: int, resamples: int) -> Boundaries:
    """The boundaries of ``labels [n, attributes]`` (0 or 1) between ``latents [n, dimensions]``, one image a patient.

    The null is of labels permuted ``permutations`` times, the stability of images resampled ``resamples`` times.
    """
    rng = generator("boundary", seed)
    centred = latents - latents.mean(axis=0)
    # n images span no more than n dimensions: in a basis of their span every fit is the same, and many times faster.
    squares, axes = np.linalg.eigh(centred @ centred.T)
    spanned = squares > squares[-1] * 1e-9
    lengths, axes = np.sqrt(squares[spanned]), axes[:, spanned]
    inside = axes * lengths

    permuted = [labels[rng.permutation(len(labels))] for _ in range(permutations)]
    targets = np.concatenate([labels, *permuted], 1)
    areas = _auc(targets, _held_out(inside, targets, labels, components, seed)).reshape(1 + permutations, -1)
    normals, ridge = _normals(inside, labels, components, None)
    drawn = [rng.integers(len(labels), size=len(labels)) for _ in range(resamples)]
    again = [(_normals(inside[rows], labels[rows], components, ridge)[0] * normals).sum(axis=1) for rows in drawn]
    nothing, _ = _normals(inside, permuted[0], components, ridge)
    whole, moves, pointless = (
        (found / lengths) @ axes.T @ centred
        for found in (normals, _conditional(normals, inside), _conditional(nothing, inside))
    )
    return Boundaries(whole, areas[0], np.quantile(areas[1:], 0.95, axis=0), np.mean(again, axis=0), moves, pointless)


def check(labels: Labels, attributes: list[str], components: int) -> None:
    """Refuse labels ``[n, attributes]`` that have no boundary.

    Raises:
        UserError: too few images for the components, or an attribute with (nearly) one class only.
    """
    if len(labels) < 2 * components:
        raise UserError(
            f"params.yaml, boundary.components: {components} ask for {2 * components} images or more, {len(labels)} "
            "are left; lower it, or raise latents.images, or lower latents.least_decibels"
        )
    for attribute, present in zip(attributes, labels.sum(axis=0), strict=True):
        if min(present, len(labels) - present) < LEAST:
            raise UserError(
                f"params.yaml, measured.attributes: '{attribute}' is present in {present} of {len(labels)} images; a "
                f"boundary needs {LEAST} on either side: leave it out or raise latents.images"
            )


def _auc(labels: Labels, scores: Array) -> Array:
    """The area under the curve of each column, from its ranks (Mann and Whitney 1947): thousands are asked for."""
    present = labels.sum(axis=0)
    above = (rankdata(scores, axis=0) * labels).sum(axis=0) - present * (present + 1) / 2
    return np.asarray(above / (present * (len(labels) - present)))


def _held_out(latents: Array, targets: Labels, labels: Labels, components: int, seed: str) -> Array:
    """Scores ``[n, targets]`` of images by boundaries that were fitted without them.

    ``targets`` are the ``labels`` and permutations of them, which share the ridge of their attribute.
    """
    scores = np.zeros(targets.shape)
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed_for("folds", seed) % 2**32).split(latents):
        reduced, found = _reduced(latents[train], components)
        ridge = _strengths(found, labels[train])
        model = Ridge(np.tile(ridge, targets.shape[1] // len(ridge))).fit(found, targets[train])
        scores[test] = model.predict(reduced.transform(latents[test])).reshape(len(test), -1)
    return scores


def _normals(latents: Array, labels: Labels, components: int, ridge: Array | None) -> tuple[Array, Array]:
    """Unit normals ``[attributes, dimensions]`` and the ridge of each, which is found if it is not given."""
    reduced, found = _reduced(latents, components)
    strengths = _strengths(found, labels) if ridge is None else ridge
    model = Ridge(strengths).fit(found, labels)
    normals = model.coef_.reshape(labels.shape[1], -1) @ reduced.components_
    return normals / np.linalg.norm(normals, axis=1, keepdims=True), strengths


def _conditional(normals: Array, latents: Array) -> Array:
    """The directions ``[attributes, dimensions]`` that cross one boundary and (nearly) run along all others.

    Each is as long as the standard deviation of ``latents`` along it (Shen et al. 2020, section 3.3, for many at once).
    """
    products = normals @ normals.T + SHRINKAGE * np.eye(len(normals))
    directions = np.linalg.solve(products, normals)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions * (latents @ directions.T).std(axis=0)[:, None])


def _reduced(latents: Array, components: int) -> tuple[PCA, Array]:
    reduced = PCA(components, svd_solver="covariance_eigh")
    return reduced, reduced.fit_transform(latents)


def _strengths(found: Array, labels: Labels) -> Array:
    """The ridge of each attribute, by leaving one image out."""
    model = RidgeCV(STRENGTHS * found.var() * len(found), alpha_per_target=True).fit(found, labels)
    return np.broadcast_to(model.alpha_, labels.shape[1])
