"""What is asked of the generator: pairs that differ in the finding alone, with the label sets of the plan."""

from dataclasses import replace

import pandas as pd
import pytest

from raremix.data.manifest import FIXED, write_csv
from raremix.generator.sample import Sampling
from stages.synthesize import Synthesize, _plan

ASKED = Synthesize(3, 0.0, 0.9, "without_finding", None, Sampling(4, 3.0, 2, "float32"))


@pytest.fixture
def tables(tmp_path):
    ids = [f"i{index}" for index in range(6)]
    rows = pd.DataFrame({"image_id": ids, "calcification": [1, 0, 0, 1, 0, 0], "ild": [1, 0, 0, 0, 0, 0]})
    facts = {"exposure_index": range(6), "body_thickness": None, "source_distance": None}
    write_csv(rows[["image_id"]].assign(view="PA", sex="F", devices="", **facts), tmp_path / "metadata.csv")
    write_csv(rows[["image_id"]], tmp_path / "splits" / "corpus.csv")
    return rows.assign(nodule_mass=0, **{column: "" for column in FIXED if column != "image_id"}), tmp_path


def sets(**images):
    """The plan of one checkpoint: how many images of which label set, ``none`` for the one without a finding."""
    names = [name.replace("none", "").replace("_and_", "|") for name in images]
    share = [count / sum(images.values()) for count in images.values()]
    return pd.DataFrame({"label_set": names, "share": share, "images": images.values()})


def plan(tables, asked=ASKED, planned=None):
    rows, folder = tables
    planned = sets(none=1, calcification=1) if planned is None else planned
    return _plan(asked, "nodule_mass-5-0", "nodule_mass", 0, planned, rows, folder / "metadata.csv", folder / "splits")


def test_a_pair_shares_seed_original_and_caption_and_differs_in_the_finding(tables):
    rows = plan(tables)
    assert rows["image_id"].tolist() == [f"nodule_mass-5-0-0000{k}-{kind}" for kind in ("pos", "neg") for k in range(3)]
    positives, negatives = rows[:3].reset_index(), rows[3:].reset_index()
    same = ["seed", "original", "calcification", "ild"]
    assert positives[same].equals(negatives[same])
    assert positives["nodule_mass"].tolist() + negatives["nodule_mass"].tolist() == [1, 1, 1, 0, 0, 0]
    assert (positives["prompt"].str.replace(" <nodule_mass>", "") == negatives["prompt"]).all()
    assert positives["prompt"].str.count("<nodule_mass>").tolist() == [1, 1, 1]


def test_guidance_leads_positives_away_from_their_negatives_and_negatives_nowhere(tables):
    rows = plan(tables)
    assert rows["negative_prompt"].tolist()[:3] == rows["prompt"].tolist()[3:]
    assert rows["negative_prompt"].tolist()[3:] == rows["prompt"].tolist()[3:]
    assert set(plan(tables, replace(ASKED, negative_prompt="empty"))["negative_prompt"]) == {""}


def test_as_many_pairs_as_the_mixes_need_or_the_least_and_the_same_ones_first(tables):
    needed = plan(tables, planned=sets(none=5, calcification=5))
    assert len(needed) == 20
    few, many = (plan(tables, replace(ASKED, least=least), sets(none=5, calcification=5)) for least in (30, 90))
    assert (len(few), len(many)) == (60, 180)
    assert needed[:10].equals(few[:10])
    assert few[:30].equals(many[:30])


def test_the_planned_label_sets_are_in_labels_prompts_and_originals(tables):
    rows = plan(tables, planned=sets(none=2, calcification=4, calcification_and_ild=3))
    for kind in rows[:9], rows[9:]:
        carried = kind[["calcification", "ild"]]
        assert carried.value_counts().to_dict() == {(1, 0): 4, (1, 1): 3, (0, 0): 2}
        for finding in carried:
            assert (kind["prompt"].str.contains(f"<{finding}>") == (carried[finding] == 1)).all()
        assert set(kind.loc[carried["ild"] == 1, "original"]) == {"i0"}
        assert set(kind.loc[carried.sum(axis=1) == 1, "original"]) == {"i3"}
        assert set(kind.loc[carried.sum(axis=1) == 0, "original"]) <= {"i1", "i2", "i4", "i5"}


def test_a_finding_that_lacks_nothing_has_its_company_all_the_same(tables):
    planned = sets(none=1, calcification=3).assign(images=0)
    rows = plan(tables, replace(ASKED, least=40), planned)
    assert len(rows) == 80
    assert rows.loc[rows["nodule_mass"] == 1, "calcification"].sum() == pytest.approx(30, abs=2)


@pytest.mark.parametrize(("spare", "pairs"), [(0.0, 20), (0.04, 21), (0.1, 22), (1.5, 50)])
def test_spare_pairs_come_after_those_that_the_mixes_need(tables, spare, pairs):
    planned = sets(none=10, calcification=10)
    rows = plan(tables, replace(ASKED, spare=spare), planned)
    assert len(rows) == 2 * pairs
    assert rows[:20].equals(plan(tables, planned=planned)[:20])


def test_spare_pairs_come_also_where_the_mixes_need_few(tables):
    assert len(plan(tables, replace(ASKED, spare=0.5))) == 2 * 5, "of the three that are the least"
