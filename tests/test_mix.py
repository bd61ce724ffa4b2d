import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raremix.data.balance import needed, oversampled, stream_weights, undersampled
from raremix.data.checksums import read_checksums, write_checksums
from raremix.data.lineage import write_lineage
from raremix.data.manifest import FIXED, SYNTHETIC, write_csv
from raremix.data.mix import ARMS, Draw, build
from raremix.runtime.errors import UserError
from stages.mix import Mix, mix
from stages.sections import ARMS as NAMED
from stages.sections import Study

TASK = ["heart", "fluid", "nodule", "air"]
ALL = [*TASK, "bone"]


def real_rows(hearts=40, fluids=24, shots=5, normals=200, seed=0):
    """Few-shot training rows: every second fluid and one nodule in five come with a large heart."""
    rows = [(1, 0, 0, 0)] * hearts + [(i % 2, 1, 0, 0) for i in range(fluids)]
    rows += [(int(i % 5 == 0), 0, 1, 0) for i in range(shots)] + [(0, int(i % 2), 0, 1) for i in range(shots)]
    rows += [(0, 0, 0, 0)] * normals
    frame = pd.DataFrame(rows, columns=TASK).sample(frac=1, random_state=seed, ignore_index=True)
    names = [f"i{i:03d}" for i in range(len(frame))]
    return pd.concat([pd.DataFrame({"image_id": names, "file": [f"{n}.png" for n in names]}), frame], axis=1)


def checkpoint(finding, pairs=60, parent="i000", shots=5, trial=0):
    rows = []
    for i in range(pairs):
        for kind in ("pos", "neg"):
            name = f"{finding}-{shots}-{trial}-{i:05d}-{kind}"
            marks = [int(f == finding and kind == "pos") for f in TASK] + [i % 2]
            rows.append([name, f"s/{name}.png", parent, "m", "p", i, "dpm", 5, 2.0, "5" * 64, *marks])
    return pd.DataFrame(rows, columns=[*SYNTHETIC, *ALL]).sort_values("image_id", ignore_index=True)


def draw(share=0.5, pairs=60, **real):
    return Draw(real_rows(**real), TASK, {f: checkpoint(f, pairs) for f in TASK}, share, 5, 0)


def counts(rows):
    return dict(zip(TASK, rows["weight"].to_numpy() @ rows[TASK].to_numpy(), strict=True))


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_the_contract_and_is_the_same_twice(arm):
    rows = build(arm, draw())
    assert list(rows.columns) == ["image_id", "file", "source", "weight", *TASK]
    assert set(rows["source"]) <= {"real", "synthetic"}
    assert (rows["weight"] > 0).all()
    assert rows["image_id"].is_unique
    pd.testing.assert_frame_equal(rows, build(arm, draw()))


def test_vanilla_is_the_training_rows():
    rows = build("vanilla", draw())
    pd.testing.assert_frame_equal(rows[["image_id", *TASK]], real_rows()[["image_id", *TASK]])
    assert set(rows["weight"]) == {1}


def test_oversample_reaches_even_counts_and_keeps_all_images():
    rows = build("oversample", draw())
    reached = counts(rows)
    assert list(reached.values()) == pytest.approx([real_rows()["heart"].sum()] * 4, rel=1e-5)
    assert len(rows) == len(real_rows())
    assert set(rows.loc[~rows[TASK].any(axis=1), "weight"]) == {1}
    nodules = rows[rows["nodule"] == 1]
    assert nodules.loc[nodules["heart"] == 1, "weight"].max() < nodules.loc[nodules["heart"] == 0, "weight"].min()
    assert nodules.loc[nodules["heart"] == 0, "weight"].nunique() == 1


