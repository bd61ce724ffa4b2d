from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from drawn import MODEL, STUDY, TASK, build_study, lose_test_images
from torch import nn

from raremix.data.captions import LEVELS
from raremix.data.images import save
from raremix.data.manifest import SYNTHETIC, write_csv
from raremix.evaluation.audit import explained, judged, real_or_synthetic, told_apart
from raremix.generator.sample import Sampling
from raremix.runtime.files import sha256
from stages import audit
from stages.sections import Study

FINDINGS = ["heart", "air"]


def test_the_judge_is_scored_per_finding_on_both_kinds_of_images():
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    sharp = np.array([[0.9, 0.1], [0.8, 0.9], [0.1, 0.2], [0.2, 0.8]])
    blurred = sharp.copy()
    blurred[:, 0] = 0.5
    table = judged(labels, sharp, blurred, ["nodule_mass", "pneumothorax"]).set_index("finding")
    assert table.loc["nodule_mass"].tolist() == [1.0, 0.5]
    assert table.loc["pneumothorax"].tolist() == [1.0, 1.0]
    assert table.loc["all"].tolist() == [1.0, 0.75], "the macro mean"


def test_scores_that_are_alike_cannot_be_told_apart():
    assert told_apart(np.array([0.8, 0.9]), np.array([0.1, 0.2])) == 1
    assert told_apart(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == 0
    assert told_apart(np.array([0.1, 0.9]), np.array([0.1, 0.9])) == 0.5


def test_the_probe_sees_a_shift_and_nothing_in_one_population():
    rng = np.random.default_rng(0)
    real, alike = rng.normal(size=(150, 8)), rng.normal(size=(150, 8))
    assert real_or_synthetic(real, alike) == pytest.approx(0.5, abs=0.1)
    assert real_or_synthetic(real, alike + 2) > 0.97


def test_a_probe_of_too_few_images_says_nothing():
    assert np.isnan(real_or_synthetic(np.zeros((4, 2)), np.zeros((50, 2))))


def test_a_regressor_that_knows_the_view_alone_explains_nothing_within_it():
    view = pd.Series(["PA", "AP"] * 20)
    told = pd.Series(np.where(view == "PA", 180.0, 100.0) + np.tile([-5, -5, 5, 5], 10))
    by_view = explained(told, np.where(view == "PA", 180.0, 100.0), view)
    assert by_view["all"] > 0.95
    assert by_view["within view"] == 0
    assert explained(told, told.to_numpy(), view) == {"all": 1, "within view": 1}
    told[5:] = np.nan
    assert np.isnan(explained(told, np.zeros(40), view)["all"])


def test_the_autoencoder_is_judged_by_findings_and_by_pixels(monkeypatch):
    """Reconstructions that lose every third image, which all have the first finding."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16)).astype(np.uint8)
    lost = np.where((np.arange(12) % 3 == 0)[:, None, None], 0, pixels).astype(np.uint8)
    labels = pd.DataFrame({"heart": [1, 0, 0] * 4, "air": [0, 1, 0] * 4})
    monkeypatch.setattr(audit, "roundtrip", lambda *_: lost)
    monkeypatch.setattr(audit, "probability", lambda _, images, __: images.reshape(12, -1)[:, :2] / 255)
    settings = audit.Audit("resnet18", tiny.CLASSIFIER, 8, Sampling(2, 1.0, 4, "float32"))
    seen = audit._Seen(labels, labels, pixels, pixels)
    table = audit._kept(settings, nn.Identity(), SimpleNamespace(vae=None), seen, FINDINGS).set_index("finding")
    assert list(table.columns) == ["real", "reconstructed", "psnr", "ssim"]
    assert list(table.index) == ["heart", "air", "all"]
    assert table.loc["heart", "psnr"] < 10
    assert np.isinf(table.loc["air", "psnr"])
    assert table.loc["heart", "ssim"] < table.loc["all", "ssim"] < table.loc["air", "ssim"]
    assert table.loc["heart", "reconstructed"] == 0, "black is the least of all"
    assert table.loc["all", "reconstructed"] == table.loc[FINDINGS, "reconstructed"].mean()


@pytest.fixture
def drawn(tmp_path):
    """Two checkpoints' images: those with a finding are brighter in its half, and a judge that looks just there."""
    rng = np.random.default_rng(0)
    for column, finding in enumerate(FINDINGS):
        rows = []
        for index in range(12):
            positive = index < 6
            pixels = rng.integers(90, 110, (8, 8)).astype(np.uint8)
            pixels[:, 4 * column : 4 * column + 4] += 60 * positive
            file = tmp_path / "5-0" / finding / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            save(pixels, file)
            labels = {name: int(positive and name == finding) for name in FINDINGS}
            rows.append(dict.fromkeys(SYNTHETIC, "") | labels | {"image_id": f"{index}", "file": str(file)})
            rows[-1]["sha256"] = sha256(file)
        write_csv(pd.DataFrame(rows), tmp_path / "5-0" / finding / "manifest.csv")
    judge = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    halves = torch.zeros(2, 3, 8, 8)
    halves[0, ..., :4], halves[1, ..., 4:] = 0.01, 0.01
    judge[1].weight.data, judge[1].bias.data = halves.reshape(2, -1), torch.zeros(2)
    real = pd.DataFrame({"image_id": [f"r{index}" for index in range(20)], "heart": [1, 0] * 10, "air": 0})
    seen = audit._Seen(real, real, *[rng.integers(90, 110, (20, 8, 8)).astype(np.uint8)] * 2)
    settings = audit.Audit("resnet18", tiny.CLASSIFIER, 8, Sampling(2, 1.0, 4, "float32"))
    return audit._drawn(
        settings, judge, seen, Study(FINDINGS, ["air"], FINDINGS, ["vanilla"], [5], [0]), tmp_path, FINDINGS
    )


def test_a_finding_is_drawn_in_its_own_pairs_and_not_in_the_others(drawn):
    table = drawn[0].set_index("finding")
    assert table["auroc"].tolist() == [1, 1]
    assert table["images"].tolist() == [6, 6]
    assert table["others"].between(0.2, 0.8).all()


def test_the_probe_sees_images_with_the_finding_and_without(drawn):
    table = drawn[1].set_index("finding")
    assert table.loc["heart", "positives"] > 0.9
    assert table.loc["heart", "negatives"] < 0.9
    assert np.isnan(table.loc["air", "positives"]), "no real image has it"


def describe(root):
    """What the stage reads besides images: facts of them, the base model's corpus, DreamBooth's losses."""
    rows = pd.read_csv(root / "manifest.csv")[["image_id"]]
    write_csv(rows[:60], root / "splits" / "corpus.csv")
    facts = {fact: np.arange(len(rows)) % 7 for fact in LEVELS}
    write_csv(rows.assign(view="PA", sex="F", devices="", **facts), root / "metadata.csv")
    for finding in TASK:
        file = root / "logs" / "5-0" / finding / "plots" / "metrics" / "loss.tsv"
        file.parent.mkdir(parents=True)
        file.write_text("step\tloss\n0\t2.0\n1\t1.0\n")


def call(root, pipeline, out):
    names = ("manifest.csv", "metadata.csv", "splits", "images.sha256", "synthetic")
    settings = audit.Audit(MODEL, tiny.CLASSIFIER, 8, tiny.SAMPLING)
    others = (root / name for name in ("logs", "backbone.safetensors", out))
    audit.audit(STUDY, settings, *(root / name for name in names), pipeline, *others)
    return {path.name: path.read_text() for path in (root / out).iterdir()}


def test_images_of_the_test_part_need_not_be_there(base, tmp_path):
    build_study(tmp_path)
    describe(tmp_path)
    whole = call(tmp_path, base, "whole")
    assert sorted(whole) == ["attributes.csv", "findings.csv", "judge.csv", "losses.csv", "probe.csv"]
    lose_test_images(tmp_path)
    assert call(tmp_path, base, "without") == whole
