"""The explain stage: three methods beside chance, and none where there are no masks."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from raremix.classifier.model import build
from raremix.classifier.predict import save_run
from raremix.data.phantom import cohort
from raremix.diagnosis.truth import Scale, lesion_masks
from raremix.runtime.errors import UserError
from stages.explain import FLIPS, LOCALISATION, Explain, explain

TABLES = Path(__file__).parents[1] / "data" / "phantom"
FINDINGS = ["nodule_mass", "cardiomegaly"]
METHODS = ["grad_cam", "integrated_gradients", "counterfactual"]
ASKED = Explain(images=5, steps=3, step=1, refinements=1, iterations=3, precision="float32")
SCALE = Scale(7, 48, 16)


@pytest.fixture
def classifier(tmp_path):
    """An untrained one, whose thresholds let it find every nodule and miss every large heart."""
    run = tmp_path / "vanilla-3-0"
    save_run(run, build("resnet18", 2), "resnet18", FINDINGS, "float32")
    thresholds = zip(FINDINGS, (1e-5, 1.0), strict=True)
    rows = [(k, "validation", finding, k, k * threshold) for finding, threshold in thresholds for k in (0, 1)]
    rows += [(2, "test", finding, 1, 0.0) for finding in FINDINGS]
    table = pd.DataFrame(rows, columns=["image_id", "part", "finding", "label", "probability"])
    table.to_csv(run / "predictions.csv", index=False)
    return run


def call(base, classifier, out, asked=ASKED, layout="phantom"):
    explain(asked, layout, TABLES, 4, 48, 16, "header", classifier, base, out)
    return pd.read_csv(out / "localisation.csv"), pd.read_csv(out / "counterfactuals.csv")


def test_every_method_is_scored_beside_chance_on_what_the_classifier_finds(base, classifier, tmp_path):
    located, flips = call(base, classifier, tmp_path / "out")
    assert list(located.columns) == LOCALISATION
    assert list(flips.columns) == FLIPS
    assert list(zip(located["finding"], located["method"], strict=True)) == [
        (finding, method) for finding in FINDINGS for method in METHODS
    ]
    assert list(flips["decision"]) == ["found", "missed"] * 2
    patients = cohort.test_part(cohort.tables(TABLES), 7, 10, FINDINGS, 5, 0)
    for finding in FINDINGS:
        masks = lesion_masks([one for one in patients if finding in one.severities][:5], finding, SCALE)
        counted = flips[flips["finding"] == finding].set_index("decision")["n"]
        assert counted.sum() == masks.any(axis=(1, 2)).sum()
        scores = located[located["finding"] == finding]
        assert (scores["n"] == counted["found"]).all()
    scored, empty = located[:3], located[3:]
    assert (scored["n"] > 0).all()
    for score in ("pointing", "iou"):
        assert (scored[f"{score}_low"] <= scored[score]).all()
        assert (scored[score] <= scored[f"{score}_high"]).all()
        assert scored[f"chance_{score}"].nunique() == 1
    assert (empty["n"] == 0).all()
    assert empty[LOCALISATION[3:]].isna().all(axis=None)
    assert (flips["flipped"] <= flips["n"]).all()
    assert flips["median_size"].notna().equals(flips["flipped"] > 0)
    for name in ("panel.png", "counterfactuals.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > 128
            assert picture.mode == "P", "colours, not the numbers that stand for them"


def test_the_same_again(base, classifier, tmp_path):
    call(base, classifier, tmp_path / "first")
    call(base, classifier, tmp_path / "second")
    for file in sorted((tmp_path / "first").iterdir()):
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name
    assert len(list((tmp_path / "first").iterdir())) == 4


def test_a_validation_without_a_finding_is_refused(base, classifier, tmp_path):
    table = pd.read_csv(classifier / "predictions.csv")
    table.loc[(table["part"] == "validation") & (table["finding"] == "cardiomegaly"), "label"] = 0
    table.to_csv(classifier / "predictions.csv", index=False)
    with pytest.raises(UserError, match=r"predictions\.csv: validation needs images with and without 'cardiomegaly'"):
        call(base, classifier, tmp_path / "out")


@pytest.mark.parametrize("layout", ["vindr", "table"])
def test_real_data_have_no_masks(tmp_path, layout):
    located, flips = call(tmp_path / "none", tmp_path / "missing", tmp_path / "out", layout=layout)
    assert located.empty
    assert flips.empty
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"localisation.csv", "counterfactuals.csv"}
