import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from raremix.data.manifest import FIXED
from raremix.runtime.errors import UserError
from stages.cli import run
from stages.sections import Study
from stages.validate import validate

FINDINGS = ["effusion", "nodule"]
STUDY = Study(
    findings=FINDINGS,
    minority=["nodule"],
    synthesized=["nodule"],
    arms=["vanilla", "oversample"],
    shots=[10],
    trials=[0, 1],
)


@pytest.fixture
def profile(tmp_path):
    """A profile directory with a manifest and the validation predictions of four runs."""
    rng = np.random.default_rng(0)
    manifest = pd.DataFrame({"image_id": [f"{k:03d}" for k in range(40)]})
    manifest[FIXED[1:]] = ["x.png", "p", 0, "", ""]
    manifest[FINDINGS] = rng.integers(0, 2, (40, 2))
    (tmp_path / "data").mkdir()
    manifest.to_csv(tmp_path / "data" / "manifest.csv", index=False)
    for arm in STUDY.arms:
        for trial in STUDY.trials:
            rows = manifest.melt("image_id", FINDINGS, "finding", "label").assign(part="validation")
            gain = {"vanilla": 0.5, "oversample": 2}[arm]
            rows["probability"] = 1 / (1 + np.exp(-gain * rows.label - rng.normal(size=80)))
            path = tmp_path / "runs" / f"{arm}-10-{trial}" / "predictions.csv"
            path.parent.mkdir(parents=True)
            rows[["image_id", "part", "finding", "label", "probability"]].to_csv(path, index=False)
            (path.parent / "losses.csv").write_text("step,loss\n1,0.7\n2,0.5\n")
    return tmp_path


def call(profile, study=STUDY, out="metrics"):
    validate(study, profile / "data" / "manifest.csv", profile / "runs", profile / out)


def edit(profile, change):
    path = profile / "runs" / "vanilla-10-1" / "predictions.csv"
    change(pd.read_csv(path, dtype={"image_id": str})).to_csv(path, index=False)


def test_the_summary_holds_every_arm_finding_and_metric(profile):
    call(profile)
    figures = json.loads((profile / "metrics" / "summary.json").read_text())
    assert list(figures) == ["10"]
    assert list(figures["10"]) == STUDY.arms
    for arm in STUDY.arms:
        assert set(figures["10"][arm]) == {"effusion", "nodule", "macro", "minority", "majority"}
        assert figures["10"][arm]["minority"] == figures["10"][arm]["nodule"]
        assert figures["10"][arm]["majority"] == figures["10"][arm]["effusion"]
        assert figures["10"][arm]["macro"]["ap"]["n"] == 2
    better, worse = (figures["10"][arm]["macro"]["auroc"]["mean"] for arm in ("oversample", "vanilla"))
    assert better > worse + 0.1
    headline = json.loads((profile / "metrics" / "headline.json").read_text())
    expected = {arm: figures["10"][arm]["minority"]["ap"]["mean"] for arm in STUDY.arms}
    assert headline == {"minority_ap_10_shots": expected}


def test_the_runs_table_averages_to_the_summary(profile):
    call(profile)
    runs = pd.read_csv(profile / "metrics" / "runs.csv")
    assert list(runs.columns) == ["shots", "arm", "trial", "finding", "auroc", "ap"]
    assert len(runs) == 4 * 5
    figures = json.loads((profile / "metrics" / "summary.json").read_text())
    mean = runs[(runs.arm == "vanilla") & (runs.finding == "nodule")].ap.mean()
    assert figures["10"]["vanilla"]["nodule"]["ap"]["mean"] == pytest.approx(mean, abs=1e-5)


def test_same_runs_same_bytes(profile):
    call(profile)
    call(profile, out="again")
    for name in ("summary.json", "headline.json", "runs.csv", "losses.csv"):
        assert (profile / "metrics" / name).read_bytes() == (profile / "again" / name).read_bytes()


def test_a_stranger_is_refused_with_the_command_that_removes_it(profile):
    stranger = profile / "runs" / "undersample-10-0"
    stranger.mkdir()
    with pytest.raises(UserError, match=rf"undersample-10-0 .*rm -r {stranger}"):
        call(profile)
    assert not (profile / "metrics").exists()


