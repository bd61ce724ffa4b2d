"""Which images an arm trains on, and what they tell."""

from dataclasses import replace

import pandas as pd
import pytest
from mixed import TASK, draw, other_patients, real_rows

from raremix.data.mix import ARMS, RATIOS, SYNTHETIC_ARMS, build
from raremix.runtime.errors import UserError
from stages.sections import STREAMS


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_the_contract_and_is_the_same_twice(arm):
    rows = build(arm, draw())
    assert list(rows.columns) == ["image_id", "file", "source", "weight", "late", *TASK]
    assert set(rows["source"]) <= {"real", "synthetic", "reserve", "roundtrip"}
    assert (rows[["weight", "late"]] >= 0).all(axis=None)
    assert (rows["weight"] + rows["late"] > 0).all()
    assert rows["image_id"].is_unique
    pd.testing.assert_frame_equal(rows, build(arm, draw()))


def test_vanilla_is_the_training_rows():
    rows = build("vanilla", draw())
    pd.testing.assert_frame_equal(rows[["image_id", *TASK]], real_rows()[["image_id", *TASK]])
    assert set(rows["weight"]) == {1}


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_ratio_limits_the_synthetic_images_of_each_finding(ratio):
    rows, real = build(f"ratio_{ratio}", draw()), real_rows()[TASK].sum()
    made = rows.loc[rows["source"] == "synthetic", TASK].sum()
    lacking = {"heart": 0, "fluid": 27, "nodule": 48, "air": 48}
    assert made.to_dict() == {finding: min(lacking[finding], ratio * real[finding]) for finding in TASK}


@pytest.mark.parametrize("arm", ["dreambooth_mix", "dreambooth_balanced", "prior_only"])
def test_a_finding_without_an_image_left_is_named(arm):
    with pytest.raises(
        UserError, match=r"synthetic/5-0/\w+: no image of '\w+' is left, all are copies; .*memorisation\.csv"
    ):
        build(arm, draw(pairs=0))


def test_prior_only_has_the_pairs_without_a_label():
    mixed, prior = build("dreambooth_mix", draw()), build("prior_only", draw())
    one, other = (rows.loc[rows["source"] == "synthetic"] for rows in (mixed, prior))
    assert list(other["image_id"]) == list(one["image_id"].str.replace("-pos", "-neg"))
    assert not (other[TASK] == 1).any(axis=None)
    assert len(mixed) == len(prior)


def unknown(rows):
    """By the finding that synthetic images were drawn for: the findings that they tell nothing of."""
    made = rows[rows["source"] == "synthetic"]
    drawn_for = made["image_id"].str.split("-").str[0]
    share = made[TASK].isna().groupby(drawn_for).mean()
    assert share.isin([0, 1]).all(axis=None)
    return {finding: set(share.columns[row == 1]) for finding, row in share.iterrows()}


@pytest.mark.parametrize("arm", ["dreambooth_mix", "prior_only", "ratio_5"])
def test_synthetic_images_tell_nothing_of_the_frequent_findings_of_others(arm):
    rows = build(arm, draw())
    assert unknown(rows) == {"fluid": {"heart"}, "nodule": {"heart", "fluid"}, "air": {"heart", "fluid"}}
    assert rows.loc[rows["source"] == "real", TASK].notna().all(axis=None)
    every = build(arm, replace(draw(), denied=TASK))
    pd.testing.assert_frame_equal(every, rows.fillna(0), check_dtype=False)


@pytest.mark.parametrize("arm", ["dreambooth_balanced", "synthetic_pretrain", "real_ceiling"])
def test_other_arms_know_every_label(arm):
    assert build(arm, draw())[TASK].notna().all(axis=None)


def test_shuffled_permutes_the_labels_of_synthetic_images_only():
    mixed, shuffled = build("dreambooth_mix", draw()), build("shuffled", draw())
    assert list(mixed["image_id"]) == list(shuffled["image_id"])
    real = mixed["source"] == "real"
    pd.testing.assert_frame_equal(mixed[real], shuffled[real])
    dealt, dealt_anew = (rows.loc[~real, TASK].fillna(-1) for rows in (mixed, shuffled))
    assert sorted(dealt.itertuples(index=False)) == sorted(dealt_anew.itertuples(index=False))
    same = (dealt == dealt_anew).all(axis=1).mean()
    assert 0.15 < same < 0.6


def test_a_finding_without_images_is_named():
    with pytest.raises(UserError, match="'nodule' has no training image at 5 shots"):
        build("vanilla", replace(draw(), real=real_rows().query("nodule == 0")))


@pytest.mark.parametrize("arm", ["reweight", "ldam_drw"])
def test_arms_of_another_loss_see_what_vanilla_sees(arm):
    pd.testing.assert_frame_equal(build(arm, draw()), build("vanilla", draw()))


def test_arms_of_two_phases_change_what_they_draw():
    crt, pretrain = build("crt", draw()), build("synthetic_pretrain", draw())
    over, only = build("oversample", draw()), build("synthetic_only", draw())
    assert set(crt["weight"]) == {1}
    assert list(crt["late"]) == list(over["weight"])
    first, second = pretrain[pretrain["weight"] > 0], pretrain[pretrain["late"] > 0]
    assert list(first["image_id"]) == list(only["image_id"])
    assert list(second["image_id"]) == list(over["image_id"])
    assert set(first["source"]) == {"synthetic"}
    assert set(second["source"]) == {"real"}
    assert list(second["late"]) == list(over["weight"])


def test_the_ceiling_takes_as_many_other_patients_as_the_mix_adds_images():
    plenty = pd.concat([other_patients().assign(image_id=lambda rows, k=k: f"{k}" + rows["image_id"]) for k in "abc"])
    rows = build("real_ceiling", replace(draw(), extra=plenty.reset_index(drop=True)))
    extra = rows[rows["source"] == "reserve"]
    assert set(extra["image_id"]) <= set(plenty["image_id"])
    assert extra["image_id"].is_unique
    assert set(rows["weight"]) == {1}
    assert len(extra) == (build("dreambooth_mix", draw())["source"] == "synthetic").sum() == 27 + 48 + 48
    assert (extra[TASK].sum() >= [0, 27, 48, 48]).all()
    assert extra["heart"].sum() > 0, "it comes along"


def test_the_ceiling_takes_all_there_are_where_that_is_fewer():
    rows = build("real_ceiling", draw())
    extra = rows[rows["source"] == "reserve"]
    assert (extra["nodule"] == 1).sum() == 30 < 48
    assert (extra["air"] == 1).sum() == 30
    assert len(extra) == 27 + 30 + 30


def test_roundtrip_needs_every_carrier_rebuilt():
    whole = draw()
    lost = whole.real.loc[whole.real["air"] == 1, "image_id"].iloc[0]
    with pytest.raises(UserError, match=f"data/roundtrip/manifest.csv: '{lost}' carries a finding and is missing"):
        build("roundtrip", replace(whole, rebuilt=whole.rebuilt[whole.rebuilt["image_id"] != lost]))


@pytest.mark.parametrize("arm", SYNTHETIC_ARMS)
def test_the_most_frequent_finding_needs_no_images_but_for_the_arms_that_a_study_is_told_of(arm):
    every = draw()
    few = replace(every, pool={finding: every.pool[finding] for finding in TASK[1:]})
    if arm in STREAMS:
        with pytest.raises(KeyError, match=TASK[0]):
            build(arm, few)
    else:
        pd.testing.assert_frame_equal(build(arm, few), build(arm, every))
