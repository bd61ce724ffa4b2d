"""What a classifier truly reacts to, which the phantom alone can tell: the same patient, with one attribute changed.

Only this module knows the truth; estimates are held against it, never made from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import rankdata

from raremix.data import dicom
from raremix.data.phantom import dicom as phantom_dicom
from raremix.data.phantom import mask, render
from raremix.data.phantom.attributes import draw
from raremix.data.phantom.cohort import Image
from raremix.data.phantom.dataset import image_id, patient_id
from raremix.data.pixels import fit
from raremix.diagnosis.attributes import ends
from raremix.runtime.cores import cores
from raremix.runtime.progress import track
from raremix.runtime.seeds import generator

Array = NDArray[np.float64]
DRAWS = 1000
COVERED = 254  # of a pixel that is all lesion, when a mask is fitted like a picture; half of it is a whole number


@dataclass(frozen=True)
class Scale:
    """The phantom's seed and native height, and the side and window of the pictures that the classifiers see."""

    seed: int
    height: int
    size: int
    window: dicom.Window = "header"


def levels(patients: Sequence[Image], attribute: str, seed: int) -> tuple[float, float]:
    """From where to where ``attribute`` is moved: between its ``ends`` among what the patients have."""
    return ends(pd.Series([draw(seed, one.patient, one.visit)[attribute] for one in patients], name=attribute))


def pictures(patients: Sequence[Image], changes: Sequence[Mapping[str, float]], scale: Scale) -> NDArray[np.uint8]:
    """Each of ``patients`` rendered with each of ``changes``, as ingest sees it: ``[changes, patients, size, size]``.

    An image goes through its DICOM file, as those of the data set did.
    """
    jobs = [(one, change) for change in changes for one in patients]
    work = Parallel(cores(), return_as="generator", inner_max_num_threads=1)
    done = work(delayed(_picture)(one, change, scale) for one, change in jobs)
    images = np.stack(list(track(done, "render", total=len(jobs))))
    return images.reshape(len(changes), len(patients), scale.size, scale.size)


def lesion_masks(patients: Sequence[Image], finding: str, scale: Scale) -> NDArray[np.bool_]:
    """Where ``finding`` is in the ``pictures`` of ``patients``: ``[n, size, size]``.

    A pixel belongs to the lesion if the lesion covers at least half of it; if there is no such pixel, those that it
    covers most. All False for a patient without it, or in whom other findings hide it (``mask`` is empty).
    """
    work = Parallel(cores(), return_as="generator", inner_max_num_threads=1)
    done = work(delayed(_mask)(one, finding, scale) for one in patients)
    return np.stack(list(track(done, "masks", total=len(patients))))


def effects(before: Array, after: Array, seed: str) -> pd.DataFrame:
    """``effect, low, high`` by column of ``before`` and ``after [n, findings]``: the mean change in probability.

    The interval is a 95 % percentile bootstrap over images.
    """
    change = after - before
    rng = generator("truth", seed)
    means = np.stack([change[rng.integers(len(change), size=len(change))].mean(axis=0) for _ in range(DRAWS)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return pd.DataFrame({"effect": change.mean(axis=0), "low": low, "high": high})


def reliability(changes: Array, seed: str, halvings: int = 100) -> dict[str, float]:
    """How well effects measured on one half of the images agree with the other half's, stepped up to all images.

    Correlation over attributes and findings of the effects (``pearson``) and of their ranks (``spearman``), averaged
    over random halvings, stepped up after Spearman and Brown (Brown 1910); not below 0, and 0 for a classifier that
    nothing moves. ``changes`` are in probability, ``[attributes, n, findings]``.
    """
    rng, count = generator("reliability", seed), changes.shape[1]
    found = []
    for _ in range(halvings):
        order = rng.permutation(count)
        halves = np.stack([changes[:, part].mean(axis=1).ravel() for part in np.array_split(order, 2)])
        found.append([_correlation(halves), _correlation(rankdata(halves, axis=1))])
    means = np.maximum(np.mean(found, axis=0), 0)
    return {name: float(2 * mean / (1 + mean)) for name, mean in zip(("pearson", "spearman"), means, strict=True)}


def _correlation(halves: Array) -> float:
    return float(np.corrcoef(*halves)[0, 1]) if (np.ptp(halves, axis=1) > 0).all() else 0.0


def _picture(one: Image, change: Mapping[str, float], scale: Scale) -> NDArray[np.uint8]:
    changes: dict[str, Any] = {**one.severities, **change}
    pixels, truth = render(one.patient, one.visit, seed=scale.seed, height=scale.height, **changes)
    name = image_id(scale.seed, one.patient, one.visit)
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.dicom"
        phantom_dicom.write(file, pixels, truth, name, patient_id(one.patient))
        grey, _ = dicom.decode(file.read_bytes(), scale.window)
    return fit(grey, scale.size)[0]


def _mask(one: Image, finding: str, scale: Scale) -> NDArray[np.bool_]:
    there = mask(one.patient, finding, one.visit, seed=scale.seed, height=scale.height, **one.severities)
    covered, _ = fit(there.astype(np.float32) * COVERED, scale.size)
    return np.asarray(covered >= max(1, min(COVERED // 2, covered.max())))