def test_undersample_keeps_rare_images_and_the_prevalence_of_oversample():
    rows = build("undersample", draw())
    assert set(rows["weight"]) == {1}
    assert counts(rows)["nodule"] == counts(rows)["air"] == 5
    assert max(counts(rows).values()) <= 6
    assert set(real_rows().query("nodule == 1 or air == 1")["image_id"]) <= set(rows["image_id"])
    over = build("oversample", draw())
    assert counts(rows)["nodule"] / len(rows) == pytest.approx(counts(over)["nodule"] / over["weight"].sum(), rel=0.1)


MARKS = st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=5, max_size=60).map(
    lambda rows: np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), *rows])
)


@settings(max_examples=60, deadline=None)
@given(MARKS)
def test_oversampling_evens_any_set_in_which_each_finding_also_stands_alone(marks):
    weights = oversampled(marks)
    before = marks.sum(axis=0).min() / marks.sum(axis=0).max()
    after = (weights @ marks).min() / (weights @ marks).max()
    assert (weights > 0).all()
    assert after >= before - 1e-9
    assert after > 0.9


@settings(max_examples=60, deadline=None)
@given(MARKS, st.integers(0, 99))
def test_undersampling_never_cuts_below_the_rarest_and_leaves_nothing_to_drop(marks, seed):
    keep = undersampled(marks, np.random.default_rng(seed))
    least, kept = marks.sum(axis=0).min(), marks[keep].sum(axis=0)
    assert kept.min() == least
    for row in marks[keep][marks[keep].any(axis=1)]:
        assert (kept - row)[row == 1].min() < least


def test_needed_fills_up_to_the_most_frequent():
    assert needed(real_rows()[TASK]) == {"heart": 0, "fluid": 27, "nodule": 48, "air": 48}


def test_dreambooth_mix_makes_all_findings_as_frequent():
    rows = build("dreambooth_mix", draw())
    assert set(counts(rows).values()) == {53}
    synthetic = rows[rows["source"] == "synthetic"]
    assert synthetic["image_id"].str.endswith("-pos").all()
    assert len(synthetic) == 27 + 48 + 48


def test_dreambooth_mix_names_the_finding_that_lacks_images():
    with pytest.raises(UserError, match=r"nodule-5-0: 40 synthetic images of 'nodule', 48 needed"):
        build("dreambooth_mix", draw(pairs=40))


def test_prior_only_has_the_pairs_without_a_label():
    mixed, prior = build("dreambooth_mix", draw()), build("prior_only", draw())
    one, other = (rows.loc[rows["source"] == "synthetic"] for rows in (mixed, prior))
    assert list(other["image_id"]) == list(one["image_id"].str.replace("-pos", "-neg"))
    assert not other[TASK].any(axis=None)
    assert len(mixed) == len(prior)


def test_shuffled_permutes_the_labels_of_synthetic_images_only():
    mixed, shuffled = build("dreambooth_mix", draw()), build("shuffled", draw())
    assert list(mixed["image_id"]) == list(shuffled["image_id"])
    real = mixed["source"] == "real"
    pd.testing.assert_frame_equal(mixed[real], shuffled[real])
    assert sorted(mixed.loc[~real, TASK].itertuples(index=False)) == sorted(
        shuffled.loc[~real, TASK].itertuples(index=False)
    )
    same = (mixed.loc[~real, TASK] == shuffled.loc[~real, TASK]).all(axis=1).mean()
    assert 0.15 < same < 0.6


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_dreambooth_balanced_hides_being_synthetic(share):
    rows = build("dreambooth_balanced", draw(share))
    streams = dict(list(rows.groupby("source")))
    total = rows["weight"].sum()
    assert streams["synthetic"]["weight"].sum() / total == pytest.approx(share)
    prevalence = {s: np.average(part[TASK], axis=0, weights=part["weight"]) for s, part in streams.items()}
    assert prevalence["synthetic"] == pytest.approx(prevalence["real"], rel=1e-6)
    assert prevalence["real"] == pytest.approx([prevalence["real"][0]] * 4, rel=1e-4)
    assert total == pytest.approx(len(real_rows()))
    made = streams["synthetic"].assign(checkpoint=lambda r: r["image_id"].str.split("-").str[0])
    ratio = [g.loc[g[TASK].any(axis=1), "weight"].sum() / g["weight"].sum() for _, g in made.groupby("checkpoint")]
    assert ratio == pytest.approx([ratio[0]] * 4)