def test_a_missing_run_is_named(profile):
    more = Study(FINDINGS, ["nodule"], ["nodule"], STUDY.arms, [10], [0, 1, 2])
    with pytest.raises(UserError, match=r"no run vanilla-10-2, oversample-10-2"):
        call(profile, more)


def test_test_images_are_refused(profile):
    edit(profile, lambda frame: frame.assign(part=["test", *frame.part[1:]]))
    with pytest.raises(UserError, match="'test'; only 'validation'"):
        call(profile)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="label"), "columns are"),
        (lambda frame: frame[frame.finding != "nodule"], "no prediction of 'nodule'"),
        (lambda frame: frame.drop(index=0), "image '000' lacks"),
        (lambda frame: pd.concat([frame, frame[:1]]), "image '000' is predicted twice"),
    ],
)
def test_damaged_predictions_are_named(profile, change, message):
    edit(profile, change)
    with pytest.raises(UserError, match=f"vanilla-10-1.*{message}"):
        call(profile)


@pytest.mark.parametrize(
    ("findings", "minority", "message"),
    [
        (["effusion", "nodul"], ["effusion"], "study.findings: unknown finding 'nodul'"),
        (FINDINGS, ["mass"], "study.minority: unknown finding 'mass'"),
        (FINDINGS, [], "study.minority: is empty"),
        ([*FINDINGS, "nodule"], ["nodule"], "study.findings: 'nodule' is there twice"),
    ],
)
def test_a_study_that_can_not_be_or_that_the_manifest_does_not_know_is_refused(profile, findings, minority, message):
    with pytest.raises(UserError, match=message):
        call(profile, Study(findings, minority, minority, STUDY.arms, [10], [0, 1]))


def test_a_finding_that_validation_lacks_is_null_not_nan(profile):
    for path in (profile / "runs").glob("*/predictions.csv"):
        frame = pd.read_csv(path, dtype={"image_id": str})
        frame.loc[frame.finding == "nodule", "label"] = 0
        frame.to_csv(path, index=False)
    call(profile)
    text = (profile / "metrics" / "summary.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["10"]["vanilla"]["minority"]["ap"] == {"mean": None, "sd": None, "n": 0}


def test_the_command_line_reads_the_study_from_params(profile):
    params = profile / "params.yaml"
    params.write_text(json.dumps({"study": vars(STUDY)}))
    flags = ["--manifest", "data/manifest.csv", "--runs", "runs", "--out", "out"]
    run(validate, [str(params), *(str(profile / f) if not f.startswith("--") else f for f in flags)])
    assert (profile / "out" / "summary.json").is_file()


def test_within_the_trio_are_its_images_alone(profile):
    file = profile / "data" / "manifest.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    call(profile)
    assert (profile / "metrics" / "trio.csv").read_text() == "shots,arm,trial,finding,images,positives,auroc,ap\n"
    table["reader_trio"] = ["R10|R8|R9"] * 25 + ["R1|R2|R3"] * 15
    table.to_csv(file, index=False)
    call(profile)
    found = pd.read_csv(profile / "metrics" / "trio.csv").set_index(["arm", "trial", "finding"])
    assert set(found["images"]) == {25}
    assert found.loc[("vanilla", 0, "nodule"), "positives"] == (table["nodule"][:25] == "1").sum()
    assert found.loc[("vanilla", 0, "macro"), "positives"] == (table[FINDINGS][:25] == "1").any(axis=1).sum()
    for trial in STUDY.trials:
        rows = pd.read_csv(profile / "runs" / f"vanilla-10-{trial}" / "predictions.csv", dtype={"image_id": str})
        one = rows[(rows["finding"] == "nodule") & rows["image_id"].isin(table["image_id"][:25])]
        expected = average_precision_score(one["label"], one["probability"])
        assert found.loc[("vanilla", trial, "nodule"), "ap"] == pytest.approx(expected, abs=1e-5)


def test_where_nobody_of_the_trio_s_images_carries_a_finding_it_has_no_score(profile):
    file = profile / "data" / "manifest.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    table["reader_trio"] = ["R10|R8|R9" if nodule == "0" else "R1|R2|R3" for nodule in table["nodule"]]
    table.to_csv(file, index=False)
    call(profile)
    found = pd.read_csv(profile / "metrics" / "trio.csv").set_index("finding")
    assert found.loc["nodule", ["auroc", "ap"]].isna().all(axis=None)
    assert found.loc["effusion", "ap"].notna().all()
