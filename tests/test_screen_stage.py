"""The screen stage: copies counted, named and shown, leaks refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from altered import SLIGHT
from drawn import MODEL, SIDE, STUDY, TESTED, build_study
from safetensors.torch import save_file
from torch import nn
from torchvision.models import densenet121

from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from stages.screen import Screen, screen

ASKED = Screen(MODEL, None, "float32", 0.04, 4)


def call(root, asked=ASKED):
    names = ("manifest.csv", "splits", "images.sha256", "synthetic", "backbone.safetensors")
    screen(STUDY, asked, *(root / name for name in (*names, "screened", "metrics", "pictures")))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("done")
    build_study(root, planted="air3")
    call(root)
    return root


def test_the_planted_copy_is_counted_and_shown_first(done):
    table = pd.read_csv(done / "metrics" / "memorisation.csv").set_index("finding")
    assert (table["shots"].eq(5) & table["trial"].eq(0)).all()
    assert table["images"].tolist() == [30, 30]
    assert table["copies"].tolist() == [0, 1]
    assert table.loc["air", "least_pixel_distance"] < 0.01 < table.loc["nodule", "least_pixel_distance"]
    left, right = np.hsplit(np.asarray(images.Image.open(done / "pictures" / "nearest.png"))[:SIDE, : 2 * SIDE], 2)
    assert (left == right).all()


def test_the_planted_copy_is_named_with_its_original_and_no_other_image_is(done):
    table = pd.read_csv(done / "screened" / "copies-5-0.csv")
    assert list(table.columns) == ["image_id", "nearest", "feature_distance", "pixel_distance"]
    assert table[["image_id", "nearest"]].to_numpy().tolist() == [["air3", "i000"]]
    assert table["pixel_distance"].item() < 0.01


def test_where_nothing_is_copied_the_list_has_a_header_alone(tmp_path):
    build_study(tmp_path)
    call(tmp_path)
    assert (
        tmp_path / "screened" / "copies-5-0.csv"
    ).read_text() == "image_id,nearest,feature_distance,pixel_distance\n"
    assert pd.read_csv(tmp_path / "metrics" / "memorisation.csv")["copies"].tolist() == [0, 0]


def test_what_is_laid_over_a_training_image_may_look_like_it(tmp_path):
    build_study(tmp_path, planted="air3", edit="air3")
    call(tmp_path)
    assert pd.read_csv(tmp_path / "screened" / "copies-5-0.csv").empty


def test_what_was_drawn_from_a_training_image_may_not(tmp_path):
    build_study(tmp_path, planted="air3", edit="air3", onto="drawn")
    call(tmp_path)
    assert pd.read_csv(tmp_path / "screened" / "copies-5-0.csv")["image_id"].tolist() == ["air3"]


def test_pairs_that_are_radiographs_are_not_looked_at(tmp_path, monkeypatch):
    build_study(tmp_path)
    monkeypatch.setattr("stages.screen.radiographs", lambda made: made["image_id"] == "air7")
    call(tmp_path)
    assert pd.read_csv(tmp_path / "metrics" / "memorisation.csv")["images"].tolist() == [30, 29]


@pytest.mark.parametrize("leaked", [0, 105], ids=["train", "held back, which the ceiling learns from"])
def test_a_test_image_that_trains_stops_the_run(tmp_path, leaked):
    build_study(tmp_path, leaked=leaked)
    with pytest.raises(
        UserError, match=f"'i{leaked:03d}', which trains, and 'i129' of validation or test are nearly the same"
    ):
        call(tmp_path)
    assert not any((tmp_path / name).exists() for name in ("screened", "metrics", "pictures"))


def radiograph(root, name):
    return np.asarray(images.Image.open(root / "images" / f"{name}.png"))


def draw_nearly(root, drawn, name):
    """The synthetic image ``drawn`` of air shows what the real one ``name`` does, a pixel beside it and brighter."""
    file, manifest = root / "drawn" / f"{drawn}.png", root / "synthetic" / "5-0" / "air" / "manifest.csv"
    images.save(SLIGHT["brighter"](SLIGHT["shift"](radiograph(root, name))), file)
    rows = pd.read_csv(manifest, dtype=str)
    rows.loc[rows["image_id"] == drawn, "sha256"] = sha256(file)
    rows.to_csv(manifest, index=False)


@pytest.mark.parametrize("name", ["i070", "i115"], ids=["validation", "test"])
def test_a_synthetic_near_copy_of_what_is_evaluated_stops_the_run(tmp_path, name):
    build_study(tmp_path)
    draw_nearly(tmp_path, "air3", name)
    with pytest.raises(
        UserError, match=f"'air3', which trains, and '{name}' of validation or test are nearly the same"
    ):
        call(tmp_path)
    assert not any((tmp_path / folder).exists() for folder in ("screened", "metrics", "pictures"))


def test_what_counts_as_a_copy_does_not_depend_on_test_images(done, tmp_path):
    """Each is a blend of two training images, and so nearer to both than any image is that may say what is ordinary."""
    build_study(tmp_path, planted="air3")
    for place, name in enumerate(TESTED):
        blend = np.mean([radiograph(tmp_path, f"i{of:03d}") for of in (place, place + 1)], axis=0)
        images.save(blend.astype(np.uint8), tmp_path / "images" / f"{name}.png")
    write_checksums({str(file): sha256(file) for file in (tmp_path / "images").iterdir()}, tmp_path / "images.sha256")
    call(tmp_path)
    for path in ("metrics/memorisation.csv", "screened/copies-5-0.csv", "pictures/nearest.png"):
        assert (tmp_path / path).read_bytes() == (done / path).read_bytes(), path


def test_too_few_held_out_images_can_not_calibrate(tmp_path):
    build_study(tmp_path)
    with pytest.raises(UserError, match=r"50 held-out images can't calibrate 0\.01 false alarms"):
        call(tmp_path, replace(ASKED, false_alarms=0.01))


def test_another_network_can_look_and_still_sees_the_planted_copy(done, tmp_path):
    torch.manual_seed(0)
    network = densenet121()
    network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    save_file(network.state_dict(), tmp_path / "densenet121.safetensors")
    build_study(tmp_path, planted="air3")
    call(tmp_path, replace(ASKED, xrayvision=str(tmp_path / "densenet121.safetensors")))
    assert "air3" in set(pd.read_csv(tmp_path / "screened" / "copies-5-0.csv")["image_id"])
    own, other = (pd.read_csv(root / "metrics" / "memorisation.csv") for root in (done, tmp_path))
    assert not np.allclose(own["least_feature_distance"], other["least_feature_distance"])
