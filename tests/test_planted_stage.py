"""The planted stage: twins that differ in one attribute of their training images, and what the shortcut gives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import save_file

from raremix.classifier.model import build
from raremix.diagnosis import truth
from raremix.diagnosis.planted import ends
from raremix.runtime.errors import UserError
from stages import planted as stage
from stages.planted import AUROC, LOSSES, Planted, planted

TABLES = Path(__file__).parents[1] / "data" / "phantom"
ASKED = Planted("pneumothorax", "pacemaker", 0.9, 24, "resnet18", tiny.CLASSIFIER)


def files(folder):
    """The bytes of each."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def call(tmp_path):
    """Run the stage into a folder of that name; its files."""
    weights = {name: tensor.contiguous() for name, tensor in build(ASKED.model, 7).state_dict().items()}
    save_file(weights, tmp_path / "backbone.safetensors")

    def calling(name, asked=ASKED, layout="phantom", root=TABLES):
        out, metrics = tmp_path / name / "out", tmp_path / name / "metrics"
        planted(asked, layout, root, 4, 48, 32, "header", tmp_path / "backbone.safetensors", out, metrics)
        return files(tmp_path / name)

    return calling


def test_attribute_and_finding_coincide_as_often_as_is_wished():
    present = np.arange(4000) % 2
    assert (ends(present, 1.0, "a") == present).all()
    assert (ends(present, 0.0, "a") == 1 - present).all()
    often, seldom = (ends(present, agreement, "a") == present for agreement in (0.9, 0.5))
    assert [often.mean(), seldom.mean()] == pytest.approx([0.9, 0.5], abs=0.02)
    assert often[seldom].all()
    assert (ends(present, 0.5, "a") != ends(present, 0.5, "b")).any()


def test_twins_differ_in_the_attribute_of_their_training_images_alone(call, monkeypatch):
    taught, shown = [], []
    train, pictures = stage.train, stage.pictures

    def training(model, examples, *how):
        taught.append((examples, {name: tensor.clone() for name, tensor in model.state_dict().items()}, how[:2]))
        return train(model, examples, *how)

    def showing(patients, changes, scale):
        shown.append((patients, changes, scale.seed))
        return pictures(patients, changes, scale)

    monkeypatch.setattr(stage, "train", training)
    monkeypatch.setattr(stage, "pictures", showing)
    call("first")
    (biased, start, how), (fair, other_start, other_how) = taught
    (patients, changes, seed), (others, other_changes, other_seed) = shown
    assert how == other_how
    assert all(torch.equal(start[name], other_start[name]) for name in start)
    np.testing.assert_array_equal(biased.labels, fair.labels)
    assert biased.labels[:, 0].tolist() == [float("pneumothorax" in one.severities) for one in patients]
    assert biased.labels.mean() == 0.5
    assert (biased.weights == fair.weights).all()
    assert changes == other_changes == [{"pacemaker": 0.0}, {"pacemaker": 1.0}]
    assert seed == other_seed == 6
    assert len(patients) == 24
    assert len({one.patient for one in [*patients, *others]}) == 24 + 6
    low, high = pictures(patients, changes, truth.Scale(6, 48, 32))
    assert (low != high).any(axis=(1, 2)).all()
    for examples, agreement in ((biased, 0.9), (fair, 0.5)):
        chosen = ends(examples.labels[:, 0].astype(int), agreement, "train")[:, None, None]
        np.testing.assert_array_equal(examples.images, np.where(chosen, high, low))
    assert (biased.images != fair.images).any()


def test_a_shortcut_pays_where_it_holds_and_costs_where_it_does_not(call, tmp_path):
    longer = replace(tiny.CLASSIFIER, steps=40, batch=16, ema_decay=0.8)
    call("long", replace(ASKED, agreement=1.0, patients=64, training=longer))
    found = pd.read_csv(tmp_path / "long/metrics/auroc.csv")
    assert list(found.columns) == AUROC
    assert found["classifier"].tolist() == ["biased"] * 3 + ["fair"] * 3
    assert found["images"].tolist() == ["coincide", "independent", "opposed"] * 2
    losses = pd.read_csv(tmp_path / "long/out/losses.csv")
    assert list(losses.columns) == LOSSES
    assert losses["classifier"].tolist() == ["biased"] * 40 + ["fair"] * 40
    auroc = found.set_index(["classifier", "images"])["auroc"]
    assert auroc["biased", "coincide"] > 0.9
    assert auroc["biased", "opposed"] < 0.3
    assert abs(auroc["fair", "coincide"] - auroc["fair", "opposed"]) < 0.4


def test_killed_twice_and_on_one_core_it_ends_with_the_same_bytes(call, monkeypatch, killed_after, tmp_path):
    whole = call("whole")
    assert list(whole) == [
        "metrics/auroc.csv", "out/biased/config.json", "out/biased/model.safetensors", "out/fair/config.json",
        "out/fair/model.safetensors", "out/losses.csv",
    ]  # fmt: skip
    monkeypatch.setattr(truth, "cores", lambda: 1)
    for done in (set(), {"out/biased/config.json", "out/biased/model.safetensors"}):
        with killed_after(2), pytest.raises(KeyboardInterrupt):
            call("again")
        assert set(files(tmp_path / "again")) == done
    assert call("again") == whole


@pytest.mark.parametrize("layout", ["vindr", "table"])
def test_nothing_is_planted_in_real_data(call, layout, tmp_path):
    assert call("real", layout=layout, root=tmp_path / "missing") == {
        "metrics/auroc.csv": b"classifier,images,auroc\n",
        "out/losses.csv": b"classifier,step,loss\n",
    }


def test_a_backbone_of_another_network_is_refused_before_anything_is_rendered(call, tmp_path):
    with pytest.raises(UserError, match="another network"):
        call("other", replace(ASKED, model="mobilenet_v3_small"), root=tmp_path / "missing")
