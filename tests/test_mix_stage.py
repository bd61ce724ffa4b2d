"""The mix stage: every arm's table and balance, and the lineage of each synthetic image held against the split."""

import shutil

import numpy as np
import pandas as pd
import pytest
from mixed import ALL, TASK, checkpoint, real_rows

from raremix.data.checksums import read_checksums, write_checksums
from raremix.data.lineage import write_lineage
from raremix.data.manifest import FIXED, write_csv
from raremix.data.mix import ARMS
from raremix.runtime.errors import UserError
from stages.mix import Mix, Sift, mix
from stages.sections import ARMS as NAMED
from stages.sections import Study


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
    fluids = real.index[(real["fluid"] == 1) & (real["heart"] == 0) & rank.isna()]
    trial.loc[fluids[:2], "part"] = "held_back"
    trial.loc[fluids[2:4], "part"] = "reserve"
    write_csv(trial, tmp_path / "splits" / "trial0.csv")
    normal = real.loc[~real[TASK].any(axis=1), "image_id"].iloc[0]
    for finding in TASK:
        folder = tmp_path / "synthetic" / "5-0" / finding
        write_csv(checkpoint(finding, parent=normal), folder / "manifest.csv")
        write_lineage({"corpus": [normal]}, folder)
    for shots in (4, 5):
        copied(tmp_path, [], shots)
        gained(tmp_path, [], shots)

    carriers = real.loc[(trial["part"] == "train") & real[TASK].any(axis=1), ["image_id"]]
    rebuilt = carriers.assign(file="r/" + carriers["image_id"] + ".png", sha256="6" * 64)
    write_csv(rebuilt, tmp_path / "roundtrip" / "manifest.csv")

    def _stage(arms=tuple(ARMS), share=0.5, shots=(5,), denied="minority", kept=1.0, synthesized=TASK):
        study = Study(TASK, ["nodule", "air"], list(synthesized), list(arms), list(shots), [0])
        names = ["manifest.csv", "splits", "images.sha256", "synthetic", "screened", "sifted", "roundtrip", "mix"]
        mix(study, Mix(share, 0.25, denied), Sift(1, kept), *(tmp_path / name for name in (*names, "metrics")))
        return tmp_path

    _stage.root, _stage.trial = tmp_path, trial
    return _stage


def copied(root, names, shots=5):
    """What the screen stage says if these images are copies."""
    table = pd.DataFrame({"image_id": names, "nearest": "i000", "feature_distance": 0.1, "pixel_distance": 0.1})
    write_csv(table, root / "screened" / f"copies-{shots}-0.csv")


def gained(root, gone, shots=5):
    """What the sift stage says: the later an image, the more it gains; those that are ``gone`` were copies."""
    ids = [f"{finding}-{shots}-0-{index:05d}-pos" for finding in TASK for index in range(60)]
    table = pd.DataFrame({"image_id": ids, "gain": range(len(ids))})
    write_csv(table[~table["image_id"].isin(gone)], root / "sifted" / f"{shots}-0.csv")


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
    alike = (balance["late_prevalence"] == balance["prevalence"]).groupby("arm").all()
    assert list(alike.index[~alike]) == ["crt"], "the synthetic stream has the prevalence of what follows it"
    assert "dreambooth_balanced" in capsys.readouterr().out
    written = pd.read_csv(root / "mix" / "dreambooth_balanced-5-0.csv")
    digests = {"real": "4" * 64, "synthetic": "5" * 64}
    assert read_checksums(root / "mix" / "dreambooth_balanced-5-0.sha256") == dict(
        zip(written["file"], written["source"].map(digests), strict=True)
    )
    prevalence = [np.average(g[TASK], axis=0, weights=g["weight"]) for _, g in written.groupby("source")]
    assert prevalence[0] == pytest.approx(prevalence[1], rel=0.01)


