"""The readers stage: who learns from whom, what it writes, and the same again."""

from dataclasses import replace
from pathlib import Path

import diagnosed
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from raremix.classifier.model import build
from raremix.diagnosis.attributes import of_phantom
from raremix.diagnosis.readers import ReaderTraining, fit, load_latent, load_picture
from raremix.runtime.errors import UserError
from stages import readers as stage_module
from stages.diagnosed import Measured
from stages.readers import Readers, readers

MEASURED = Measured(["male", "thickness"])
TRAINING = ReaderTraining(3, 4, 1e-3, 0.0)
ASKED = Readers(diagnosed.NETWORK, TRAINING, 8, TRAINING, batch=4, precision="float32")


@pytest.fixture
def stage(base, tmp_path, monkeypatch):
    """Call it with options; returns the bytes that it wrote."""
    monkeypatch.chdir(tmp_path)
    diagnosed.patients(tmp_path)
    pd.DataFrame({"image_id": []}).to_csv("metadata.csv", index=False)
    save_file(build(diagnosed.NETWORK, 4).state_dict(), "backbone.safetensors")

    def call(measured=MEASURED, asked=ASKED):
        known = ["manifest.csv", "metadata.csv", "splits", "images.sha256"]
        readers(measured, asked, "phantom", 5, 3, *map(Path, [*known, base, "backbone.safetensors", "out", "metrics"]))
        return {file: file.read_bytes() for folder in ("out", "metrics") for file in sorted(Path(folder).iterdir())}

    return call


def test_both_readers_are_judged_on_validation_and_at_every_step(stage):
    stage()
    found = pd.read_csv("metrics/readers.csv")
    assert list(found.columns) == ["attribute", "reader", "r2"]
    assert list(zip(found["reader"], found["attribute"], strict=True)) == [
        (reader, name) for reader in ("picture", "latent") for name in MEASURED.attributes
    ]
    assert found["r2"].notna().all()
    schedule = pd.read_csv("metrics/schedule.csv")
    assert schedule["step"].tolist() == [0, 0, 1, 1, 2, 2]
    assert schedule["timestep"].is_monotonic_decreasing
    (_, units), (_, again) = load_picture(Path("out")), load_latent(Path("out"))
    assert units == again
    rows = pd.read_csv("manifest.csv", dtype={"patient_id": str})
    train = pd.read_csv("splits/trial0.csv")["part"].isin(["train", "held_back"])
    values = of_phantom(rows[train], 5)
    assert units.attributes == MEASURED.attributes
    np.testing.assert_allclose(units.mean, values[MEASURED.attributes].mean())
    np.testing.assert_allclose(units.sd, values[MEASURED.attributes].std())


def test_the_two_learn_from_different_patients_and_none_of_validation(stage, monkeypatch):
    learned = {}

    def noted(model, inputs, targets, training, precision, name):
        learned[name] = targets
        return fit(model, inputs, targets, training, precision, name)

    monkeypatch.setattr(stage_module.room, "fit", noted)
    stage()
    pictures, latents = ({tuple(row) for row in learned[name]} for name in ("pictures", "latents"))
    assert len(pictures) + len(latents) == diagnosed.COUNT / 2
    assert not pictures & latents
    assert len(learned["latents"]) == 3 * len(latents), "clean, and twice as the base model predicts it"


def test_the_same_params_give_the_same_bytes_whatever_was_drawn_before(stage):
    first = stage()
    torch.manual_seed(7)
    assert first == stage()


def test_what_is_learned_does_not_hang_on_the_batch_of_predictions(stage):
    stage()
    four = pd.read_csv("metrics/schedule.csv")
    stage(asked=replace(ASKED, batch=3))
    pd.testing.assert_frame_equal(pd.read_csv("metrics/schedule.csv"), four, rtol=0.01)


def test_an_attribute_that_is_not_known_is_refused_before_anything_is_written(stage):
    with pytest.raises(UserError, match=r"params\.yaml, measured\.attributes: 'hiccups' is known of no image"):
        stage(Measured(["male", "hiccups"]))
    assert not Path("out").exists()
    with pytest.raises(UserError, match=r"params\.yaml, readers\.width: 12 is no multiple of 8"):
        replace(ASKED, width=12)
