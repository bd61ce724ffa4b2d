"""Linear boundaries of attributes in h-space and e-space, at every sampling step.

In: the latents of real images, what is known of them. Out: the unit normals; boundaries.csv (how well each boundary
holds on images it has not seen, against permuted labels, and how stable it is) and cosines.csv (between attributes, at
the step where boundaries in that space hold best).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jsonargparse.typing import PositiveInt
from safetensors.numpy import save_file

from raremix.data.captions import read_metadata
from raremix.data.manifest import read_manifest, write_csv
from raremix.diagnosis.attributes import of_headers, of_phantom, present
from raremix.diagnosis.boundary import Boundaries, check, fit
from raremix.diagnosis.stored import read
from raremix.runtime.errors import UserError
from raremix.runtime.progress import track
from stages.cli import run


@dataclass(frozen=True)
class Boundary:
    """Which boundaries, and how they are fitted."""

    attributes: list[str]
    components: PositiveInt  # principal components that a normal is made of
    permutations: PositiveInt  # of the labels, for the null
    resamples: PositiveInt  # of the images, for the stability

    def __post_init__(self) -> None:
        if not self.attributes or len(set(self.attributes)) < len(self.attributes):
            raise UserError("params.yaml, boundary.attributes: name at least one, each once")


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
    boundary: Boundary,
    layout: Literal["phantom", "vindr", "table"],
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
    values = of_phantom(rows, seed) if layout == "phantom" else of_headers(read_metadata(metadata).loc[kept])
    labels = present(values, boundary.attributes)
    check(labels.to_numpy(), boundary.attributes, boundary.components)
    used = listed.index.get_indexer(labels.index)
    real = read(latents / "real")
    spaces = {"h": real.h[:, :, 0], "e": real.e}
    tables, cosines = [], []
    out.mkdir(parents=True, exist_ok=True)
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
        tables += [_table(space, step, boundary.attributes, one) for step, one in enumerate(found)]
        best = found[int(np.argmax([one.auc.mean() for one in found]))].normals
        cosines.append(_cosines(space, boundary.attributes, best))
        normals = np.stack([one.normals for one in found]).reshape(len(found), -1, *array.shape[2:])
        save_file({"normals": normals.astype(np.float32)}, out / f"{space}.safetensors")
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
