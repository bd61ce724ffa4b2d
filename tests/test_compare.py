import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.data.manifest import FIXED
from raremix.evaluation.answer import cost, sentence, verdict
from raremix.evaluation.comparison import choose
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from stages import compare as module
from stages.compare import Compare, compare
from stages.sections import Study

FINDINGS = ["effusion", "nodule", "pneumothorax"]
ARMS = ["vanilla", "undersample", "oversample", "dreambooth_mix", "dreambooth_balanced", "shuffled"]
GAIN = dict(zip(ARMS, [0.5, 0.5, 1.6, 1.6, 2.2, 0.1], strict=True))
STUDY = Study(FINDINGS, ["nodule", "pneumothorax"], ARMS, [5, 10], [0, 1, 2])
COMPARE = Compare(shots=10, bootstrap=100, level=0.95, margin=0.01)


def fake_predict(run, rows, pixels, part):
    """Predictions whose quality depends on the arm alone, as ``predict_run`` gives them."""
    arm = run.name.split("-")[0]
    rng = np.random.default_rng(sum(map(ord, run.name)))
    table = rows.melt("image_id", FINDINGS, "finding", "label").assign(part=part)
    skill = GAIN[arm] * (1 + 0.05 * rng.normal())
    table["probability"] = (1 / (1 + np.exp(-skill * table.label - rng.normal(size=len(table))))).round(6)
    return table[["image_id", "part", "finding", "label", "probability"]]


def build(root):
    """A profile directory up to the trained runs: 100 natural images, 240 test images enriched in findings.

    A test image's two pixels spell its number.
    """
    rng = np.random.default_rng(0)
    natural, test = rng.uniform(size=(100, 3)) < [0.3, 0.1, 0.1], rng.uniform(size=(240, 3)) < 0.4
    image_id = [f"i{k:03d}" for k in rng.permutation(340)]
    manifest = pd.DataFrame({"image_id": image_id, "file": [f"{root}/images/{name}.png" for name in image_id]})
    manifest[FIXED[2:]] = ["p", 0, "", ""]
    manifest["patient_id"] = image_id
    manifest[FINDINGS] = np.vstack([natural, test]).astype(int)
    for folder in ("splits", "images"):
        (root / folder).mkdir()
    for name, file in zip(image_id[100:], manifest.file[100:], strict=True):
        images.save(np.array([divmod(int(name[1:]), 256)], dtype=np.uint8), file)
    write_checksums({file: sha256(Path(file)) for file in manifest.file[100:]}, root / "images.sha256")
    manifest.to_csv(root / "manifest.csv", index=False)
    parts = ["train"] * 60 + ["validation"] * 30 + ["held_back"] * 10 + ["test"] * 240
    for trial in STUDY.trials:
        split = pd.DataFrame({"image_id": image_id, "part": parts, "shot_rank": ""})
        split.to_csv(root / "splits" / f"trial{trial}.csv", index=False)
    for name in (f"{arm}-{shots}-{trial}" for arm in ARMS for shots in STUDY.shots for trial in STUDY.trials):
        run = root / "runs" / name
        run.mkdir(parents=True)
        fake_predict(run, manifest[60:90], None, "validation").to_csv(run / "predictions.csv", index=False)
    write_validation(root, {"dreambooth_mix": 0.3, "dreambooth_balanced": 0.5})


