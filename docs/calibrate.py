"""Measure docs/calibration.csv in a finished root run: python docs/calibrate.py

How well the study's classifier does on phantoms apart from train, validation and test, with all real images of train,
with ten shots, and with ten shots and many more rendered images (the ceiling).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse import ArgumentParser, get_loader
from sklearn.metrics import roc_auc_score

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import probability
from raremix.classifier.train import Examples, train
from raremix.data import images, inventory
from raremix.data.balance import oversampled
from raremix.data.checksums import Checksums, read_checksums
from raremix.data.manifest import read_manifest
from raremix.data.phantom import cohort, dataset
from raremix.data.trial import read_trial, training_rows
from raremix.runtime.checkpoints import Checkpoint
from stages.classify import Classify

TEST, MORE = 900, 1600  # images to test on, and to add for the ceiling
BACKBONE = Path("models/backbone.safetensors")


def rendered(folder: Path, params: dict) -> pd.DataFrame:
    """The manifest of phantoms of other patients: an enriched test part, and a train part for the ceiling."""
    table = cohort.tables(Path(params["data"]["root"]))
    task, minority = params["study"]["findings"], params["study"]["minority"]
    tested = cohort.test_part(table, 1, TEST, task, 150, 10**6)
    more = cohort.test_part(table, 2, MORE, minority, 600, 2 * 10**6)
    added = [cohort.Image("train", image.patient, image.visit, image.severities, image.votes) for image in more]
    raw = folder / "raw"
    raw.mkdir()
    dataset.write(tested + added, params["phantom"]["seed"], params["phantom"]["height"], raw, workers=2)
    inventory.write(raw, raw / "inventory.csv")
    paths = f"--raw {raw} --images {folder}/images --tables {folder} --metrics {folder}/metrics"
    subprocess.run([sys.executable, "-m", "stages.ingest", "params.yaml", *paths.split()], check=True)
    return read_manifest(folder / "manifest.csv")


def score(
    rows: pd.DataFrame, test: pd.DataFrame, task: list[str], settings: Classify, listed: Checksums
) -> list[float]:
    """AUROC of each finding of ``task`` after training on ``rows``, oversampled."""
    labels = rows[task].to_numpy()
    examples = Examples(images.load(list(rows["file"]), listed), labels.astype(np.float32), oversampled(labels))
    model = from_backbone(settings.model, len(task), BACKBONE, "calibrate")
    checkpoint = Checkpoint("calibrate", settings, BACKBONE, [listed[file] for file in rows["file"]])
    model, _ = train(model, examples, settings.training, "calibrate", checkpoint)
    checkpoint.clear()
    predicted = probability(model, images.load(list(test["file"]), listed), settings.training.precision)
    return [round(float(roc_auc_score(test[finding], predicted[:, k])), 3) for k, finding in enumerate(task)]


def main(out: Path) -> None:
    """Write one row of AUROCs for each training set."""
    params = get_loader("yaml")(Path("params.yaml").read_text())
    parser = ArgumentParser()
    parser.add_argument("--classify", type=Classify)
    settings = parser.instantiate(parser.parse_object({"classify": params["classify"]})).classify
    task, shots = params["study"]["findings"], max(params["study"]["shots"])
    manifest, trial = read_manifest(Path("data/manifest.csv")), read_trial(Path("data/splits/trial0.csv"))
    everything = trial.loc[trial["part"].isin(["train", "held_back"]), "image_id"]
    few = training_rows(manifest, trial, shots)
    with tempfile.TemporaryDirectory() as folder:
        others = rendered(Path(folder), params)
        test, more = others[others["official_part"] == "test"], others[others["official_part"] == "train"]
        sets = {
            "all real images of train": manifest[manifest["image_id"].isin(everything)],
            f"{shots} shots": few,
            f"{shots} shots and {MORE} more rendered images": pd.concat([few, more]),
        }
        listed = read_checksums(Path("data/images.sha256")) | read_checksums(Path(folder) / "images.sha256")
        scores = {name: score(rows, test, task, settings, listed) for name, rows in sets.items()}
    pd.DataFrame(scores, index=task).T.rename_axis("training images").to_csv(out)


if __name__ == "__main__":
    main(Path(__file__).parent / "calibration.csv")
