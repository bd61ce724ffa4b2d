"""One classifier: an arm's training images at some shots in one trial.

In: the arm's mix, the trial's split, the backbone, the images' checksums. Out: the model, its losses and its
validation predictions.

On a CPU it uses one core: the others are for other stages (``python -m stages.repro``).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import predict_run, save_run
from raremix.classifier.recipe import recipe
from raremix.classifier.train import ClassifierTraining, Examples, train
from raremix.data import images
from raremix.data.checksums import read_checksums
from raremix.data.manifest import read_manifest, write_csv
from raremix.data.trial import read_trial
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import one_core
from stages.cli import run

MIX = ["image_id", "file", "source", "weight", "late"]


@dataclass(frozen=True)
class Classify:
    """The classifier; its budget is the same for every arm."""

    model: str  # a torchvision classifier, the backbone's
    training: ClassifierTraining


@one_core()
def classify(
    classify: Classify,
    arm: str,
    shots: int,
    trial: int,
    mixes: Path,
    manifest: Path,
    splits: Path,
    checksums: Path,
    weights: Path,
    out: Path,
) -> None:
    """Train one classifier for a fixed number of steps and predict the validation part."""
    name = f"{arm}-{shots}-{trial}"
    rows = pd.read_csv(mixes / f"{name}.csv", dtype={"image_id": str})
    findings = [column for column in rows.columns if column not in MIX]
    pixels = images.load(list(rows["file"]), read_checksums(mixes / f"{name}.sha256"))
    draws = (rows[phase].to_numpy(np.float64) for phase in ("weight", "late"))
    examples = Examples(pixels, rows[findings].to_numpy(np.float32), *draws)
    checkpoint = Checkpoint("classify", name, classify, mixes / f"{name}.csv", mixes / f"{name}.sha256", weights)
    model = from_backbone(classify.model, len(findings), weights, trial)
    parts = read_trial(splits / f"trial{trial}.csv").set_index("image_id")["part"]
    everything = read_manifest(manifest)
    validation = everything[everything["image_id"].map(parts) == "validation"]
    seen = images.load(list(validation["file"]), read_checksums(checksums))
    # The seed leaves the arm out: arms of one trial start alike and draw alike.
    model, losses = train(model, examples, classify.training, f"{shots}-{trial}", checkpoint, recipe(arm))
    save_run(out, model, classify.model, findings, classify.training.precision)
    predictions = predict_run(out, validation, seen, "validation")
    write_csv(pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses}), out / "losses.csv")
    write_csv(predictions, out / "predictions.csv", "%.6f")
    checkpoint.clear()


if __name__ == "__main__":
    run(classify)