@pytest.fixture
def profile(tmp_path, monkeypatch):
    build(tmp_path)
    monkeypatch.setattr(module, "predict_run", fake_predict)
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A profile after compare; only to be read."""
    root = tmp_path_factory.mktemp("done")
    build(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "predict_run", fake_predict)
        call(root)
    return root


def write_validation(profile, minority_ap):
    figures = {arm: {"minority": {"ap": {"mean": value, "sd": None, "n": 1}}} for arm, value in minority_ap.items()}
    (profile / "validation.json").write_text(json.dumps({"10": figures}))


def call(profile, study=STUDY, analysis=COMPARE, out="out"):
    names = ("manifest.csv", "images.sha256", "splits", "runs", "validation.json", f"{out}.csv", out)
    compare(study, analysis, *(profile / name for name in names))
    return json.loads((profile / out / "answer.json").read_text())


def keep_runs(profile, arms, shots=STUDY.shots, trials=STUDY.trials):
    wanted = {f"{arm}-{count}-{trial}" for arm in arms for count in shots for trial in trials}
    for path in (profile / "runs").iterdir():
        if path.name not in wanted:
            shutil.rmtree(path)
    return Study(FINDINGS, STUDY.minority, arms, shots, trials)


def test_the_answer_compares_the_arm_that_validation_chose(profile):
    found = call(profile)
    assert (found["arm"], found["shots"], found["finding"], found["metric"]) == (
        "dreambooth_balanced",
        10,
        "minority",
        "ap",
    )
    assert found["validation"] == {"dreambooth_mix": 0.3, "dreambooth_balanced": 0.5}
    assert list(found["against"]) == ["vanilla", "undersample", "oversample"]
    assert found["against"]["vanilla"]["verdict"] == "improves on"
    assert found["values"]["dreambooth_balanced"] > found["values"]["vanilla"]
    assert "improves on vanilla" in found["sentence"]
    write_validation(profile, {"dreambooth_mix": 0.6, "dreambooth_balanced": 0.5})
    assert call(profile)["arm"] == "dreambooth_mix"


def test_only_the_primary_rows_carry_a_holm_p(done):
    table = pd.read_csv(done / "out" / "comparison.csv")
    header = "shots,arm,against,finding,metric,difference,low,high,p,p_holm,n_pos,n_neg,trials,detectable"
    assert ",".join(table.columns) == header
    primary = table[table.p_holm.notna()]
    assert primary.against.tolist() == ["vanilla", "undersample", "oversample"]
    assert set(primary.arm) == {"dreambooth_balanced"}
    assert set(primary.shots) == {10}
    assert set(zip(primary.finding, primary.metric, strict=True)) == {("minority", "ap")}
    assert (primary.p_holm >= primary.p).all()
    assert len(table) == 2 * (6 * 3 - 3) * 6 * 2  # shots x (arm, other baseline) x families x metrics


def test_every_row_is_a_difference_of_the_summarys_means_inside_its_interval(done):
    table = pd.read_csv(done / "out" / "comparison.csv")
    figures = json.loads((done / "out" / "summary.json").read_text())
    for row in table.itertuples():
        arm, against = (figures[str(row.shots)][name][row.finding][row.metric] for name in (row.arm, row.against))
        assert row.difference == pytest.approx(arm["mean"] - against["mean"], abs=3e-6)
        assert row.low < row.difference < row.high
        assert (row.low > 0 or row.high < 0) == (row.p < 0.05)
        assert row.trials == 3
        assert row.detectable > (row.high - row.low) / 2, "what chance alone hides cannot be seen"
        assert row.n_pos + row.n_neg == 240
    manifest = (
        pd.read_csv(done / "manifest.csv").set_index("image_id").loc[lambda m: m.index.isin(images_of_test(done))]
    )
    assert table.n_pos[table.finding == "nodule"].unique().tolist() == [manifest.nodule.sum()]
    either = (manifest.nodule | manifest.pneumothorax).sum()
    assert table.n_pos[table.finding == "minority"].unique().tolist() == [either]


def images_of_test(profile):
    split = pd.read_csv(profile / "splits" / "trial0.csv")
    return set(split.image_id[split.part == "test"])


def test_figures_are_weighted_to_the_natural_prevalence(done):
    """A classifier that knows nothing has an average precision near the prevalence: the natural one, not the test's."""
    found = json.loads((done / "out" / "answer.json").read_text())
    assert found["values"]["shuffled"] < 0.2  # naturally about 0.1 of the images are positive, in the test part 0.4


def test_predictions_hold_the_test_part_of_every_run(done):
    table = pd.read_csv(done / "out.csv")
    assert list(table.columns) == ["arm", "shots", "trial", "image_id", "part", "finding", "label", "probability"]
    assert len(table) == 36 * 240 * 3
    assert set(table.image_id) == images_of_test(done)
    assert set(table.part) == {"test"}