def test_stream_weights_solve_for_positives_with_two_findings():
    groups = [np.array([[1, 0], [1, 1]]), np.array([[0, 1]])]
    shares, rest = stream_weights(groups, np.array([0.2, 0.3]))
    assert shares == pytest.approx([0.2, 0.2])
    assert rest == pytest.approx(0.6)
    with pytest.raises(ValueError, match="rest"):
        stream_weights(groups, np.array([0.9, 0.9]))
    with pytest.raises(ValueError, match="shares"):
        stream_weights(groups, np.array([0.5, 0.1]))


def test_a_prevalence_beyond_reach_is_refused():
    with pytest.raises(UserError, match="no synthetic stream has the real prevalence"):
        build("dreambooth_balanced", draw(normals=0))


def test_a_finding_without_images_is_named():
    with pytest.raises(UserError, match="'nodule' has no training image at 5 shots"):
        build("vanilla", Draw(real_rows().query("nodule == 0"), TASK, {}, 0.5, 5, 0))


@pytest.fixture
def stage(tmp_path):
    real = real_rows()
    manifest = real.assign(patient_id=real["image_id"], visit=0, official_part="", reader_trio="", bone=0)
    write_csv(manifest[[*FIXED, *ALL]], tmp_path / "manifest.csv")
    write_checksums(dict.fromkeys(real["file"], "4" * 64), tmp_path / "images.sha256")
    minority = real[["nodule", "air"]]
    rank = minority.cumsum().where(minority == 1).max(axis=1).sub(1).astype("Int64")
    trial = pd.DataFrame({"image_id": real["image_id"], "part": "train", "shot_rank": rank})
    trial.loc[real.index[real["heart"] == 1][:3], "part"] = "validation"
    write_csv(trial, tmp_path / "splits" / "trial0.csv")
    normal = real.loc[~real[TASK].any(axis=1), "image_id"].iloc[0]
    for finding in TASK:
        folder = tmp_path / "synthetic" / f"{finding}-5-0"
        write_csv(checkpoint(finding, parent=normal), folder / "manifest.csv")
        write_lineage({"corpus": [normal]}, folder)

    def _stage(arms=tuple(ARMS), share=0.5, shots=(5,)):
        study = Study(TASK, ["nodule", "air"], list(arms), list(shots), [0])
        paths = (tmp_path / name for name in ("manifest.csv", "splits", "images.sha256", "synthetic", "mix", "metrics"))
        mix(study, Mix(share), *paths)
        return tmp_path

    _stage.root, _stage.trial = tmp_path, trial
    return _stage


def edit(file, image, **values):
    frame = pd.read_csv(file, dtype=str).set_index("image_id", drop=False)
    for column, value in values.items():
        frame.loc[image, column] = value
    frame.to_csv(file, index=False)


def test_stage_writes_all_arms_and_the_balance(stage, capsys):
    root = stage()
    names = [f"{arm}-5-0.{kind}" for arm in ARMS for kind in ("csv", "sha256")]
    assert sorted(path.name for path in (root / "mix").iterdir()) == sorted(names)
    balance = pd.read_csv(root / "metrics" / "balance.csv").set_index(["arm", "finding"])
    assert len(balance) == 4 * len(ARMS)
    assert balance.loc[("vanilla", "nodule"), "positives"] == 5
    assert balance.loc[("oversample", "nodule"), "positives"] == pytest.approx(
        balance.loc[("vanilla", "heart"), "positives"]
    )
    assert "dreambooth_balanced" in capsys.readouterr().out
    written = pd.read_csv(root / "mix" / "dreambooth_balanced-5-0.csv")
    digests = {"real": "4" * 64, "synthetic": "5" * 64}
    assert read_checksums(root / "mix" / "dreambooth_balanced-5-0.sha256") == dict(
        zip(written["file"], written["source"].map(digests), strict=True)
    )
    prevalence = [np.average(g[TASK], axis=0, weights=g["weight"]) for _, g in written.groupby("source")]
    assert prevalence[0] == pytest.approx(prevalence[1], rel=0.01)


