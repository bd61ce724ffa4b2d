"""Where a classifier looks: Grad-CAM, Integrated Gradients and counterfactuals, scored by the phantom's true lesions.

In: the phantom's tables, a trained classifier with its predictions on validation, the base model. The patients are of
a seed that no other stage draws from. Out: localisation.csv (does each method find the lesion, and what would chance),
counterfactuals.csv (how many decisions were flipped, and by how small an edit), pictures of both. Real data have no
masks: there the tables are empty.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray

from raremix.data import Layout
from raremix.data.dicom import Window
from raremix.data.images import save
from raremix.data.manifest import write_csv
from raremix.data.phantom import cohort
from raremix.diagnosis.counterfactual import Counterfactuals, Decision, Search, counterfactuals
from raremix.diagnosis.explain import difference, gallery, grad_cam, integrated_gradients, localisation, panel
from raremix.diagnosis.eyes import load_run
from raremix.diagnosis.truth import Scale, lesion_masks, pictures
from raremix.generator.base import load
from raremix.runtime.device import device, one_core
from raremix.runtime.errors import UserError
from stages.cli import run

SCORES = ["pointing", "pointing_low", "pointing_high", "iou", "iou_low", "iou_high"]
LOCALISATION = ["finding", "method", "n", *SCORES, "chance_pointing", "chance_iou"]
FLIPS = ["finding", "decision", "n", "flipped", "median_size", "median_change"]
SHOWN = 2  # images of each finding in the pictures
METHODS = {"grad_cam": grad_cam, "integrated_gradients": integrated_gradients}


@dataclass(frozen=True)
class Explain(Search):
    """What is explained, and how counterfactuals are looked for."""

    images: PositiveInt  # carriers of each finding; those whose lesion other findings hide are left out


@dataclass(frozen=True)
class Explained:
    """The carriers of one finding. All methods explain the same pictures: ``edits.before``."""

    found: NDArray[np.bool_]  # by the classifier
    masks: NDArray[np.bool_]
    maps: dict[str, NDArray[np.float64]]  # by method
    edits: Counterfactuals


@one_core()
def explain(
    explain: Explain,
    layout: Layout,
    root: Path,
    seed: int,
    height: int,
    size: int,
    window: Window,
    classifier: Path,
    pipeline: Path,
    metrics: Path,
) -> None:
    """Explain decisions of a classifier in three ways, and see which of them find the lesion."""
    explained: dict[str, Explained] = {}
    if layout == "phantom":
        if not (classifier / "predictions.csv").is_file():
            raise UserError(f"{classifier}: holds no predictions.csv for a threshold; run `dvc repro classify`")
        network, diagnosed = load_run(classifier)
        decisions = {
            finding: Decision(network, output, threshold)
            for output, (finding, threshold) in enumerate(zip(diagnosed.findings, diagnosed.thresholds, strict=True))
        }
        base, scale = load(pipeline).to(device()), Scale(seed + 3, height, size, window)
        asked = (explain.images * len(decisions), list(decisions), explain.images)
        patients = cohort.test_part(cohort.tables(root), scale.seed, *asked, 0)
        for finding, decision in decisions.items():
            carriers = [one for one in patients if finding in one.severities][: explain.images]
            explained[finding] = _explained(explain, carriers, finding, scale, decision, base)
        _draw(explained, metrics)
    located = [row for finding, one in explained.items() for row in _located(finding, one)]
    write_csv(pd.DataFrame(located, columns=LOCALISATION), metrics / "localisation.csv", "%.4f")
    flips = [row for finding, one in explained.items() for row in _flips(finding, one)]
    write_csv(pd.DataFrame(flips, columns=FLIPS), metrics / "counterfactuals.csv", "%.4f")


def _explained(
    explain: Explain,
    carriers: list[cohort.Image],
    finding: str,
    scale: Scale,
    decision: Decision,
    base: StableDiffusionPipeline,
) -> Explained:
    masks = lesion_masks(carriers, finding, scale)
    there = masks.any(axis=(1, 2))
    if not there.any():
        raise UserError(
            f"params.yaml, explain.images: in none of {len(carriers)} carriers {finding} can be seen; raise it"
        )
    edits = counterfactuals(base, pictures(carriers, [{}], scale)[0][there], decision, explain)
    maps = {name: method(decision.model, edits.before, decision.output) for name, method in METHODS.items()}
    maps["counterfactual"] = difference(edits.before, edits.after)
    return Explained(edits.chances[:, 0] >= decision.threshold, masks[there], maps, edits)


def _located(finding: str, one: Explained) -> list[dict[str, object]]:
    """How well each method finds the lesions that the classifier finds: what it misses, it need not look at."""
    masks = one.masks[one.found]
    return [
        {"finding": finding, "method": method, "n": len(masks), **localisation(maps[one.found], masks, finding)}
        for method, maps in one.maps.items()
    ]


def _flips(finding: str, one: Explained) -> list[dict[str, object]]:
    """How often, and by how little, a finding that was found is taken away, and one that was missed is made plain."""
    change = 255 * one.maps["counterfactual"].mean(axis=(1, 2))
    rows = []
    for decision, images in {"found": one.found, "missed": ~one.found}.items():
        flipped = images & one.edits.flipped
        rows.append(
            {
                "finding": finding,
                "decision": decision,
                "n": int(images.sum()),
                "flipped": int(flipped.sum()),
                "median_size": pd.Series(one.edits.sizes[flipped]).median(),
                "median_change": pd.Series(change[flipped]).median(),
            }
        )
    return rows


def _draw(explained: dict[str, Explained], metrics: Path) -> None:
    """A few images of each finding in both pictures: the surest of those found, before missed ones."""
    shown = [
        (finding, one, index)
        for finding, one in explained.items()
        for index in np.lexsort((-one.edits.chances[:, 0], ~one.found))[:SHOWN]
    ]
    before, after, masks = (
        np.stack(parts)
        for parts in zip(*((one.edits.before[k], one.edits.after[k], one.masks[k]) for _, one, k in shown), strict=True)
    )
    maps = {name: np.stack([one.maps[name][k] for _, one, k in shown]) for name in shown[0][1].maps}
    save(panel(before, maps, masks), metrics / "panel.png")
    captions = ["{} {:.2f} -> {:.2f}".format(finding, *one.edits.chances[k]) for finding, one, k in shown]
    save(gallery(before, after, masks, captions, SHOWN), metrics / "counterfactuals.png")


if __name__ == "__main__":
    run(explain)
