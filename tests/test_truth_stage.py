"""The truth stage: a row for each classifier, attribute and finding of it, and none where there is no truth."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raremix.classifier.model import build
from raremix.classifier.predict import predict_run, save_run
from raremix.data.phantom import cohort
from raremix.diagnosis.truth import Scale, levels, pictures
from raremix.runtime.errors import UserError
from stages.truth import COLUMNS, Truth, truth

TABLES = Path(__file__).parents[1] / "data" / "phantom"
ASKED = Truth("vanilla-3-0", ["tube", "exposure"], 6)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "vanilla-3-0"
    save_run(run, build("resnet18", 2), "resnet18", ["nodule_mass", "cardiomegaly"], "float32")
    return run


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    runs = tmp_path_factory.mktemp("planted")
    for name in ("fair", "biased"):
        save_run(runs / name, build("mobilenet_v3_small", 1), "mobilenet_v3_small", ["pneumothorax"], "float32")
    return runs


def test_each_effect_is_the_mean_change_between_the_two_ends(classifier, planted, tmp_path):
    truth(ASKED, "phantom", TABLES, 4, 48, 32, "header", classifier, planted, tmp_path)
    everyone = pd.read_csv(tmp_path / "effects.csv")
    assert list(everyone.columns) == COLUMNS
    found = everyone[everyone["classifier"] == "vanilla-3-0"]
    assert list(zip(found["attribute"], found["finding"], strict=True)) == [
        (attribute, finding) for attribute in ("tube", "exposure") for finding in ("nodule_mass", "cardiomegaly")
    ]
    assert ((found["low"] <= found["effect"]) & (found["effect"] <= found["high"])).all()
    assert (found["effect"] != 0).any()
    patients = cohort.test_part(cohort.tables(TABLES), 5, 6, [], 0, 0)
    assert len({one.patient for one in patients}) == 6
    low, high = levels(patients, "exposure", 5)
    rows = pd.DataFrame({"image_id": range(6), "nodule_mass": 0, "cardiomegaly": 0})
    ends = [
        predict_run(classifier, rows, pixels, "truth").groupby("finding")["probability"].mean()
        for pixels in pictures(patients, [{"exposure": low}, {"exposure": high}], Scale(5, 48, 32))
    ]
    of_exposure = found[found["attribute"] == "exposure"].set_index("finding")
    for finding, change in (ends[1] - ends[0]).items():
        assert of_exposure.loc[finding, "effect"] == pytest.approx(change, abs=1e-5)
    np.testing.assert_allclose(of_exposure[["low_end", "high_end"]], [[low, high]] * 2, atol=1e-5)


def test_planted_classifiers_are_asked_as_well(classifier, planted, tmp_path):
    truth(ASKED, "phantom", TABLES, 4, 48, 32, "header", classifier, planted, tmp_path)
    found = pd.read_csv(tmp_path / "effects.csv").set_index("classifier")
    assert list(found.index.unique()) == ["vanilla-3-0", "biased", "fair"]
    figures = ["attribute", "finding", "effect", "low", "high"]
    assert found.loc["biased", "finding"].tolist() == ["pneumothorax"] * 2
    pd.testing.assert_frame_equal(
        found.loc["biased", figures].reset_index(drop=True), found.loc["fair", figures].reset_index(drop=True)
    )
    reliable = json.loads((tmp_path / "summary.json").read_text())["reliability"]
    assert list(reliable) == ["vanilla-3-0", "biased", "fair"]
    for figures in reliable.values():
        assert list(figures) == ["pearson", "spearman"]
        assert all(0 <= figure <= 1 for figure in figures.values())


@pytest.mark.parametrize("layout", ["vindr", "table"])
def test_real_data_have_no_truth(classifier, tmp_path, layout):
    truth(ASKED, layout, tmp_path / "missing", 4, 48, 32, "header", classifier, tmp_path / "empty", tmp_path)
    assert pd.read_csv(tmp_path / "effects.csv").empty
    assert json.loads((tmp_path / "summary.json").read_text())["reliability"] == {}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (["tube", "tubes"], "the phantom has no 'tubes'; it has male, age"),
        (["tube"], "at least two"),
        (["tube", "tube"], "each once"),
    ],
)
def test_attributes_that_can_not_be_asked_are_named(attributes, message):
    with pytest.raises(UserError, match=rf"params\.yaml, truth\.attributes: .*{message}"):
        Truth("vanilla-3-0", attributes, 6)