def test_curves_are_one_row_a_point_for_the_primary_shots(done):
    roc, pr = (pd.read_csv(done / "out" / name) for name in ("roc.csv", "pr.csv"))
    assert list(roc.columns) == ["finding", "arm", "fpr", "tpr"]
    assert list(pr.columns) == ["finding", "arm", "recall", "precision"]
    assert len(roc) == len(ARMS) * 3 * 51
    assert (roc.groupby(["finding", "arm"]).tpr.diff().dropna() >= 0).all()


def test_decisions_are_at_the_threshold_of_validation_with_the_trials_pooled(done):
    table = pd.read_csv(done / "out" / "decisions.csv")
    assert len(table) == 2 * 6 * 3 * 3  # shots x arms x trials x findings
    assert table.groupby(["shots", "arm", "finding"])["threshold"].nunique().eq(1).all()
    one = table[(table.shots == 10) & (table.arm == "dreambooth_balanced") & (table.finding == "nodule")]
    runs = [pd.read_csv(done / "runs" / f"dreambooth_balanced-10-{trial}" / "predictions.csv") for trial in range(3)]
    pooled = pd.concat(runs).query("finding == 'nodule'")

    def summed(cut):
        called = pooled.probability >= cut
        return called[pooled.label == 1].mean() - called[pooled.label == 0].mean()

    assert summed(one.threshold.iloc[0]) == pytest.approx(max(map(summed, pooled.probability)))
    assert one.balanced_accuracy.gt(0.6).all()
    assert table[table.arm == "shuffled"].balanced_accuracy.between(0.35, 0.65).all()


def test_single_trials_are_tested_pair_by_pair(done):
    table = pd.read_csv(done / "out" / "tests.csv")
    assert len(table) == 2 * (6 * 3 - 3) * 3 * 3  # shots x (arm, other baseline) x trials x findings
    assert table[["p_delong", "p_mcnemar"]].stack().between(0, 1).all()
    keys = {"shots": 10, "trial": 1, "finding": "nodule"}
    pair = table[(table.arm == "dreambooth_balanced") & (table.against == "vanilla")]
    one = pair[(pair[list(keys)] == list(keys.values())).all(axis=1)].iloc[0]
    runs = pd.read_csv(done / "out.csv")
    runs = runs[(runs[list(keys)] == list(keys.values())).all(axis=1)].set_index(["arm", "image_id"])
    mine, theirs = (runs.loc[arm] for arm in ("dreambooth_balanced", "vanilla"))
    gained = roc_auc_score(mine.label, mine.probability) - roc_auc_score(theirs.label, theirs.probability)
    assert one.difference == pytest.approx(gained, abs=1e-5)


def test_calibration_curves_hold_all_images(done):
    table = pd.read_csv(done / "out" / "calibration.csv")
    assert list(table.columns) == ["finding", "arm", "predicted", "observed", "share"]
    assert table.groupby(["finding", "arm"])["share"].sum().to_numpy() == pytest.approx(1, abs=2e-3)


def test_a_threshold_needs_both_classes_on_validation(profile):
    for run in (profile / "runs").glob("vanilla-*"):
        table = pd.read_csv(run / "predictions.csv")
        table.loc[table.finding == "nodule", "label"] = 0
        table.to_csv(run / "predictions.csv", index=False)
    with pytest.raises(UserError, match="vanilla, 5 shots: validation needs images with and without 'nodule'"):
        call(profile)


def test_what_the_arm_costs_on_the_majority_findings_is_said(profile):
    found = call(profile)
    assert list(found["majority"]) == ["vanilla", "undersample", "oversample"]
    for one in found["majority"].values():
        assert one["non_inferior"] == (one["low"] > -0.01)
    assert "Over the majority findings its AUROC" in found["sentence"]
    found = call(profile, replace(STUDY, minority=FINDINGS), out="all")
    assert found["majority"] == {}
    assert "majority" not in found["sentence"]


def test_the_margin_decides_and_both_kinds_are_listed():
    one, other = ({"difference": d, "low": d - 0.02, "high": d + 0.02} for d in (0.03, -0.001))
    members = {"vanilla": one | {"non_inferior": True}, "oversample": other | {"non_inferior": False}}
    assert cost(members, 0.01) == (
        "Over the majority findings its AUROC is not inferior to vanilla (+0.030 [+0.010, +0.050]) and is not shown to "
        "be non-inferior to oversample (-0.001 [-0.021, +0.019]), by a margin of 0.01."
    )
    assert cost({}, 0.01) == ""