def test_the_most_frequent_finding_needs_no_synthetic_images(stage):
    arms = ["vanilla", "dreambooth_mix", "ratio_2", "prior_only", "shuffled"]
    root = stage(arms)
    before = {path.name: path.read_bytes() for path in (root / "mix").iterdir()}
    shutil.rmtree(root / "synthetic" / "5-0" / "heart")
    gained(root, [f"heart-5-0-{index:05d}-pos" for index in range(60)])
    stage(arms, synthesized=TASK[1:])
    assert before == {path.name: path.read_bytes() for path in (root / "mix").iterdir()}


@pytest.mark.parametrize(("denied", "blank"), [("minority", {"heart", "fluid"}), ("all", set())])
def test_labels_that_are_unknown_are_left_blank(stage, denied, blank):
    root = stage(arms=["dreambooth_mix"], denied=denied)
    written = pd.read_csv(root / "mix" / "dreambooth_mix-5-0.csv")
    air = written[written["image_id"].str.startswith("air-")]
    assert {finding for finding in TASK if air[finding].isna().all()} == blank
    assert set(air["air"]) == {1}
    assert set(air["nodule"]) == {0}
    positives = pd.read_csv(root / "metrics" / "balance.csv").set_index("finding")["positives"]
    assert positives["nodule"] == positives["air"] == positives.min()
    assert positives.max() < 1.2 * positives.min(), "an unknown label is no positive one; what comes along weighs more"


def test_the_ceiling_alone_has_images_that_are_held_back_or_in_reserve(stage):
    root = stage()
    unseen = set(stage.trial.loc[stage.trial["part"].isin(["held_back", "reserve"]), "image_id"])
    mixes = {arm: set(pd.read_csv(root / "mix" / f"{arm}-5-0.csv")["image_id"]) for arm in ARMS}
    assert [arm for arm, images in mixes.items() if images & unseen] == ["real_ceiling"]
    assert unseen <= mixes["real_ceiling"], "fluids lack more than there are"


def test_roundtrips_are_listed_with_their_own_checksums(stage):
    root = stage()
    written = pd.read_csv(root / "mix" / "roundtrip-5-0.csv")
    digests = read_checksums(root / "mix" / "roundtrip-5-0.sha256")
    assert {digests[file] for file in written.loc[written["source"] == "roundtrip", "file"]} == {"6" * 64}


def test_fewer_shots_train_on_fewer_images(stage):
    root = stage(arms=["vanilla"], shots=[2, 5])
    rows = [pd.read_csv(root / "mix" / f"vanilla-{n}-0.csv")[["nodule", "air"]].sum().tolist() for n in (2, 5)]
    assert rows == [[2, 2], [5, 5]]


def test_real_arms_need_no_synthetic_folder(stage):
    root = stage(arms=["vanilla", "oversample", "undersample"], shots=[4])
    assert len(list((root / "mix").glob("*.csv"))) == 3


def test_a_copy_and_its_pair_are_in_no_arm_s_training_set(stage):
    def used(root):
        return {arm: set(pd.read_csv(root / "mix" / f"{arm}-5-0.csv")["image_id"]) for arm in ARMS}

    gone = {f"{pair}-{kind}" for pair in ("air-5-0-00001", "nodule-5-0-00002") for kind in ("pos", "neg")}
    before = used(stage())
    assert gone <= before["dreambooth_balanced"]
    copied(stage.root, ["air-5-0-00001-pos", "nodule-5-0-00002-neg"])
    gained(stage.root, gone)
    after = used(stage())
    assert not any(gone & names for names in after.values())
    assert after["dreambooth_balanced"] == before["dreambooth_balanced"] - gone
    assert len(after["dreambooth_mix"]) == len(before["dreambooth_mix"]), "there are more than it needs"
    assert after["vanilla"] == before["vanilla"]


