"""The implicit stage: it learns from latents, and every mode of editing is tried on what is read best."""

from dataclasses import replace
from pathlib import Path

import diagnosed
import pandas as pd
import pytest

from raremix.diagnosis.implicit import ImplicitTraining, load
from raremix.runtime.errors import UserError
from stages.implicit import implicit

ASKED = ImplicitTraining(6, 4, 1e-3, 8, target=4.0, keep=0.3, precision="float32")
EDITING = replace(diagnosed.EDITING, images=2)
MODES = 12 + 3


@pytest.fixture
def stage(base, tmp_path, monkeypatch):
    """Call it with what is edited."""
    monkeypatch.chdir(tmp_path)
    diagnosed.patients(tmp_path)
    diagnosed.walked(tmp_path, base)

    def call(editing=EDITING):
        paths = ["manifest.csv", "splits", "images.sha256", base, "real", "boundary", "readers", "r2.csv"]
        implicit(diagnosed.LATENTS, editing, ASKED, *map(Path, paths), Path("implicit.safetensors"), Path("metrics"))

    return call


def test_every_mode_is_tried_on_the_attributes_that_are_read_best(stage):
    stage()
    function = load(Path("implicit.safetensors"))
    assert (function.attributes, function.step.num_embeddings) == (4, diagnosed.STEPS)
    training = pd.read_csv("metrics/training.csv")
    assert set(training["step"]) <= {0, 1, 2}
    assert training["timestep"].is_monotonic_decreasing
    assert (training["missed"] > 0).all()
    shifts = pd.read_csv("metrics/shifts.csv")
    assert shifts["step"].tolist() == [0, 1, 2]
    assert (shifts["length"] > 0).all()
    modes = pd.read_csv("metrics/modes.csv")
    assert len(modes.drop_duplicates(["space", "steps", "what"])) == MODES
    assert list(dict.fromkeys(modes["attribute"])) == ["male", "exposure", "thickness"], "not ap, which is hardly read"
    assert len(modes) == 3 * len(modes.drop_duplicates(["space", "steps", "what", "strength"]))
    assert modes["moved"].notna().all()


def test_the_same_params_give_the_same_bytes(stage):
    files = [
        Path(name)
        for name in ("implicit.safetensors", "metrics/training.csv", "metrics/shifts.csv", "metrics/modes.csv")
    ]
    stage()
    before = [file.read_bytes() for file in files]
    stage()
    assert before == [file.read_bytes() for file in files]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"readable": 0.95}, r"r2\.csv: no attribute has an R2 of 0\.95; raise readers\.picture\.steps"),
        ({"start": 3}, r"params\.yaml, editing\.start: 3 leaves no step to edit of latents\.sampling\.steps = 4"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_learned(stage, changes, message):
    with pytest.raises(UserError, match=message):
        stage(replace(EDITING, **changes))
    assert not Path("implicit.safetensors").exists()


@pytest.mark.parametrize("missing", ["boundary/h.safetensors", "real/h.npy"])
def test_what_is_missing_is_named(stage, missing):
    Path(missing).unlink()
    with pytest.raises(UserError, match=f"{missing}: no such"):
        stage()