def test_fewer_shots_train_on_fewer_images(stage):
    root = stage(arms=["vanilla"], shots=[2, 5])
    rows = [pd.read_csv(root / "mix" / f"vanilla-{n}-0.csv")[["nodule", "air"]].sum().tolist() for n in (2, 5)]
    assert rows == [[2, 2], [5, 5]]


def test_real_arms_need_no_synthetic_folder(stage):
    root = stage(arms=["vanilla", "oversample", "undersample"], shots=[4])
    assert len(list((root / "mix").glob("*.csv"))) == 3


@pytest.mark.parametrize("parent", ["validation", "unknown", "later_shot"])
def test_a_parent_outside_the_training_images_fails_the_run(stage, parent):
    trial = stage.trial
    names = {
        "validation": trial.loc[trial["part"] == "validation", "image_id"].iloc[0],
        "later_shot": trial.loc[trial["shot_rank"] == 4, "image_id"].iloc[0],
        "unknown": "stranger",
    }
    shots = 4 if parent == "later_shot" else 5
    for finding in TASK:
        (stage.root / "synthetic" / f"{finding}-5-0").rename(stage.root / "synthetic" / f"{finding}-{shots}-0")
    file = stage.root / "synthetic" / f"air-{shots}-0" / "manifest.csv"
    normal = pd.read_csv(file)["parents"].iloc[0]
    edit(file, "air-5-0-00003-neg", parents=f"{normal}|{names[parent]}")
    with pytest.raises(
        UserError, match=rf"air-{shots}-0/manifest.csv: 'air-5-0-00003-neg' descends from '{names[parent]}'"
    ):
        stage(shots=[shots])


def test_a_model_that_learned_from_another_image_fails_the_run(stage):
    write_lineage({"instance": ["stranger"]}, stage.root / "synthetic" / "air-5-0")
    with pytest.raises(UserError, match=r"air-5-0/lineage.csv: the model descends from 'stranger'"):
        stage()


@pytest.mark.parametrize(
    ("image", "values", "message"),
    [
        ("air-5-0-00001-pos", {"air": "0"}, "a positive without 'air'"),
        ("air-5-0-00001-neg", {"heart": "1"}, "a negative with one of the task's findings"),
        ("air-5-0-00001-neg", {"image_id": "air-5-0-99999-neg"}, "'air-5-0-00001-pos' is without its negative"),
        ("air-5-0-00001-pos", {"image_id": "other"}, "'other' is neither"),
    ],
)
def test_synthetic_images_are_what_their_names_say(stage, image, values, message):
    edit(stage.root / "synthetic" / "air-5-0" / "manifest.csv", image, **values)
    with pytest.raises(UserError, match=message):
        stage()


def test_strange_and_missing_folders_are_named(stage):
    (stage.root / "synthetic" / "air-7-0").mkdir()
    with pytest.raises(UserError, match=r"air-7-0: not of this study .*remove it"):
        stage()
    (stage.root / "synthetic" / "air-7-0").rename(stage.root / "gone")
    (stage.root / "synthetic" / "air-5-0").rename(stage.root / "gone" / "air")
    with pytest.raises(UserError, match=r"air-5-0: missing; run `dvc repro synthesize`"):
        stage()


def test_the_study_may_name_every_arm_there_is():
    assert tuple(ARMS) == NAMED


def test_an_unknown_arm_is_named(stage):
    with pytest.raises(UserError, match=r"study.arms: unknown arm 'oversampel'; choose among vanilla"):
        stage(arms=["oversampel"])
