"""A planted bias: a classifier trained where an attribute coincides with a finding, and its fair twin.

In: the phantom's tables, the backbone. The patients are of a seed that nobody else uses. Out: the classifiers biased
and fair, which differ in the attribute of their training images alone, and their losses.csv; auroc.csv (what the
shortcut gives and costs on images of other patients). Real data cannot be rendered with an attribute changed: there
is no classifier, and both tables have no row (DVC does not bring back an empty directory).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse.typing import ClosedUnitInterval
from numpy.typing import NDArray

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import probability, save_run
from raremix.classifier.train import ClassifierTraining, Examples, train
from raremix.data import Layout
from raremix.data.dicom import Window
from raremix.data.findings import FINDINGS, known
from raremix.data.manifest import write_csv
from raremix.data.phantom import cohort
from raremix.data.phantom.attributes import ATTRIBUTES
from raremix.diagnosis.planted import Labels, ends
from raremix.diagnosis.truth import Scale, levels, pictures
from raremix.evaluation.metrics import auroc
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import one_core
from raremix.runtime.errors import UserError
from stages.cli import run

AUROC = ["classifier", "images", "auroc"]
LOSSES = ["classifier", "step", "loss"]
ASKED = {"coincide": 1.0, "independent": 0.5, "opposed": 0.0}  # agreement in the held-out images
LEAST = 8  # patients; a quarter of them, held out, must hold both classes


@dataclass(frozen=True)
class Planted:
    """Which bias, and the classifier that is to learn it."""

    finding: str
    attribute: str  # of the phantom
    agreement: ClosedUnitInterval  # the share of the biased one's training images where finding and attribute coincide
    patients: int  # to train on, one image each; a quarter as many others are held out
    model: str  # a torchvision classifier, the backbone's
    training: ClassifierTraining

    def __post_init__(self) -> None:
        known([self.finding], FINDINGS, "planted.finding")
        if self.attribute not in ATTRIBUTES:
            raise UserError(
                f"params.yaml, planted.attribute: the phantom has no '{self.attribute}'; it has {', '.join(ATTRIBUTES)}"
            )
        if self.patients < LEAST:
            raise UserError(f"params.yaml, planted.patients: {self.patients} is too small; give {LEAST} or more")


@one_core()
def planted(
    planted: Planted,
    layout: Layout,
    root: Path,
    seed: int,
    height: int,
    size: int,
    window: Window,
    weights: Path,
    out: Path,
    metrics: Path,
) -> None:
    """Train a classifier with a planted bias, and the same one without it."""
    if layout != "phantom":
        write_csv(pd.DataFrame(columns=LOSSES), out / "losses.csv")
        write_csv(pd.DataFrame(columns=AUROC), metrics / "auroc.csv")
        return
    agreements = {"biased": planted.agreement, "fair": 0.5}
    starts = {name: from_backbone(planted.model, 1, weights, "planted") for name in agreements}
    scale = Scale(seed + 2, height, size, window)  # truth has seed + 1
    chosen, others = _patients(planted, cohort.tables(root), scale.seed)
    bounds = levels(chosen, planted.attribute, scale.seed)
    taught, held_out = (_seen(planted, part, bounds, scale) for part in (chosen, others))
    checkpoints = {name: Checkpoint("planted", name, planted, scale, root, weights) for name in agreements}
    curves, figures = [], []
    for name, agreement in agreements.items():
        model, losses = train(
            starts[name], _examples(taught, agreement), planted.training, "planted", checkpoints[name]
        )
        save_run(out / name, model, planted.model, [planted.finding], planted.training.precision)
        scores = np.stack([probability(model, end, planted.training.precision)[:, 0] for end in held_out.pixels])
        curves += [(name, step, loss) for step, loss in enumerate(losses, 1)]
        figures += [(name, rule, _auroc(held_out.present, scores, share)) for rule, share in ASKED.items()]
    write_csv(pd.DataFrame(curves, columns=LOSSES), out / "losses.csv")
    write_csv(pd.DataFrame(figures, columns=AUROC), metrics / "auroc.csv", "%.4f")
    for checkpoint in checkpoints.values():
        checkpoint.clear()


@dataclass(frozen=True)
class _Seen:
    """Which patients have the finding ``[n]``; all of them at either end of the attribute ``[2, n, side, side]``."""

    present: Labels
    pixels: NDArray[np.uint8]


def _patients(planted: Planted, table: cohort.Tables, seed: int) -> tuple[list[cohort.Image], list[cohort.Image]]:
    """Those to train on and a quarter as many others; half of each have the finding, or some more by nature."""
    parts = [(planted.patients, 0), (planted.patients // 4, planted.patients)]
    chosen, others = (cohort.test_part(table, seed, n, [planted.finding], n // 2, first) for n, first in parts)
    return chosen, others


def _seen(planted: Planted, patients: list[cohort.Image], bounds: tuple[float, float], scale: Scale) -> _Seen:
    present = np.array([int(planted.finding in one.severities) for one in patients])
    return _Seen(present, pictures(patients, [{planted.attribute: bound} for bound in bounds], scale))


def _examples(seen: _Seen, agreement: float) -> Examples:
    images = seen.pixels[ends(seen.present, agreement, "train"), np.arange(len(seen.present))]
    return Examples(images, seen.present[:, None].astype(np.float32), np.ones(len(seen.present)))


def _auroc(present: Labels, scores: NDArray[np.float64], agreement: float) -> float:
    """Of ``scores`` at either end ``[2, n]``, each patient's at the end that ``agreement`` gives."""
    return auroc(present, scores[ends(present, agreement, "held out"), np.arange(len(present))])


if __name__ == "__main__":
    run(planted)
