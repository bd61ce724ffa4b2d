"""Linear boundaries in a latent space: on one side an attribute is present, on the other it is not.

Shen et al. 2020 found them in GANs, Zhu et al. 2023 (boundary diffusion) in diffusion models. There are far more
dimensions than images, so a boundary is fitted in the span of the first principal components, by ridge regression on
the labels, which has the direction of Fisher's discriminant.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator, seed_for

Array = NDArray[np.float64]
STRENGTHS = np.logspace(-2, 4, 7)  # of ridge regression, in units of the components' mean variance
FOLDS = 5
LEAST = 10  # images of either class, without which a fold may have none


@dataclass(frozen=True)
class Boundaries:
    """Of every attribute, in one space at one step."""

    normals: Array  # unit vectors [attributes, dimensions], towards where the attribute is present
    auc: Array  # on images that were held out, [attributes]
    null: Array  # what 95 % of boundaries of permuted labels stay below, [attributes]
    stability: Array  # mean cosine to the normals of bootstrap resamples, [attributes]


def fit(latents: Array, labels: NDArray[np.int64], components: int, seed: str, resamples: int) -> Boundaries:
    """The boundaries of ``labels [n, attributes]`` (0 or 1) between ``latents [n, dimensions]``.

    ``resamples`` is how often labels are permuted for the null, and images resampled for the stability.
    """
    rng = generator("boundary", seed)
    # n images span no more than n dimensions: in a basis of their span every fit is the same, and many times faster.
    basis = np.linalg.svd(latents - latents.mean(axis=0), full_matrices=False)[2]
    latents = (latents - latents.mean(axis=0)) @ basis.T
    permuted = [labels[rng.permutation(len(labels))] for _ in range(resamples)]
    scores = _held_out(latents, np.concatenate([labels, *permuted], 1), components, seed)
    aucs = np.array(
        [
            [roc_auc_score(truth[:, k], scores[:, part * labels.shape[1] + k]) for k in range(labels.shape[1])]
            for part, truth in enumerate([labels, *permuted])
        ]
    )
    normals = _normals(latents, labels, components, seed)
    drawn = [rng.integers(len(labels), size=len(labels)) for _ in range(resamples)]
    again = [(_normals(latents[rows], labels[rows], components, seed) * normals).sum(axis=1) for rows in drawn]
    return Boundaries(normals @ basis, aucs[0], np.quantile(aucs[1:], 0.95, axis=0), np.mean(again, axis=0))


def check(labels: NDArray[np.int64], attributes: list[str], components: int) -> None:
    """Refuse labels ``[n, attributes]`` that have no boundary.

    Raises:
        UserError: too few images for the components, or an attribute with (nearly) one class only.
    """
    if len(labels) < 2 * components:
        raise UserError(
            f"params.yaml, boundary.components: {components} ask for {2 * components} images or more, there are "
            f"{len(labels)}; lower it or raise latents.images"
        )
    for attribute, present in zip(attributes, labels.sum(axis=0), strict=True):
        if min(present, len(labels) - present) < LEAST:
            raise UserError(
                f"params.yaml, boundary.attributes: '{attribute}' is present in {present} of {len(labels)} images; a "
                f"boundary needs {LEAST} on either side: leave it out or raise latents.images"
            )


def conditional(normals: Array, of: int, others: list[int]) -> Array:
    """The normal ``of`` one attribute with what it shares with the ``others`` taken out; a unit vector."""
    basis, _ = np.linalg.qr(normals[others].T)
    left = normals[of] - basis @ (basis.T @ normals[of])
    return np.asarray(left / np.linalg.norm(left))


def _held_out(latents: Array, targets: NDArray[np.int64], components: int, seed: str) -> Array:
    """Scores ``[n, targets]`` of images by boundaries that were fitted without them."""
    scores = np.zeros(targets.shape)
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed_for("folds", seed) % 2**32).split(latents):
        reduced, model = _fitted(latents[train], targets[train], components, seed)
        scores[test] = model.predict(reduced.transform(latents[test]))
    return scores


def _normals(latents: Array, labels: NDArray[np.int64], components: int, seed: str) -> Array:
    reduced, model = _fitted(latents, labels, components, seed)
    normals = model.coef_ @ reduced.components_
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _fitted(latents: Array, targets: NDArray[np.int64], components: int, seed: str) -> tuple[PCA, RidgeCV]:
    reduced = PCA(components, svd_solver="randomized", random_state=seed_for("components", seed) % 2**32)
    found = reduced.fit_transform(latents)
    return reduced, RidgeCV(STRENGTHS * found.var() * len(found)).fit(found, targets)
