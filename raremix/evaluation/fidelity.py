"""How good synthetic images are beside real ones: KID, precision and recall, density and coverage, MS-SSIM.

A figure that needs more images than there are is NaN, not an error: findings of a dozen images stand in one table with
those of hundreds, and the numbers of images stand beside the figures. All figures depend on the feature extractor, and
precision, recall, density and coverage on the numbers of images too: hold them against the same figures of two sets of
real images. Where there are a dozen real images, the nearest of each are far off, and nearly all is near them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

Array = NDArray[np.float64]
Pictures = NDArray[np.uint8]

WINDOW = 11  # pixels, of SSIM's Gaussian with its standard deviation of 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from fine to coarse: Wang, Simoncelli and Bovik 2003
BATCH = 256


@dataclass(frozen=True)
class Measuring:
    """How fidelity is measured."""

    subsets: PositiveInt  # of KID
    subset_size: PositiveInt  # images; fewer where there are fewer
    neighbours: PositiveInt  # k of precision, recall, density and coverage
    pairs: PositiveInt  # of images, for MS-SSIM; fewer where there are fewer


@dataclass(frozen=True)
class Fidelity:
    """What was measured, a row of a table; NaN where there are too few images."""

    real: int  # images
    synthetic: int
    kid: float  # 0 for one population; below 0 by chance
    kid_sd: float  # over the subsets, which overlap: no standard error
    kid_subset: int  # images of each kind in a subset
    precision: float  # 0..1, the share of synthetic images among the real ones
    recall: float  # 0..1, the share of real images among the synthetic ones
    density: float  # at least 0, about 1 for one population
    coverage: float  # 0..1, the share of real images with a synthetic one nearby
    similarity_real: float  # mean MS-SSIM of pairs, 0..1; the higher, the less diverse
    similarity_synthetic: float


def fidelity(
    real: Array, synthetic: Array, real_pictures: Pictures, synthetic_pictures: Pictures, how: Measuring, seed: int
) -> Fidelity:
    """All measures of one set of synthetic images; the order of the images changes nothing.

    Args:
        real, synthetic: features ``[n, width]`` and ``[m, width]``.
        real_pictures, synthetic_pictures: the same images, ``[n, side, side]`` and ``[m, side, side]``.
        how: numbers of subsets, neighbours and pairs.
        seed: of subsets and pairs.
    """
    size = min(how.subset_size, len(real), len(synthetic))
    mean, spread = kid(real, synthetic, how.subsets, size, np.random.default_rng(seed))
    similar = [
        similarity(pictures, how.pairs, np.random.default_rng(seed)) for pictures in (real_pictures, synthetic_pictures)
    ]
    return Fidelity(
        len(real), len(synthetic), mean, spread, size, *neighbourhood(real, synthetic, how.neighbours), *similar
    )


def kid(real: Array, synthetic: Array, subsets: int, size: int, rng: np.random.Generator) -> tuple[float, float]:
    """Kernel inception distance of features ``[n, width]`` and ``[m, width]``: mean and spread over the subsets.

    The unbiased estimate of the squared maximum mean discrepancy with the kernel ``(x y / width + 1)^3`` (Binkowski et
    al. 2018), in each of ``subsets`` draws of ``size`` real and ``size`` synthetic images without replacement. Larger
    features give larger distances. NaN if ``size`` is below 2.
    """
    if size < 2:
        return float("nan"), float("nan")
    # Sorted, so that a seed draws the same images in whatever order they came.
    kinds = [features[np.lexsort(features.T)] for features in (real, synthetic)]
    distances = [_discrepancy(*(kind[rng.permutation(len(kind))[:size]] for kind in kinds)) for _ in range(subsets)]
    return float(np.mean(distances)), float(np.std(distances))


def neighbourhood(real: Array, synthetic: Array, k: int) -> tuple[float, float, float, float]:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Every image is a ball that reaches to its k-th nearest of its own kind. Precision is the share of synthetic images
    inside any real ball, recall the share of real images inside any synthetic ball, density the number of real balls
    that a synthetic image is in, over k, and coverage the share of real balls with a synthetic image.

    Args:
        real, synthetic: features ``[n, width]`` and ``[m, width]``; takes 8 n m bytes, n and m each in turn.
        k: from 1.

    Returns:
        Precision, recall, density and coverage; NaN unless there are more than ``k`` images of each kind, and if the
        features of all real ones are equal, for then their balls have no inside.
    """
    if min(len(real), len(synthetic)) <= k or (real == real[0]).all():
        return (float("nan"),) * 4
    reach_real, reach_synthetic = _reach(real, k), _reach(synthetic, k)
    between = cdist(real, synthetic)
    in_real = between < reach_real[:, None]
    in_synthetic = between < reach_synthetic
    return (
        float(in_real.any(axis=0).mean()),
        float(in_synthetic.any(axis=1).mean()),
        float(in_real.sum(axis=0).mean() / k),
        float(in_real.any(axis=1).mean()),
    )


def similarity(pictures: Pictures, pairs: int, rng: np.random.Generator) -> float:
    """Mean MS-SSIM (0..1) of random pairs of different pictures ``[n, side, side]``, as Odena et al. 2017 use it.

    All pairs if there are no more than ``pairs``, ordered ones. As many scales as SSIM's window of 11 pixels fits into,
    with the weights of Wang et al. 2003 for those, made to sum to 1: 3 at a side of 64, 4 from 99, all 5 from 176. So
    compare pictures of one size only. NaN of fewer than two pictures, and below a side of 11.
    """
    weights = _scale_weights(pictures.shape[1])
    if len(pictures) < 2 or not weights:
        return float("nan")
    ordered = pictures[sorted(range(len(pictures)), key=lambda index: pictures[index].tobytes())]
    first, second = (torch.from_numpy(ordered[part])[:, None] for part in _pairs(len(pictures), pairs, rng))
    found = []
    for start in range(0, len(first), BATCH):
        one, other = (part[start : start + BATCH] / 255 for part in (first, second))
        found.append(
            multiscale_structural_similarity_index_measure(
                one, other, kernel_size=WINDOW, reduction="none", data_range=1.0, betas=weights
            )
        )
    return float(torch.cat(found).double().mean())


def _discrepancy(first: Array, second: Array) -> float:
    """Unbiased squared maximum mean discrepancy of as many images each; torchmetrics' is slow if threads are few."""
    n = len(first)
    within = sum(kernel.sum() - np.trace(kernel) for kernel in (_kernel(first, first), _kernel(second, second)))
    return float(within / (n * (n - 1)) - 2 * _kernel(first, second).mean())


def _kernel(first: Array, second: Array) -> Array:
    kernel: Array = (first @ second.T / first.shape[1] + 1) ** 3
    return kernel


def _reach(features: Array, k: int) -> Array:
    """Distance of each image to its k-th nearest other."""
    reach: Array = np.partition(cdist(features, features), k, axis=1)[:, k]
    return reach


def _scale_weights(side: int) -> tuple[float, ...]:
    """Empty if not even one scale fits."""
    # The first is what torchmetrics asks for, the second that the window fits into the smallest picture.
    fit = [n for n in range(1, 6) if side // max(n - 1, 1) ** 2 >= WINDOW and side >> (n - 1) >= WINDOW]
    weights = SCALE_WEIGHTS[: max(fit, default=0)]
    return tuple(weight / sum(weights) for weight in weights)


def _pairs(count: int, most: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the first and second of ordered pairs, none twice."""
    every = count * (count - 1)
    first, step = np.divmod(rng.choice(every, min(most, every), replace=False), count - 1)
    return first, (first + 1 + step) % count
