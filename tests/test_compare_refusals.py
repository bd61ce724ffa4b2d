"""What the compare stage refuses, by name, before it predicts or writes."""

from dataclasses import replace

import pandas as pd
import pytest
from compared import COMPARE, STUDY, build, call, fake_predict, write_validation

from raremix.runtime.errors import UserError
from stages import compare as module


@pytest.fixture
def profile(tmp_path, monkeypatch):
    build(tmp_path)
    monkeypatch.setattr(module, "predict_run", fake_predict)
    return tmp_path


def test_an_arm_that_validation_lacks_is_named(profile):
    write_validation(profile, {"dreambooth_mix": 0.3})
    with pytest.raises(UserError, match="no 'dreambooth_balanced' at 10 shots; run: dvc repro validate"):
        call(profile)


def test_a_threshold_needs_both_classes_on_validation(profile):
    for run in (profile / "runs").glob("vanilla-*"):
        table = pd.read_csv(run / "predictions.csv")
        table.loc[table.finding == "nodule", "label"] = 0
        table.to_csv(run / "predictions.csv", index=False)
    with pytest.raises(UserError, match="vanilla, 5 shots: validation needs images with and without 'nodule'"):
        call(profile)
    assert not (profile / "out.csv").exists(), "and no test image has been predicted for it"


def test_shots_outside_the_study_are_refused(profile):
    with pytest.raises(UserError, match=r"compare\.shots: 20 is not one of study\.shots \[5, 10\]"):
        call(profile, analysis=replace(COMPARE, shots=20))


def test_a_study_that_can_not_be_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"study\.minority: unknown finding 'mass'"):
        call(tmp_path, replace(STUDY, minority=["mass"]))


def test_a_test_image_that_changed_is_named(profile):
    changed = sorted((profile / "images").iterdir())[7]
    changed.write_bytes(b"x")
    with pytest.raises(UserError, match=f"{changed}: not the bytes"):
        call(profile)


def test_trials_with_different_test_parts_are_refused(profile):
    path = profile / "splits" / "trial2.csv"
    path.write_text(path.read_text().replace(",test,", ",train,", 1))
    with pytest.raises(UserError, match="trials 0 and 2 test different images"):
        call(profile)


def test_a_finding_that_the_test_part_lacks_is_refused_before_anything_is_predicted(profile, monkeypatch):
    manifest = pd.read_csv(profile / "manifest.csv").assign(nodule=0)
    manifest.to_csv(profile / "manifest.csv", index=False)
    monkeypatch.setattr(module, "predict_run", lambda *_: pytest.fail("predicted"))
    with pytest.raises(UserError, match="with and without 'nodule'"):
        call(profile)


def test_an_image_of_the_split_that_the_manifest_lacks_is_named(profile):
    manifest = pd.read_csv(profile / "manifest.csv")
    gone = manifest.image_id.iloc[-1]
    manifest[:-1].to_csv(profile / "manifest.csv", index=False)
    with pytest.raises(UserError, match=f"trial0.csv: image '{gone}' is not in the manifest"):
        call(profile)


def test_predictions_of_other_images_are_refused(profile, monkeypatch):
    monkeypatch.setattr(module, "predict_run", lambda run, rows, *rest: fake_predict(run, rows[1:], *rest))
    with pytest.raises(UserError, match="not of the test part's images"):
        call(profile)


def test_a_stranger_among_the_runs_is_refused(profile):
    (profile / "runs" / "vanilla-20-0").mkdir()
    with pytest.raises(UserError, match=r"vanilla-20-0 is not in params\.yaml's study"):
        call(profile)
