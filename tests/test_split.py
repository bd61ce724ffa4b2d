import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.data.manifest import FIXED, write_csv
from raremix.data.split import corpus, count, draw_trial, partition
from raremix.data.trial import read_trial, trains
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from raremix.runtime.seeds import seed_for
from stages.sections import Study
from stages.split import Split, split

TASK = ["heart", "fluid", "nodule", "air"]
RATES = [0.3, 0.2, 0.12, 0.08]


def make(patients=300, seed=0, official=False, rates=RATES):
    """A manifest of ``patients`` with one to three images; ``bone`` is a finding beside the task."""
    rng = np.random.default_rng(seed)
    rows = []
    for p in range(patients):
        part = ("test" if p % 4 == 0 else "train") if official else ""
        trio = "R10|R8|R9" if rng.random() < 0.4 else "R1|R2|R3"
        for visit in range(rng.integers(1, 4)):
            marks = (rng.random(len(rates) + 1) < [*rates, 0.1]).astype(int)
            rows.append([f"i{p:04d}v{visit}", "x.png", f"p{p}", visit, part, trio, *marks])
    return pd.DataFrame(rows, columns=[*FIXED, *TASK, "bone"])


def divide(manifest, seed=0, validation=0.25, test=0.2):
    return partition(manifest, [*TASK, "bone"], seed, validation, test)


@settings(max_examples=25, deadline=None)
@given(patients=st.integers(12, 120), seed=st.integers(0, 9), official=st.booleans(), share=st.floats(0.15, 0.6))
def test_no_patient_straddles_and_every_part_has_someone(patients, seed, official, share):
    manifest = make(patients, seed, official)
    parts = divide(manifest, seed, validation=share)
    assert (parts.groupby(manifest["patient_id"]).nunique() == 1).all()
    assert set(parts) == {"train", "validation", "test"}
    if official:
        assert ((parts == "test") == (manifest["official_part"] == "test")).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), trial=st.integers(0, 3), most=st.integers(2, 8))
def test_shots_are_nested_and_the_rest_is_held_back(seed, trial, most):
    manifest = make(seed=seed)
    parts = divide(manifest)
    drawn = draw_trial(manifest, parts, ["nodule", "air"], most, seed, trial)
    fewer = draw_trial(manifest, parts, ["nodule", "air"], 1, seed, trial)
    assert set(fewer.index[fewer["shot_rank"].notna()]) == set(drawn.index[(drawn["shot_rank"] < 1).fillna(False)])
    carries = manifest[["nodule", "air"]].sum(axis=1)
    for shots in range(1, most + 1):
        on = trains(drawn, shots)
        assert manifest.loc[on, "nodule"].sum() == shots
        assert manifest.loc[on, "air"].sum() == shots
        assert (carries[on] <= 1).all()
    assert set(drawn.index[drawn["part"] == "held_back"]) == set(
        manifest.index[(parts == "train") & (carries > 0) & drawn["shot_rank"].isna()]
    )
    assert trains(drawn, most)[(parts == "train") & (carries == 0)].all()
    assert (drawn["part"] == parts)[parts != "train"].all()


def test_stratified_rare_findings_and_trio_keep_their_share():
    manifest = make(800, rates=[0.3, 0.2, 0.02, 0.01])
    parts = divide(manifest, test=0.2, validation=0.25)
    marks = manifest[TASK].assign(trio=manifest["reader_trio"] == "R10|R8|R9").groupby(manifest["patient_id"]).max()
    of = parts.groupby(manifest["patient_id"]).first()
    for column in marks:
        carriers = marks.index[marks[column] == 1]
        for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
            assert (of[carriers] == part).sum() == pytest.approx(share * len(carriers), abs=2)


def test_the_split_depends_on_its_seed_only():
    manifest = make()
    np.random.seed(1)
    first = divide(manifest)
    np.random.seed(2)
    assert divide(manifest).equals(first)
    assert not divide(manifest, seed=1).equals(first)


