"""The fidelity stage: tables of synthetic images beside real ones, and of what each arm adds."""

import pandas as pd
import pytest
from drawn import MODEL, STUDY, TASK, build_study

from raremix.evaluation.fidelity import Measuring
from stages.fidelity import Fidelity, fidelity

ASKED = Fidelity(MODEL, "float32", Measuring(3, 10, 3, 5))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("done")
    build_study(root)
    names = ("manifest.csv", "splits", "images.sha256", "synthetic", "mix", "backbone.safetensors", "out")
    fidelity(STUDY, ASKED, *(root / name for name in names))
    return root / "out"


def test_synthetic_images_stand_beside_real_training_images(done):
    table = pd.read_csv(done / "fidelity.csv").set_index(["finding", "kind"])
    assert set(table.index) == {(finding, kind) for finding in [*TASK, "all"] for kind in ("synthetic", "real")}
    assert (table["shots"].eq(5) & table["trial"].eq(0)).all()
    assert table.loc[("air", "synthetic"), ["real", "images"]].tolist() == [14, 15], "carriers alone"
    assert table.loc[("all", "real"), ["real", "images"]].tolist() == [40, 60]
    assert table[["precision", "recall", "coverage"]].stack().between(0, 1).all()


def test_repeating_images_adds_no_diversity_and_inventing_some_does(done):
    table = pd.read_csv(done / "added.csv").set_index("arm")
    assert list(table.index) == ["oversample", "dreambooth_mix"], "vanilla adds nothing"
    assert table.loc["oversample", "diversity"] == 0
    assert table.loc["oversample", "added"] == 20
    assert table.loc["dreambooth_mix", "diversity"] != 0
    assert table["gap"].between(0, 1).all()
