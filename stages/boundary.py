"""Linear boundaries of attributes in h-space and e-space, at every sampling step.

In: the latents of real images, what is known of them. Out: the unit normals; boundaries.csv (how well each boundary
holds on images it has not seen, against permuted labels, and how stable it is) and cosines.csv (between attributes, at
the step where boundaries in that space hold best).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse.typing import PositiveInt

from raremix.data import Layout
from raremix.data.manifest import read_manifest, write_csv
from raremix.diagnosis.attributes import known, present
from raremix.diagnosis.boundary import Boundaries, check, fit
from raremix.diagnosis.stored import DIRECTIONS, read, write_directions
from raremix.runtime.errors import UserError
from raremix.runtime.progress import track
from stages.cli import run
from stages.diagnosed import Measured


@dataclass(frozen=True)
class Boundary:
    """How boundaries are fitted."""

    components: PositiveInt  # principal components that a normal is made of
    permutations: PositiveInt  # of the labels, for the null
    resamples: PositiveInt  # of the images, for the stability


def check_images(boundary: Boundary, images: int) -> None:
    """Refuse more components than ``images``, latents.images, can bear.

    Raises:
        UserError: says how many images they ask for.
    """
    if images < 2 * boundary.components:
        raise UserError(
            f"params.yaml, boundary.components: {boundary.components} ask for latents.images of "
            f"{2 * boundary.components} or more, not {images}"
        )


def boundary(
    measured: Measured,
    boundary: Boundary,
    layout: Layout,
    seed: int,
    manifest: Path,
    metadata: Path,
    latents: Path,
    out: Path,
    metrics: Path,
) -> None:
    """Fit the boundaries of all attributes in both spaces, step by step."""
    listed = pd.read_csv(latents / "real" / "images.csv", dtype={"image_id": str}).set_index("image_id")
    kept = listed.index[listed["kept"] == 1]
    rows = read_manifest(manifest).set_index("image_id", drop=False).loc[kept]
    labels = present(known(measured.attributes, layout, rows, metadata, seed))
    check(labels.to_numpy(), measured.attributes, boundary.components)
    used = listed.index.get_indexer(labels.index)
    real = read(latents / "real")
    spaces = {"h": real.h[:, :, 0], "e": real.e}
    tables, cosines = [], []
    for space, array in spaces.items():
        found = []
        for step in track(range(array.shape[1]), f"boundaries in {space}"):
            flat = np.asarray(array[:, step])[used].reshape(len(used), -1).astype(np.float64)
            found.append(
                fit(
                    flat, labels.to_numpy(), boundary.components, f"{space} {step}", boundary.permutations,
                    boundary.resamples,
                )
            )  # fmt: skip
        tables += [_table(space, step, measured.attributes, one) for step, one in enumerate(found)]
        best = found[int(np.argmax([one.auc.mean() for one in found]))].normals
        cosines.append(_cosines(space, measured.attributes, best))
        parts = {part: np.stack([getattr(one, part) for one in found]) for part in DIRECTIONS}
        write_directions(out / f"{space}.safetensors", parts, array.shape[2:])
    write_csv(pd.concat(tables), metrics / "boundaries.csv", "%.4f")
    write_csv(pd.concat(cosines), metrics / "cosines.csv", "%.3f")


def _table(space: str, step: int, attributes: list[str], found: Boundaries) -> pd.DataFrame:
    figures = {"auc": found.auc, "null": found.null, "stability": found.stability}
    return pd.DataFrame({"space": space, "step": step, "attribute": attributes, **figures})


def _cosines(space: str, attributes: list[str], normals: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(normals @ normals.T, columns=attributes).assign(attribute=attributes, space=space)[
        ["space", "attribute", *attributes]
    ]


if __name__ == "__main__":
    run(boundary)
