"""Linear boundaries in a latent space: on one side an attribute is present, on the other it is not.

Shen et al. 2020 found them in GANs, Zhu et al. 2023 (boundary diffusion) in diffusion models. There are far more
dimensions than images, so a boundary is fitted in the span of the first principal components, by ridge regression on
the labels: between Fisher's discriminant and, the stronger the ridge, the difference of the means.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator, seed_for

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
STRENGTHS = np.logspace(-2, 4, 7)  # of the ridge, in units of the images' number times the components' mean variance
FOLDS = 5
LEAST = 10  # images of either class, without which a fold may have none


@dataclass(frozen=True)
class Boundaries:
    """Of every attribute, in one space at one step."""

    normals: Array  # unit vectors [attributes, dimensions], towards where the attribute is present
    auc: Array  # on images that were held out, [attributes]
    null: Array  # what 95 % of boundaries of permuted labels stay below, [attributes]
    stability: Array  # mean cosine to the normals of bootstrap resamples, [attributes]


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

    auc = _auc(labels, _held_out(inside, labels, components, seed))
    permuted = [labels[rng.permutation(len(labels))] for _ in range(permutations)]
    scores = _held_out(inside, np.concatenate(permuted, 1), components, seed)
    null = [_auc(one, part) for one, part in zip(permuted, np.split(scores, permutations, axis=1), strict=True)]
    normals, ridge = _normals(inside, labels, components, seed, None)
    drawn = [rng.integers(len(labels), size=len(labels)) for _ in range(resamples)]
    again = [(_normals(inside[rows], labels[rows], components, seed, ridge)[0] * normals).sum(axis=1) for rows in drawn]
    whole = (normals / lengths) @ axes.T @ centred
    return Boundaries(whole, auc, np.quantile(null, 0.95, axis=0), np.mean(again, axis=0))


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
                f"params.yaml, boundary.attributes: '{attribute}' is present in {present} of {len(labels)} images; a "
                f"boundary needs {LEAST} on either side: leave it out or raise latents.images"
            )


def _auc(labels: Labels, scores: Array) -> Array:
    return np.array([roc_auc_score(labels[:, k], scores[:, k]) for k in range(labels.shape[1])])


def _held_out(latents: Array, targets: Labels, components: int, seed: str) -> Array:
    """Scores ``[n, targets]`` of images by boundaries that were fitted without them."""
    scores = np.zeros(targets.shape)
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed_for("folds", seed) % 2**32).split(latents):
        reduced, found = _reduced(latents[train], components, seed)
        model = _ridge(found).fit(found, targets[train])
        scores[test] = model.predict(reduced.transform(latents[test])).reshape(len(test), -1)
    return scores


def _normals(latents: Array, labels: Labels, components: int, seed: str, ridge: Array | None) -> tuple[Array, Array]:
    """Unit normals ``[attributes, dimensions]`` and the ridge of each, which is found if it is not given."""
    reduced, found = _reduced(latents, components, seed)
    model = (_ridge(found) if ridge is None else Ridge(ridge)).fit(found, labels)
    normals = model.coef_.reshape(labels.shape[1], -1) @ reduced.components_
    strengths = np.broadcast_to(model.alpha_, labels.shape[1]) if ridge is None else ridge
    return normals / np.linalg.norm(normals, axis=1, keepdims=True), strengths


def _reduced(latents: Array, components: int, seed: str) -> tuple[PCA, Array]:
    reduced = PCA(components, svd_solver="randomized", random_state=seed_for("components", seed) % 2**32)
    return reduced, reduced.fit_transform(latents)


def _ridge(found: Array) -> RidgeCV:
    """A ridge regression that finds the strength of each attribute for itself."""
    return RidgeCV(STRENGTHS * found.var() * len(found), alpha_per_target=True)