def test_what_gains_most_is_kept_and_weighs_for_all(stage):
    def synthetic(root):
        rows = pd.read_csv(root / "mix" / "dreambooth_mix-5-0.csv")
        air = rows[rows["image_id"].str.startswith("air-")]
        return air["image_id"].str.slice(8, 13).astype(int).tolist(), air["weight"].sum()

    (every, weight), (best, weight_of_best) = (synthetic(stage(kept=kept)) for kept in (1.0, 0.25))
    assert every == list(range(len(every)))
    assert best == list(range(45, 60))
    assert weight_of_best == pytest.approx(weight)
    balanced = set(pd.read_csv(stage.root / "mix" / "dreambooth_balanced-5-0.csv")["image_id"])
    assert {f"air-5-0-{index:05d}-{kind}" for index in range(45, 60) for kind in ("pos", "neg")} <= balanced
    assert "air-5-0-00044-pos" not in balanced


def test_gains_of_other_images_or_none_are_named(stage):
    gained(stage.root, ["air-5-0-00007-pos"])
    with pytest.raises(UserError, match=r"sifted/5-0\.csv: 'air-5-0-00007-pos' is only there or .*repro sift"):
        stage()
    (stage.root / "sifted" / "5-0.csv").unlink()
    with pytest.raises(UserError, match=r"5-0\.csv: missing; run `dvc repro sift`"):
        stage()


def test_a_list_of_copies_that_is_of_another_run_or_missing_is_named(stage):
    copied(stage.root, ["air-5-0-99999-pos"])
    with pytest.raises(UserError, match=r"copies-5-0\.csv: 'air-5-0-99999-pos' is no synthetic image .*repro screen"):
        stage()
    (stage.root / "screened" / "copies-5-0.csv").unlink()
    with pytest.raises(UserError, match=r"copies-5-0\.csv: missing; run `dvc repro screen`"):
        stage()


@pytest.mark.parametrize("parent", ["validation", "unknown", "later_shot"])
def test_a_parent_outside_the_training_images_fails_the_run(stage, parent):
    trial = stage.trial
    names = {
        "validation": trial.loc[trial["part"] == "validation", "image_id"].iloc[0],
        "later_shot": trial.loc[trial["shot_rank"] == 4, "image_id"].iloc[0],
        "unknown": "stranger",
    }
    shots = 4 if parent == "later_shot" else 5
    (stage.root / "synthetic" / "5-0").rename(stage.root / "synthetic" / f"{shots}-0")
    file = stage.root / "synthetic" / f"{shots}-0" / "air" / "manifest.csv"
    normal = pd.read_csv(file)["parents"].iloc[0]
    edit(file, "air-5-0-00003-neg", parents=f"{normal}|{names[parent]}")
    with pytest.raises(
        UserError, match=rf"{shots}-0/air/manifest.csv: 'air-5-0-00003-neg' descends from '{names[parent]}'"
    ):
        stage(shots=[shots])


def test_a_model_that_learned_from_another_image_fails_the_run(stage):
    write_lineage({"instance": ["stranger"]}, stage.root / "synthetic" / "5-0" / "air")
    with pytest.raises(UserError, match=r"5-0/air/lineage.csv: the model descends from 'stranger'"):
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
    edit(stage.root / "synthetic" / "5-0" / "air" / "manifest.csv", image, **values)
    with pytest.raises(UserError, match=message):
        stage()


def test_strange_and_missing_folders_are_named(stage):
    for strange in ("7-0", "5-0/stones"):
        (stage.root / "synthetic" / strange).mkdir()
        with pytest.raises(UserError, match=rf"synthetic/{strange}: not of this study .*remove it"):
            stage()
        (stage.root / "synthetic" / strange).rmdir()
    (stage.root / "synthetic" / "5-0" / "air").rename(stage.root / "gone")
    with pytest.raises(UserError, match=r"synthetic/5-0/air: missing; run `dvc repro synthesize`"):
        stage()


def test_the_study_may_name_every_arm_there_is():
    assert tuple(ARMS) == NAMED


def test_an_unknown_arm_is_named(stage):
    with pytest.raises(UserError, match=r"study.arms: unknown arm 'oversampel'; choose among vanilla"):
        stage(arms=["oversampel"])
