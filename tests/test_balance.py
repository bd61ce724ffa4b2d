"""With what weight an arm's images train: how even the findings get, and whose share is whose."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixed import RARE, TASK, counts, draw, real_rows

from raremix.data.balance import needed, oversampled, stream_weights, undersampled
from raremix.data.mix import build
from raremix.runtime.errors import UserError


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


def held_by_real(rows, finding):
    carriers = rows[rows[finding] == 1]
    return carriers.loc[carriers["source"] == "real", "weight"].sum() / carriers["weight"].sum()


def test_the_few_real_images_hold_their_share_of_a_finding_that_is_filled_up():
    plain, rows = build("dreambooth_mix", draw()), build("dreambooth_mix", draw(real_share=0.25))
    assert held_by_real(plain, "nodule") == held_by_real(plain, "air") == pytest.approx(5 / 53)
    assert held_by_real(rows, "nodule") == held_by_real(rows, "air") == pytest.approx(0.25)
    for finding in RARE:
        assert counts(rows)[finding] == pytest.approx(53), "as frequent as before"
    assert held_by_real(rows, "fluid") > held_by_real(plain, "fluid") > 0.25, (
        "of what is there already nothing is taken"
    )
    pd.testing.assert_frame_equal(rows.drop(columns=["weight", "late"]), plain.drop(columns=["weight", "late"]))
    others = (rows["source"] == "real") & ~rows[RARE].any(axis=1)
    assert (rows.loc[others, "weight"] == 1).all()
    assert (rows["late"] == rows["weight"]).all()


def test_a_real_image_with_two_rare_findings_is_raised_once():
    few = draw(real_share=0.5)
    first = few.real.index[few.real["nodule"] == 1][0]
    few.real.loc[first, "air"] = 1
    rows = build("dreambooth_mix", few).set_index("image_id")
    alone = few.real[(few.real["nodule"] == 1) & (few.real["air"] == 0)]
    assert rows["weight"][few.real["image_id"][first]] == rows["weight"][alone["image_id"]].iloc[0] == 5.3


def test_the_controls_weigh_as_the_mix_does():
    mixed, prior, shuffled = (
        build(name, draw(real_share=0.25)) for name in ("dreambooth_mix", "prior_only", "shuffled")
    )
    assert prior["weight"].tolist() == mixed["weight"].tolist()
    assert counts(shuffled) == pytest.approx(counts(mixed))
    assert held_by_real(shuffled, "nodule") == pytest.approx(0.25)


@pytest.mark.parametrize("real_share", [0.0, 0.25])
def test_where_fewer_images_are_left_each_stands_for_more(real_share):
    all_there, few = (build("dreambooth_mix", draw(pairs=pairs, real_share=real_share)) for pairs in (60, 20))
    assert counts(few) == pytest.approx(counts(all_there))
    synthetic = few[few["source"] == "synthetic"]
    assert len(synthetic) == 3 * 20
    nodules, airs = (synthetic.loc[synthetic[finding] == 1, "weight"] for finding in RARE)
    assert nodules.nunique() == airs.nunique() == 1
    assert held_by_real(few, "air") == pytest.approx(held_by_real(all_there, "air"))
    pairs = build("prior_only", draw(pairs=20, real_share=real_share))
    assert pairs["weight"].tolist() == few["weight"].tolist()


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


def test_roundtrip_shares_each_carriers_weight_with_what_the_autoencoder_leaves_of_it():
    rows, over = build("roundtrip", draw()), build("oversample", draw())
    again = rows[rows["source"] == "roundtrip"]
    assert set(again["image_id"].str.removesuffix("-roundtrip")) == set(over.loc[over[TASK].any(axis=1), "image_id"])
    assert again["file"].str.startswith("r/").all()
    assert counts(rows) == pytest.approx(counts(over))
    assert rows["weight"].sum() == pytest.approx(over["weight"].sum())
    assert counts(again) == pytest.approx({finding: weight / 2 for finding, weight in counts(over).items()})