def test_trials_differ():
    manifest = make()
    parts = divide(manifest)
    first, again, second = (draw_trial(manifest, parts, ["nodule"], 5, 0, k) for k in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(second)


def test_a_patient_on_both_official_sides_is_named():
    manifest = make(40, official=True)
    manifest.loc[manifest.index[-1], ["patient_id"]] = "p0"
    with pytest.raises(UserError, match=r"patient 'p0' is on both sides .*'i0039v\d', test 'i0000v0'"):
        divide(manifest)


def test_an_official_reserve_is_for_nothing_else():
    manifest = make(80, official=True)
    manifest.loc[manifest["patient_id"].isin(["p1", "p2"]), "official_part"] = "reserve"
    parts = divide(manifest)
    assert ((parts == "reserve") == (manifest["official_part"] == "reserve")).all()
    manifest.loc[manifest["official_part"] == "test", "official_part"] = "train"
    assert (divide(manifest)[manifest["official_part"] == "reserve"] == "reserve").all(), "a drawn test leaves it alone"


def test_half_an_official_split_is_refused():
    manifest = make(40, official=True)
    manifest.loc[3, "official_part"] = ""
    with pytest.raises(UserError, match=rf"image '{manifest['image_id'][3]}' has no official part"):
        divide(manifest)


def test_an_official_train_part_without_test_gets_a_drawn_one():
    manifest = make(60).assign(official_part="train")
    assert set(divide(manifest)) == {"train", "validation", "test"}


def test_a_share_that_leaves_no_one_is_refused():
    with pytest.raises(UserError, match=r"split.validation: 0.001 of \d+ patients"):
        divide(make(40), validation=0.001)


def test_corpus_is_free_of_the_task_by_any_reader_at_any_visit():
    manifest = make(200)
    parts = divide(manifest)
    votes = manifest[["image_id", *TASK, "bone"]].copy()
    free = corpus(manifest, votes, parts, TASK)["image_id"]
    patient = manifest.set_index("image_id")["patient_id"]
    doubted = patient[free.iloc[0]]
    votes.loc[manifest.index[manifest["patient_id"] == doubted][-1], "nodule"] = 1
    after = corpus(manifest, votes, parts, TASK)["image_id"]
    assert set(free) - set(after) == set(manifest.loc[manifest["patient_id"] == doubted, "image_id"])
    carriers = set(manifest.loc[manifest[TASK].any(axis=1), "patient_id"])
    assert not set(patient[free]) & carriers
    assert set(parts[manifest["image_id"].isin(free)]) == {"train"}
    assert manifest.set_index("image_id").loc[free, "bone"].any()


def test_counts_add_up():
    manifest = make()
    drawn = draw_trial(manifest, divide(manifest), ["nodule", "air"], 3, 0, 2)
    counts = count(manifest, drawn, TASK, 2)
    assert list(counts.columns) == ["trial", "part", "finding", "images"]
    assert counts.loc[counts["finding"] == "all", "images"].sum() == len(manifest)
    assert counts.set_index(["part", "finding"]).loc[("train", "nodule"), "images"] == 3


def drawn(manifest, folder, twins):
    """``manifest`` with a picture of noise for each image, the same for the two ``twins``; their checksums."""
    folder.mkdir(exist_ok=True)
    checksums = {}
    for image_id in manifest["image_id"]:
        number = seed_for(twins[0] if image_id in twins else image_id)
        file = folder / f"{image_id}.png"
        images.save(np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8), file)
        checksums[str(file)] = sha256(file)
    return manifest.assign(file=list(checksums)), checksums


@pytest.fixture
def stage(tmp_path):
    def _stage(manifest=None, study=None, twins=(), **changes):
        manifest, checksums = drawn(make() if manifest is None else manifest, tmp_path / "images", twins)
        write_checksums(checksums, tmp_path / "images.sha256")
        write_csv(manifest, tmp_path / "manifest.csv")
        write_csv(manifest.drop(columns=FIXED[1:]), tmp_path / "votes.csv")
        usual = {
            "findings": TASK,
            "minority": TASK[2:],
            "synthesized": TASK,
            "arms": ["vanilla"],
            "shots": [2, 4],
            "trials": [0, 1],
        }
        section = Split(
            **(
                {
                    "seed": 0,
                    "validation": 0.25,
                    "test": 0.2,
                    "min_validation": 3,
                    "company": 1.0,
                    "duplicates": "refuse",
                }
                | changes
            )
        )
        names = ("manifest.csv", "votes.csv", "images.sha256", "splits", "duplicates.csv", "metrics")
        paths = (tmp_path / name for name in names)
        split(Study(**usual | (study or {})), section, *paths)
        return tmp_path / "splits"

    return _stage


