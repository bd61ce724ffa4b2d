"""The compare stage: its tables, and what it refuses."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from compared import (
    ARMS,
    build,
    call,
    fake_predict,
    images_of_test,
    keyed,
    whole,
)
from sklearn.metrics import average_precision_score

from raremix.data import images
from raremix.evaluation.answer import answer
from raremix.evaluation.comparison import compare_arms, pairs
from raremix.evaluation.statistics import holm
from stages import compare as module


@pytest.fixture
def profile(tmp_path, monkeypatch):
    build(tmp_path)
    monkeypatch.setattr(module, "predict_run", fake_predict)
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A profile after compare; only to be read."""
    return whole(tmp_path_factory.mktemp("done"))


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
    # shots x (each arm and other baseline, each of two dreambooth arms and other arm that is none) x families x metrics
    assert len(table) == 2 * (6 * 3 - 3 + 2 * 2) * 6 * 2


def test_dreambooth_arms_stand_against_all_others_and_those_against_the_baselines_alone():
    arms = ["synthetic_pretrain", "vanilla", "dreambooth_mix", "oversample", "crt", "dreambooth_balanced"]
    held = pairs([(10, arm) for arm in arms])
    by_arm = {name: [other for _, arm, other in held if arm == name] for name in arms}
    assert by_arm["dreambooth_mix"] == ["vanilla", "oversample", "crt", "dreambooth_balanced", "synthetic_pretrain"]
    assert by_arm["crt"] == by_arm["synthetic_pretrain"] == ["vanilla", "oversample"]
    assert by_arm["vanilla"] == ["oversample"]
    assert pairs([(5, "dreambooth_mix"), (10, "crt")]) == [], "of one number of shots"


def compared(arms, primary):
    """Arms that differ by chance alone: a finding of either family, 3 trials, 40 resamples."""
    rng, groups = np.random.default_rng(0), {"nodule": [0], "minority": [0], "majority": [1]}
    names = list(product(arms, range(3), groups))
    trials = pd.DataFrame(names, columns=["arm", "trial", "finding"]).assign(shots=10)
    trials[["auroc", "ap"]] = rng.uniform(size=(len(names), 2))
    drawn = {
        (10, arm): {metric: {name: rng.uniform(size=(40, 3)) for name in groups} for metric in ("auroc", "ap")}
        for arm in arms
    }
    return trials, compare_arms(trials, drawn, np.eye(2, dtype=np.int64)[[0, 1, 1]], groups, 0.95, primary)


def test_arms_that_are_no_baselines_are_no_part_of_the_primary_result():
    trials, table = compared(["vanilla", "crt", "oversample", "dreambooth_mix"], (10, "dreambooth_mix"))
    primary = table[table.p_holm.notna()]
    assert primary.against.tolist() == ["vanilla", "oversample"]
    assert primary.p_holm.tolist() == pytest.approx(holm(primary.p.tolist())), "of two, not of three"
    figure = {"minority": {"ap": {"mean": 0.3, "sd": 0.01, "n": 3}}}
    found = answer(table, {"10": {"dreambooth_mix": figure}}, trials, [], 10, ("dreambooth_mix", {}), 0.95, 0.01)
    assert list(found["against"]) == list(found["majority"]) == ["vanilla", "oversample"]


def test_what_a_primary_comparison_could_have_seen_allows_for_holm():
    """The first of Holm's steps asks for a p of .05 / 2 here, so less is seen than by one comparison alone."""
    _, table = compared(["vanilla", "oversample", "dreambooth_mix"], (10, "dreambooth_mix"))
    _, alone = compared(["vanilla", "oversample", "dreambooth_mix"], (10, None))
    primary = table.p_holm.notna()
    assert primary.sum() == 2
    assert alone.p_holm.isna().all()
    assert (table.detectable[primary] > 1.1 * alone.detectable[primary]).all()
    pd.testing.assert_series_equal(table.detectable[~primary], alone.detectable[~primary])
    pd.testing.assert_frame_equal(table[["low", "high", "p"]], alone[["low", "high", "p"]])


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


def test_each_arm_has_an_interval_of_its_own_around_its_mean_over_trials(done):
    own = pd.read_csv(done / "out" / "arms.csv")
    runs = pd.read_csv(done / "out" / "runs.csv")
    assert len(own) == 2 * 6 * 6 * 2  # shots x arms x (findings and families) x metrics
    keys = ["shots", "arm", "finding"]
    means = runs.groupby(keys)[["ap", "auroc"]].mean().stack().rename_axis([*keys, "metric"])
    joined = own.merge(means.rename("mean").reset_index())
    assert len(joined) == len(own)
    assert joined["value"].to_numpy() == pytest.approx(joined["mean"].to_numpy(), abs=1e-5)
    assert (own.low < own.value).all()
    assert (own.value < own.high).all()
    assert own.low.ge(0).all()
    assert own.high.le(1).all()
    wide = own.set_index(["shots", "arm", "finding", "metric"]).eval("high - low")
    assert (wide.xs("nodule", level="finding") > wide.xs("macro", level="finding")).mean() > 0.5


def test_where_readers_are_known_the_trio_has_scores_of_its_own(done, profile):
    header = "shots,arm,trial,finding,images,positives,auroc,ap"
    assert (done / "out" / "trio.csv").read_text() == header + "\n"
    manifest = pd.read_csv(profile / "manifest.csv", dtype=str, keep_default_na=False)
    manifest["reader_trio"] = np.where(np.arange(len(manifest)) % 2, "R10|R8|R9", "R1|R2|R3")
    manifest.to_csv(profile / "manifest.csv", index=False)
    call(profile)
    found = pd.read_csv(profile / "out" / "trio.csv")
    assert ",".join(found.columns) == header
    assert len(found) == 36 * 6
    read = set(manifest.image_id[manifest.reader_trio == "R10|R8|R9"]) & images_of_test(profile)
    assert set(found.images) == {len(read)}
    told = pd.read_csv(profile / "out.csv")
    mine = keyed(told[told.image_id.isin(read)], shots=10, arm="oversample", trial=2, finding="nodule")
    row = keyed(found, shots=10, arm="oversample", trial=2, finding="nodule").iloc[0]
    assert row.positives == mine.label.sum()
    assert row.ap == pytest.approx(average_precision_score(mine.label, mine.probability), abs=1e-5)


def test_same_study_same_bytes(done, profile):
    call(profile)
    for path in [done / "out.csv", *(done / "out").iterdir()]:
        assert path.read_bytes() == (profile / path.relative_to(done)).read_bytes(), path.name


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