def test_same_study_same_bytes(done, profile):
    call(profile)
    for path in [done / "out.csv", *(done / "out").iterdir()]:
        assert path.read_bytes() == (profile / path.relative_to(done)).read_bytes(), path.name


def test_a_study_without_dreambooth_has_no_primary_result_and_says_so(profile):
    found = call(profile, keep_runs(profile, ["vanilla", "oversample", "shuffled"]))
    assert found["arm"] is None
    assert found["against"] == {}
    assert "no primary result" in found["sentence"]
    table = pd.read_csv(profile / "out" / "comparison.csv")
    assert table.p_holm.isna().all()
    assert set(table.against) == {"vanilla", "oversample"}


def test_a_small_study_compares_what_is_there_and_admits_its_single_trial(profile):
    found = call(profile, keep_runs(profile, ["vanilla", "dreambooth_mix"], [10], [0]))
    assert list(found["against"]) == ["vanilla"]
    assert found["trials"] == 1
    assert "1 trial: the intervals count images only" in found["sentence"]


def test_without_baselines_there_is_no_primary_result(profile):
    found = call(profile, keep_runs(profile, ["dreambooth_mix", "shuffled"], [10]))
    assert "no baseline" in found["sentence"]
    assert (profile / "out" / "comparison.csv").read_text().count("\n") == 1


def test_shots_outside_the_study_are_refused(profile):
    with pytest.raises(UserError, match=r"compare\.shots: 20 is not one of study\.shots \[5, 10\]"):
        call(profile, analysis=replace(COMPARE, shots=20))


def test_a_study_that_can_not_be_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"study\.minority: unknown finding 'mass'"):
        call(tmp_path, replace(STUDY, minority=["mass"]))


def test_test_images_are_decoded_once_and_stand_beside_their_rows(profile, monkeypatch):
    load, loaded = images.load, []

    def counted(files, checksums):
        loaded.append(load(files, checksums))
        return loaded[-1]

    def seen(run, rows, pixels, part):
        assert (pixels[:, 0] @ [256, 1] == rows.image_id.str[1:].astype(int)).all()
        return fake_predict(run, rows, pixels, part)

    monkeypatch.setattr(images, "load", counted)
    monkeypatch.setattr(module, "predict_run", seen)
    call(profile)
    assert [len(pixels) for pixels in loaded] == [240]


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


def test_a_candidate_without_a_validation_figure_loses_and_a_tie_goes_to_the_first():
    figures = {arm: {"minority": {"ap": {"mean": value}}} for arm, value in [("dreambooth_a", None), ("vanilla", 0.9)]}
    figures |= {arm: {"minority": {"ap": {"mean": 0.2}}} for arm in ("dreambooth_b", "dreambooth_c")}
    assert choose({"10": figures}, 10, list(figures))[0] == "dreambooth_b"


@pytest.mark.parametrize(
    ("difference", "p_holm", "words"),
    [(0.1, 0.01, "improves on"), (-0.1, 0.01, "is worse than"), (0.1, 0.05, "no detectable difference from")],
)
def test_the_words_are_earned(difference, p_holm, words):
    assert verdict(difference, p_holm, 0.95) == words


def test_a_result_against_the_hypothesis_is_said_as_plainly():
    figures = {"difference": -0.05, "low": -0.08, "high": -0.02, "verdict": "is worse than"}
    even = {"difference": 0.01, "low": -0.02, "high": 0.04, "verdict": "no detectable difference from"}
    even |= {"detectable": 0.043}
    against = {"vanilla": even, "undersample": even, "oversample": figures}
    assert sentence("dreambooth_mix", 10, {"dreambooth_mix": {"mean": 0.3, "n": 3}}, against) == (
        "With 10 shots, dreambooth_mix (average precision over the minority findings 0.300, 3 trials) "
        "shows no detectable difference from vanilla (+0.010 [-0.020, +0.040], could have seen 0.04) and undersample "
        "(+0.010 [-0.020, +0.040], could have seen 0.04); is worse than oversample (-0.050 [-0.080, -0.020])."
    )
