"""The latents stage: real images that come back, those that do not are counted, and as many generated ones."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import tiny

from raremix.data.checksums import write_checksums
from raremix.data.images import save
from raremix.data.manifest import FIXED
from raremix.diagnosis.stored import read
from raremix.generator.sample import Sampling
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from stages.latents import Latents, latents

ASKED = Latents(3, 3, Sampling(12, 2.0, 2, "float32"), refinements=20, least_decibels=35.0)


@pytest.fixture
def stage(base, tmp_path, monkeypatch):
    """Call it with options; eight real images, six of them in the base model's corpus."""
    monkeypatch.chdir(tmp_path)
    files = {f"i{index}": f"images/i{index}.png" for index in range(8)}
    (tmp_path / "images").mkdir()
    for picture, file in zip(tiny.images(8), files.values(), strict=True):
        save(picture, file)
    rows = pd.DataFrame(dict.fromkeys(FIXED, ""), index=range(8)).assign(image_id=list(files), visit=0)
    patients = ["p0", "p0", *(f"p{index}" for index in range(2, 8))]
    rows.assign(file=list(files.values()), patient_id=patients, cardiomegaly=0).to_csv("manifest.csv", index=False)
    write_checksums({file: sha256(tmp_path / file) for file in files.values()}, tmp_path / "images.sha256")
    (tmp_path / "splits").mkdir()
    pd.DataFrame({"image_id": list(files)[:6]}).to_csv("splits/corpus.csv", index=False)

    def call(asked=ASKED, out="out"):
        paths = [tmp_path / name for name in ("manifest.csv", "splits", "images.sha256")]
        latents(asked, *paths, base, tmp_path / out, tmp_path / "metrics")
        return tmp_path / out

    return call


def test_real_images_come_back_and_generated_ones_are_as_many(stage, tmp_path):
    out = stage()
    real = pd.read_csv(out / "real" / "images.csv")
    assert len(real) == 3
    assert set(real["image_id"]) < {"i0", "i2", "i3", "i4", "i5"}, "of the corpus alone, one a patient"
    assert real["kept"].all()
    assert read(out / "real").h.shape == (3, 12, 1, 16, 2, 2)
    assert read(out / "generated").h.shape == (3, 12, 2, 16, 2, 2)
    named = pd.read_csv(out / "generated" / "images.csv")["image_id"]
    assert [path.stem for path in sorted((out / "generated" / "images").iterdir())] == list(named)
    summary = json.loads((tmp_path / "metrics" / "summary.json").read_text())
    assert (summary["real"], summary["kept"], summary["generated"]) == (3, 3, 3)
    assert summary["decibels"]["lowest"] == pytest.approx(real["decibels"].min(), abs=0.01)
    assert (tmp_path / "metrics" / "real_reconstructed_inverted.png").is_file()


def test_the_same_params_give_the_same_latents(stage):
    first, second = stage(out="first"), stage(out="second")
    files = {path.relative_to(first) for path in first.rglob("*.*")}
    assert len(files) == 2 * 3 + 3
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_images_that_do_not_come_back_are_counted_and_none_at_all_is_an_error(stage, tmp_path):
    rough = replace(ASKED, refinements=0, least_decibels=1.0)
    decibels = pd.read_csv(stage(rough) / "real" / "images.csv")["decibels"]
    between = float(decibels.sort_values().iloc[:2].mean())
    kept = pd.read_csv(stage(replace(rough, least_decibels=between)) / "real" / "images.csv")["kept"]
    assert kept.sum() == 2
    assert json.loads((tmp_path / "metrics" / "summary.json").read_text())["kept"] == 2
    with pytest.raises(UserError, match=r"latents\.least_decibels: no real image comes back with 200 dB; the best has"):
        stage(replace(rough, least_decibels=200.0))


def test_more_images_than_the_corpus_has_are_refused(stage, tmp_path):
    with pytest.raises(UserError, match=r"latents\.images: 6 asked for, the corpus has 5 patients"):
        stage(replace(ASKED, images=6))
    assert not (tmp_path / "out").exists()
