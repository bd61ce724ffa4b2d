"""The roundtrip stage: what the autoencoder leaves of the carriers that some trial trains on."""

import numpy as np
import pandas as pd
import pytest
import tiny

from raremix.data import images
from raremix.data.checksums import read_checksums, write_checksums
from raremix.data.manifest import FIXED
from raremix.generator.base import load
from raremix.generator.latents import roundtrip as rebuild
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from stages.roundtrip import Roundtrip, roundtrip
from stages.sections import Study

STUDY = Study(["heart", "nodule"], ["nodule"], ["nodule"], ["vanilla"], [1], [0, 1])


@pytest.fixture
def stage(base, tmp_path, monkeypatch):
    """Eight images: two hearts, four nodules, of which each trial has another one, and two normals."""
    monkeypatch.chdir(tmp_path)
    names = [f"i{index}" for index in range(8)]
    (tmp_path / "images").mkdir()
    files = [f"images/{name}.png" for name in names]
    for picture, file in zip(tiny.images(8), files, strict=True):
        images.save(picture, file)
    rows = pd.DataFrame(dict.fromkeys(FIXED, ""), index=range(8)).assign(image_id=names, file=files, visit=0)
    rows.assign(heart=[1, 1, 0, 0, 0, 0, 0, 0], nodule=[0, 0, 1, 1, 1, 1, 0, 0]).to_csv("manifest.csv", index=False)
    write_checksums({file: sha256(tmp_path / file) for file in files}, tmp_path / "images.sha256")
    (tmp_path / "splits").mkdir()
    for trial in (0, 1):
        parts = [
            "train",
            "train",
            *("train" if k == trial else "held_back" for k in range(3)),
            "test",
            "train",
            "train",
        ]
        ranks = ["", "", *("0" if k == trial else "" for k in range(3)), "", "", ""]
        table = pd.DataFrame({"image_id": names, "part": parts, "shot_rank": ranks})
        table.to_csv(f"splits/trial{trial}.csv", index=False)

    def call(study=STUDY):
        paths = [tmp_path / name for name in ("manifest.csv", "splits", "images.sha256")]
        roundtrip(study, Roundtrip("float32"), *paths, base, tmp_path / "out")
        return pd.read_csv(tmp_path / "out" / "manifest.csv")

    return call


def test_it_rebuilds_the_carriers_of_all_trials_and_no_other_image(stage, base, tmp_path):
    table = stage()
    assert list(table["image_id"]) == ["i0", "i1", "i2", "i3"]
    listed = dict(zip(table["file"], table["sha256"], strict=True))
    originals = images.load(
        [f"images/{name}.png" for name in table["image_id"]], read_checksums(tmp_path / "images.sha256")
    )
    rebuilt = images.load(list(table["file"]), listed)
    np.testing.assert_array_equal(rebuilt, rebuild(load(base).vae, originals, "float32"))
    assert (rebuilt != originals).any()


def test_an_unknown_finding_is_named(stage):
    with pytest.raises(UserError, match=r"study\.findings.*lung"):
        stage(Study(["lung"], ["lung"], ["lung"], ["vanilla"], [1], [0]))
