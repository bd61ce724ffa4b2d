"""A small study up to its trained runs, for the compare stage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.data.manifest import FIXED
from raremix.runtime.files import sha256
from stages import compare as module
from stages.compare import Compare, compare
from stages.sections import Study

FINDINGS = ["effusion", "nodule", "pneumothorax"]
ARMS = ["vanilla", "undersample", "oversample", "dreambooth_mix", "dreambooth_balanced", "shuffled"]
GAIN = dict(zip(ARMS, [0.5, 0.5, 1.6, 1.6, 2.2, 0.1], strict=True))
STUDY = Study(FINDINGS, ["nodule", "pneumothorax"], FINDINGS, ARMS, [5, 10], [0, 1, 2])
COMPARE = Compare(shots=10, bootstrap=100, level=0.95, margin=0.01)


def fake_predict(run, rows, pixels, part):
    """Predictions whose quality depends on the arm alone, as ``predict_run`` gives them."""
    arm = run.name.split("-")[0]
    rng = np.random.default_rng(sum(map(ord, run.name)))
    table = rows.melt("image_id", FINDINGS, "finding", "label").assign(part=part)
    skill = GAIN[arm] * (1 + 0.05 * rng.normal())
    table["probability"] = (1 / (1 + np.exp(-skill * table.label - rng.normal(size=len(table))))).round(6)
    return table[["image_id", "part", "finding", "label", "probability"]]


def build(root):
    """A profile directory up to the trained runs: 100 natural images, 240 test images enriched in findings.

    A test image's two pixels spell its number.
    """
    rng = np.random.default_rng(0)
    natural, test = rng.uniform(size=(100, 3)) < [0.3, 0.1, 0.1], rng.uniform(size=(240, 3)) < 0.4
    image_id = [f"i{k:03d}" for k in rng.permutation(340)]
    manifest = pd.DataFrame({"image_id": image_id, "file": [f"{root}/images/{name}.png" for name in image_id]})
    manifest[FIXED[2:]] = ["p", 0, "", ""]
    manifest["patient_id"] = image_id
    manifest[FINDINGS] = np.vstack([natural, test]).astype(int)
    for folder in ("splits", "images"):
        (root / folder).mkdir()
    for name, file in zip(image_id[100:], manifest.file[100:], strict=True):
        images.save(np.array([divmod(int(name[1:]), 256)], dtype=np.uint8), file)
    write_checksums({file: sha256(Path(file)) for file in manifest.file[100:]}, root / "images.sha256")
    manifest.to_csv(root / "manifest.csv", index=False)
    parts = ["train"] * 60 + ["validation"] * 30 + ["held_back"] * 10 + ["test"] * 240
    for trial in STUDY.trials:
        split = pd.DataFrame({"image_id": image_id, "part": parts, "shot_rank": ""})
        split.to_csv(root / "splits" / f"trial{trial}.csv", index=False)
    for name in (f"{arm}-{shots}-{trial}" for arm in ARMS for shots in STUDY.shots for trial in STUDY.trials):
        run = root / "runs" / name
        run.mkdir(parents=True)
        fake_predict(run, manifest[60:90], None, "validation").to_csv(run / "predictions.csv", index=False)
    write_validation(root, {"dreambooth_mix": 0.3, "dreambooth_balanced": 0.5})


def write_validation(profile, minority_ap):
    figures = {arm: {"minority": {"ap": {"mean": value, "sd": None, "n": 1}}} for arm, value in minority_ap.items()}
    (profile / "validation.json").write_text(json.dumps({"10": figures}))


def call(profile, study=STUDY, analysis=COMPARE, out="out"):
    names = ("manifest.csv", "images.sha256", "splits", "runs", "validation.json", f"{out}.csv", out)
    compare(study, analysis, *(profile / name for name in names))
    return json.loads((profile / out / "answer.json").read_text())


def keep_runs(profile, arms, shots=STUDY.shots, trials=STUDY.trials):
    wanted = {f"{arm}-{count}-{trial}" for arm in arms for count in shots for trial in trials}
    for path in (profile / "runs").iterdir():
        if path.name not in wanted:
            shutil.rmtree(path)
    return Study(FINDINGS, STUDY.minority, FINDINGS, arms, shots, trials)


def images_of_test(profile):
    split = pd.read_csv(profile / "splits" / "trial0.csv")
    return set(split.image_id[split.part == "test"])


def whole(root):
    """``root``, as a profile directory after compare."""
    build(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "predict_run", fake_predict)
        call(root)
    return root


def keyed(table, **keys):
    """The rows of ``table`` whose columns ``keys`` names have these values."""
    return table[(table[list(keys)] == list(keys.values())).all(axis=1)]
