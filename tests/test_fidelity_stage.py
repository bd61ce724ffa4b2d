"""The fidelity stage: tables of synthetic images beside real ones, and of what each arm adds."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import MODEL, STUDY, TASK, build_study, lose_test_images
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import densenet121

from raremix.evaluation.fidelity import Measuring
from stages.fidelity import Fidelity, fidelity

ASKED = Fidelity(MODEL, None, "float32", Measuring(3, 10, 3, 5))


def call(root, asked=ASKED, study=STUDY):
    names = ("manifest.csv", "splits", "images.sha256", "synthetic", "mix", "backbone.safetensors", "out", "pictures")
    fidelity(study, asked, *(root / name for name in names))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("done")
    build_study(root)
    call(root)
    return root / "out"


def test_synthetic_images_stand_beside_real_training_images(done):
    table = pd.read_csv(done / "fidelity.csv").set_index(["finding", "kind"])
    assert set(table.index) == {(finding, kind) for finding in [*TASK, "all"] for kind in ("synthetic", "real")}
    assert (table["shots"].eq(5) & table["trial"].eq(0)).all()
    assert table.loc[("air", "synthetic"), ["real", "images"]].tolist() == [14, 15], "carriers alone"
    assert table.loc[("all", "real"), ["real", "images"]].tolist() == [27, 40], "carriers of either finding"
    assert table[["precision", "recall", "coverage"]].stack().between(0, 1).all()


def test_repeating_images_adds_no_diversity_and_inventing_some_does(done):
    table = pd.read_csv(done / "added.csv").set_index("arm")
    assert list(table.index) == ["oversample", "dreambooth_mix"], "vanilla adds nothing"
    assert table.loc["oversample", "diversity"] == 0
    assert table.loc["oversample", "added"] == 20
    assert table.loc["dreambooth_mix", "diversity"] != 0
    assert table["gap"].between(0, 1).all()


def test_images_of_the_test_part_need_not_be_there(done, tmp_path):
    build_study(tmp_path)
    lose_test_images(tmp_path)
    call(tmp_path)
    for name in ("fidelity.csv", "added.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (done / name).read_bytes(), name


def test_what_an_arm_adds_that_no_generator_drew_is_looked_at_too(tmp_path):
    build_study(tmp_path)
    mixed = pd.read_csv(tmp_path / "mix" / "oversample-5-0.csv")
    held_back = pd.read_csv(tmp_path / "manifest.csv").iloc[100:110].assign(source="reserve", weight=1.0)
    pd.concat([mixed, held_back[mixed.columns]]).to_csv(tmp_path / "mix" / "real_ceiling-5-0.csv", index=False)
    shutil.copy(tmp_path / "images.sha256", tmp_path / "mix" / "real_ceiling-5-0.sha256")
    call(tmp_path, study=replace(STUDY, arms=["real_ceiling", "dreambooth_mix"]))
    table = pd.read_csv(tmp_path / "out" / "added.csv").set_index("arm")
    assert list(table.index) == ["real_ceiling", "dreambooth_mix"]
    assert table.loc["real_ceiling", "added"] == 10
    assert table.loc["real_ceiling", "diversity"] > 0


def test_another_network_may_extract_the_features(tmp_path):
    torch.manual_seed(0)
    network = densenet121()
    network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    save_file(network.state_dict(), tmp_path / "densenet121.safetensors")
    build_study(tmp_path)
    call(tmp_path)
    own = pd.read_csv(tmp_path / "out" / "fidelity.csv")
    call(tmp_path, replace(ASKED, xrayvision=str(tmp_path / "densenet121.safetensors")))
    other = pd.read_csv(tmp_path / "out" / "fidelity.csv")
    assert not np.allclose(own["kid"], other["kid"])
    pixelwise = ["similarity_real", "similarity_synthetic"]
    pd.testing.assert_frame_equal(own[pixelwise], other[pixelwise])
    assert (tmp_path / "pictures" / "gap-dreambooth_mix.png").is_file(), "its features are means of maps"


def test_what_gives_images_away_is_shown_for_each_arm_that_adds_some(tmp_path):
    build_study(tmp_path, model="resnet18")
    call(tmp_path, replace(ASKED, model="resnet18"))
    table = pd.read_csv(tmp_path / "pictures" / "gap.csv").set_index("arm")
    assert table.index.unique().tolist() == ["oversample", "dreambooth_mix"], "vanilla adds nothing"
    own = {"oversample": lambda name: int(name[1:]) < 60, "dreambooth_mix": lambda name: name.startswith(tuple(TASK))}
    for arm, rows in table.groupby("arm", sort=False):
        assert rows["source"].tolist() == ["added"] * 8 + ["real"] * 8
        added, real = (rows.loc[rows["source"] == source, "image_id"] for source in ("added", "real"))
        assert added.map(own[arm]).all(), f"of {arm}"
        assert real.map(lambda name: 60 <= int(name[1:]) < 100).all(), "of validation"
        with Image.open(tmp_path / "pictures" / f"gap-{arm}.png") as page:
            assert page.size == (8 * 128, 2 * (16 + 2 * 128))
            assert page.mode == "P", "colours, not the numbers that stand for them"


@pytest.mark.parametrize(("model", "arms"), [(MODEL, STUDY.arms), ("resnet18", ["vanilla"])])
def test_without_maps_or_added_images_there_is_no_picture_and_one_line(tmp_path, model, arms, capsys):
    build_study(tmp_path, model=model)
    call(tmp_path, replace(ASKED, model=model), replace(STUDY, arms=arms))
    assert (tmp_path / "pictures" / "gap.csv").read_text() == "arm,image_id,source,score\n"
    assert not list((tmp_path / "pictures").glob("*.png"))
    assert capsys.readouterr().out.startswith("no picture of the domain gap: ")
