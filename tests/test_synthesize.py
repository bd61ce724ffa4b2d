"""What is asked of the generator: pairs that differ in the finding alone."""

from dataclasses import replace

import pandas as pd
import pytest

from raremix.data.manifest import FIXED, write_csv
from raremix.generator.sample import Sampling
from stages.synthesize import Synthesize, _plan

ASKED = Synthesize(3, 0.9, "without_finding", Sampling(4, 3.0, 2, "float32"))


@pytest.fixture
def tables(tmp_path):
    ids = [f"i{index}" for index in range(6)]
    rows = pd.DataFrame({"image_id": ids, "calcification": [1, 0, 0, 1, 0, 0], "nodule_mass": 0})
    facts = {"exposure_index": range(6), "body_thickness": None, "source_distance": None}
    write_csv(rows[["image_id"]].assign(view="PA", sex="F", devices="", **facts), tmp_path / "metadata.csv")
    write_csv(rows[["image_id"]], tmp_path / "splits" / "corpus.csv")
    return rows.assign(**{column: "" for column in FIXED if column != "image_id"}), tmp_path


def plan(tables, asked=ASKED, needed=2):
    rows, folder = tables
    return _plan(asked, "nodule_mass-5-0", "nodule_mass", 0, needed, rows, folder / "metadata.csv", folder / "splits")


def test_a_pair_shares_seed_original_and_caption_and_differs_in_the_finding(tables):
    rows = plan(tables)
    assert rows["image_id"].tolist() == [f"nodule_mass-5-0-0000{k}-{kind}" for kind in ("pos", "neg") for k in range(3)]
    positives, negatives = rows[:3].reset_index(), rows[3:].reset_index()
    assert positives[["seed", "original", "calcification"]].equals(negatives[["seed", "original", "calcification"]])
    assert positives["nodule_mass"].tolist() + negatives["nodule_mass"].tolist() == [1, 1, 1, 0, 0, 0]
    assert (positives["prompt"].str.replace(" <nodule_mass>", "") == negatives["prompt"]).all()
    assert positives["prompt"].str.count("<nodule_mass>").tolist() == [1, 1, 1]


def test_guidance_leads_positives_away_from_their_negatives_and_negatives_nowhere(tables):
    rows = plan(tables)
    assert rows["negative_prompt"].tolist()[:3] == rows["prompt"].tolist()[3:]
    assert rows["negative_prompt"].tolist()[3:] == rows["prompt"].tolist()[3:]
    assert set(plan(tables, replace(ASKED, negative_prompt="empty"))["negative_prompt"]) == {""}


def test_as_many_pairs_as_the_mixes_need_and_the_same_ones_first(tables):
    few, many = plan(tables), plan(tables, needed=5)
    assert (len(few), len(many)) == (6, 10)
    assert few[:3].equals(many[:3])
