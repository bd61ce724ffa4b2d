"""The order in which a plan's label sets are drawn."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raremix.data.label_sets import in_order, label_sets, read_plan
from raremix.data.manifest import write_csv
from raremix.runtime.errors import UserError

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


def plan(images, share=None):
    weights = np.array(images if share is None else share, float)
    names = [f"s{place}" for place in range(len(images))]
    return pd.DataFrame({"label_set": names, "share": weights / weights.sum(), "images": images})


def order(sets, count, seed=0):
    return in_order(sets, count, np.random.default_rng(seed))


def drawn(sets, names):
    return pd.Series(names).value_counts().reindex(sets["label_set"], fill_value=0).to_numpy()


def test_a_label_set_names_what_is_carried():
    rows = pd.DataFrame({"a": [1, 0, 1], "b": [1, 0, 0], "c": [1, 1, 1]}, index=[7, 8, 9])
    assert label_sets(rows, ["a", "b"]).to_dict() == {7: "a|b", 8: "", 9: "a"}


@settings(max_examples=100, deadline=None)
@given(COUNTS, st.integers(0, 99), st.data())
def test_any_first_few_have_nearly_the_proportions_and_all_that_lack_have_the_plan(images, seed, data):
    sets, total = plan(images), sum(images)
    whole = order(sets, total, seed)
    assert drawn(sets, whole).tolist() == images
    few = data.draw(st.integers(0, total))
    off = np.abs(drawn(sets, whole[:few]) - few * sets["share"])
    assert (off < 1 + len(images) * sets["share"]).all()


@settings(max_examples=100, deadline=None)
@given(COUNTS, st.integers(0, 99), st.integers(0, 60), st.integers(0, 60))
def test_how_many_are_drawn_changes_none_of_them(images, seed, few, more):
    sets = plan(images, share=[n + 1 for n in images])
    longer = order(sets, few + more, seed)
    assert len(longer) == few + more
    assert order(sets, few, seed) == longer[:few]


@settings(max_examples=50, deadline=None)
@given(COUNTS, st.integers(0, 99))
def test_what_is_drawn_beyond_the_plan_follows_the_shares(weights, seed):
    sets = plan([0] * len(weights), share=weights)
    off = np.abs(drawn(sets, order(sets, 200, seed)) - 200 * sets["share"])
    assert (off < 1 + len(weights) * sets["share"]).all()


def test_a_plan_of_few_images_does_not_repeat_its_few_sets():
    sets = plan([1, 0, 0, 0, 0], share=[1, 1, 1, 1, 1])
    assert drawn(sets, order(sets, 51)).tolist() == [11, 10, 10, 10, 10]


def test_a_rare_set_has_its_chance():
    sets = plan([0, 0], share=[0.99, 0.01])
    often = np.mean(["s1" in order(sets, 50, seed) for seed in range(200)])
    assert 0.35 < often < 0.65


def test_another_seed_gives_another_order():
    sets = plan([5, 5, 5])
    assert order(sets, 15) == order(sets, 15)
    assert order(sets, 15) != order(sets, 15, seed=1)


def test_a_plan_is_read_with_its_empty_label_set(tmp_path):
    rows = plan([2, 1]).assign(label_set=["", "a|b"], finding="air")
    write_csv(pd.concat([rows.assign(finding="fluid"), rows]), tmp_path / "plan.csv")
    read = read_plan(tmp_path / "plan.csv", "air")
    assert list(read.columns) == ["label_set", "share", "images"]
    assert read["label_set"].tolist() == ["", "a|b"]
    with pytest.raises(UserError, match=r"plan.csv: nothing for 'nodule'; run `dvc repro split`"):
        read_plan(tmp_path / "plan.csv", "nodule")