def test_stage_writes_trials_corpus_and_what_is_planned(stage):
    out = stage()
    plans = [f"plan-{shots}-{k}.csv" for shots in (2, 4) for k in (0, 1)]
    assert sorted(path.name for path in out.iterdir()) == ["corpus.csv", *plans, "trial0.csv", "trial1.csv"]
    trial = read_trial(out / "trial1.csv")
    real = make().loc[trains(trial, 2), TASK].sum()
    plan = pd.read_csv(out / "plan-2-1.csv", keep_default_na=False)
    assert list(plan.columns) == ["finding", "label_set", "share", "images"]
    images = plan.groupby("finding")["images"].sum()
    assert images.to_dict() == (real.max() - real).to_dict()
    assert images["nodule"] == real.max() - 2
    free = make().set_index("image_id").loc[pd.read_csv(out / "corpus.csv")["image_id"]]
    assert set(plan["label_set"]) == {"bone" if marked else "" for marked in free["bone"]}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    stage()
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


def test_stage_stops_at_an_image_that_is_in_two_parts(stage):
    parts = read_trial(stage() / "trial0.csv").groupby("part")["image_id"].first()
    with pytest.raises(UserError, match=rf"'{parts['test']}' of test and '{parts['train']}' of train are nearly the"):
        stage(twins=(parts["test"], parts["train"]))
    listed = stage().parent / "duplicates.csv"
    assert listed.read_text() == "part,image_id,other_part,other_image_id,distance\n"


def test_of_an_image_in_two_parts_the_tested_one_is_kept_where_that_is_asked(stage):
    parts = read_trial(stage() / "trial0.csv").groupby("part")["image_id"].first()
    out = stage(twins=(parts["test"], parts["train"]), duplicates="leave_out")
    listed = pd.read_csv(out.parent / "duplicates.csv")
    assert listed[["image_id", "other_image_id"]].to_numpy().tolist() == [[parts["test"], parts["train"]]]
    for number in (0, 1):
        trial = read_trial(out / f"trial{number}.csv").set_index("image_id")
        assert trial["part"][parts["test"]] == "test"
        assert trial["part"][parts["train"]] == "left_out"
        assert (trial["part"] == "left_out").sum() == 1
    assert parts["train"] not in set(pd.read_csv(out / "corpus.csv")["image_id"])
    counts = pd.read_csv(out.parent / "metrics" / "counts.csv").query("finding == 'all'").groupby("part")["images"]
    assert counts.first()["left_out"] == 1


def test_stage_tells_what_the_plan_leaves(stage):
    out = stage()
    table = pd.read_csv(out.parent / "metrics" / "imbalance.csv").set_index(["shots", "trial", "finding"])
    assert list(table.columns) == ["target", "real", "planned", "left"]
    assert table.index.get_level_values("finding").tolist() == [*TASK, "bone"] * 4
    real = make().loc[trains(read_trial(out / "trial0.csv"), 4), [*TASK, "bone"]].sum()
    assert table.loc[(4, 0), "real"].to_dict() == real.to_dict()
    assert set(table.loc[(4, 0), "target"].loc[TASK]) == {real[TASK].max()}
    assert not table.loc[(4, 0), "left"].loc[TASK].any()
    assert (table["target"] - table["real"] - table["planned"] == table["left"]).all()


@pytest.mark.parametrize(
    ("study", "changes", "message"),
    [
        (
            {"findings": ["heart", "nodul"], "minority": ["heart"], "synthesized": ["heart"]},
            {},
            r"study.findings: unknown finding 'nodul'",
        ),
        ({"minority": ["bone"]}, {}, r"study.minority: unknown finding 'bone'"),
        ({"synthesized": ["bone"]}, {}, r"study.synthesized: unknown finding 'bone'"),
        (
            {"synthesized": TASK[:2]},
            {},
            r"study.synthesized: at 2 shots of trial 0 'nodule' lacks \d+ images .* add it",
        ),
        ({"shots": [2, 500]}, {}, r"study.shots: 500 images of 'nodule' asked, but \d+ train images"),
        ({}, {"min_validation": 400}, r"'heart' has fewer than split.min_validation = 400 .*train \d+, validation \d+"),
    ],
)
def test_stage_refuses_what_can_not_be(stage, study, changes, message):
    with pytest.raises(UserError, match=message):
        stage(study=study, **changes)


def test_a_finding_without_test_image_is_refused(stage):
    manifest = make(official=True)
    manifest.loc[manifest["official_part"] == "test", "air"] = 0
    with pytest.raises(UserError, match=r"'air' has no test image"):
        stage(manifest)
