"""Which label sets are planned: as near to what is wanted as can be, and of many kinds."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raremix.data import plan as room
from raremix.data.plan import DECIMALS, MOST, Sets, imbalance, lacks, plan, planned, sets_of, shares
from raremix.runtime.errors import UserError

TASK, OTHERS = ["heart", "air"], ["bone", "scar", "haze"]


def everything(width):
    """Every set of so many findings."""
    return np.array(list(product([0, 1], repeat=width)))


def sets(originals, width=3):
    marks = everything(width)
    return Sets([str(mark) for mark in marks], marks, np.array(originals))


@st.composite
def programmes(draw):
    """Up to four sets of one or two findings, up to six images."""
    width, budget = draw(st.integers(1, 2)), draw(st.integers(0, 6))
    places = draw(st.lists(st.integers(0, 2**width - 1), min_size=1, max_size=4))
    wanted = draw(st.lists(st.integers(0, 8), min_size=width, max_size=width))
    weights = np.array(draw(st.lists(st.floats(0.1, 1), min_size=len(places), max_size=len(places))))
    most = np.array(draw(st.lists(st.floats(0.2, 1), min_size=len(places), max_size=len(places))))
    most[0] = 1
    return everything(width)[places], np.array(wanted), budget, weights / weights.sum(), most


def misses(counts, marks, wanted, budget, share):
    """Both sums that are made small."""
    return np.abs(counts @ marks - wanted).sum(), np.abs(counts - budget * share).sum()


@settings(max_examples=150, deadline=None)
@given(programmes())
def test_no_other_counts_are_nearer(programme):
    marks, wanted, budget, share, most = programme
    limits = [range(int(np.ceil(budget * part)) + 1) for part in most]
    possible = [np.array(counts) for counts in product(*limits) if sum(counts) == budget]
    nearest = min(misses(counts, marks, wanted, budget, share)[0] for counts in possible)
    ties = [misses(counts, marks, wanted, budget, share) for counts in possible]
    evenest = min(second for first, second in ties if first == nearest)
    found = planned(marks, wanted, budget, share, most)
    assert found.sum() == budget
    assert (found <= np.ceil(budget * most)).all()
    assert misses(found, marks, wanted, budget, share) == pytest.approx((nearest, evenest), abs=1e-5)


@pytest.mark.parametrize(("wanted", "left"), [(3, -7), (10, 0), (25, 15)])
def test_the_budget_is_used_up_and_no_more(wanted, left):
    found = planned(np.array([[1]]), np.array([wanted]), 10, np.ones(1), np.ones(1))
    assert found.tolist() == [10]
    assert wanted - found.sum() == left


def test_the_same_marginals_are_made_of_many_sets():
    few = sets([50] * 8)
    share = shares(few, np.full(3, 0.5))
    found = planned(few.marks, np.full(3, 100), 200, share, few.most)
    assert found.tolist() == [25] * 8, "two sets could do: none of the findings and all of them"


def test_the_same_plan_each_time():
    many = sets(np.arange(1, 129), width=7)
    rates = np.linspace(0.1, 0.6, 7)
    first, again = (planned(many.marks, np.arange(30, 170, 20), 300, shares(many, rates), many.most) for _ in range(2))
    assert first.tolist() == again.tolist()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 300), min_size=8, max_size=8),
    st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.array),
)
def test_shares_are_proportions_that_no_original_has_too_much_of(originals, rates):
    some = sets(originals)
    share = shares(some, rates)
    assert share.sum() == pytest.approx(1)
    assert (share >= 0).all()
    assert (share <= some.most * (1 + 1e-4)).all()


def test_shares_have_the_rates_and_stay_near_the_corpus():
    some = sets([400, 60, 60, 20, 60, 20, 20, 5])
    rates = np.array([0.3, 0.2, 0.4])
    share = shares(some, rates)
    assert share @ some.marks == pytest.approx(rates, abs=1e-5)
    ratio = share / some.originals
    assert ratio[7] * ratio[0] ** 2 == pytest.approx(ratio[1] * ratio[2] * ratio[4], rel=1e-3), "a log-linear tilt"
    assert shares(some, some.originals @ some.marks / 645) == pytest.approx(some.originals / 645, abs=1e-6)


def test_rates_out_of_reach_are_come_near_to():
    some = sets([98, 1, 1, 1, 1, 1, 1, 1])
    share = shares(some, np.array([0.0, 0.0, 0.9]))
    alone, with_all = some.marks.tolist().index([0, 0, 1]), some.marks.tolist().index([1, 1, 1])
    assert share[alone] == pytest.approx(some.most[alone], rel=1e-3)
    assert share[with_all] == pytest.approx(0, abs=1e-6), "it would be further from two rates and nearer to one"


def test_a_small_corpus_gives_every_original_its_even_share():
    assert sets([1] * 8).most == pytest.approx(np.full(8, 1 / 8))
    assert sets([100] * 8).most == pytest.approx(np.full(8, 100 * MOST))


def test_a_solver_that_fails_is_told(monkeypatch):
    failed = SimpleNamespace(success=False, message="Time limit reached. (HiGHS Status 13)")
    monkeypatch.setattr(room, "milp", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"no plan of 4 images among 1 label sets of 1 findings: Time limit reached"):
        planned(np.array([[1]]), np.array([1]), 4, np.ones(1), np.ones(1))


def training():
    """Forty hearts, half of them with a scar; four airs, all with haze and none with a scar."""
    rows = [[1, 0, 0, k % 2, 0] for k in range(40)] + [[0, 1, 0, 0, 1]] * 4 + [[0, 0, 1, 1, 1]] * 9
    return pd.DataFrame(rows, columns=[*TASK, *OTHERS])


def corpus():
    rows = [[0, 0, *marks] for marks in everything(3) for _ in range(30) if not (marks[0] and marks[2])]
    return pd.DataFrame(rows, columns=[*TASK, *OTHERS])


def test_rates_are_those_of_the_carriers_drawn_to_the_prevalence():
    heart, air = lacks(training(), corpus(), TASK, OTHERS, 1.0)
    assert (heart.images, air.images) == (0, 36)
    assert heart.rates == pytest.approx([0, (20 + 4 * 20 / 44) / 44, (0 + 4 * 4 / 44) / 44])
    assert air.rates == pytest.approx([0, (0 + 4 * 20 / 44) / 8, (4 + 4 * 4 / 44) / 8])
    assert air.wanted.tolist() == np.rint(36 * air.rates).tolist()


def test_less_company_is_nearer_to_the_corpus_and_leaves_more():
    ordinary = corpus()[OTHERS].mean().to_numpy()
    real, none, some = (lacks(training(), corpus(), TASK, OTHERS, company)[1] for company in (1.0, 0.0, 0.25))
    assert none.rates == pytest.approx(ordinary)
    assert some.rates == pytest.approx(0.25 * real.rates + 0.75 * ordinary)
    assert none.company.tolist() == some.company.tolist() == real.rates.tolist()
    known = sets_of(corpus(), OTHERS)
    lacking = lacks(training(), corpus(), TASK, OTHERS, 0.25)
    table = imbalance(training(), lacking, plan(lacking, known), known, OTHERS).set_index("finding")
    assert table.loc["haze", "left"] == np.rint(36 * real.rates[2]) - some.wanted[2] > 0


def test_a_plan_has_each_findings_own_company_and_only_sets_of_the_corpus():
    known, lacking = sets_of(corpus(), OTHERS), lacks(training(), corpus(), TASK, OTHERS, 1.0)
    made = plan(lacking, known)
    assert list(made.columns) == ["finding", "label_set", "share", "images"]
    assert set(made["label_set"]) == {"", "bone", "scar", "haze", "bone|scar", "scar|haze"}
    assert made.groupby("finding")["images"].sum().to_dict() == {"heart": 0, "air": 36}
    assert made.groupby("finding")["share"].sum().tolist() == pytest.approx([1, 1], abs=1e-4)
    assert list(made["share"]) == list(made["share"].round(DECIMALS)), "no digit that another run would write otherwise"
    for lack in lacking:
        of = made[made["finding"] == lack.finding]
        assert of["share"].to_numpy() @ known.marks == pytest.approx(lack.rates, abs=1e-4)
        assert of["images"].to_numpy() @ known.marks == pytest.approx(lack.wanted)


def test_what_is_out_of_reach_is_left():
    lacking = lacks(training(), corpus(), TASK, OTHERS, 1.0)
    for rows, left in ((corpus(), 0), (corpus().query("haze == 0"), lacking[1].wanted[2])):
        known = sets_of(rows, OTHERS)
        table = imbalance(training(), lacking, plan(lacking, known), known, OTHERS).set_index("finding")
        assert table.loc["air"].to_dict() == {"target": 40, "real": 4, "planned": 36, "left": 0}
        assert table.loc["heart"].to_dict() == {"target": 40, "real": 40, "planned": 0, "left": 0}
        assert table.loc["haze", "left"] == left
        assert (table["target"] - table["real"] - table["planned"] == table["left"]).all()
        assert table["real"].to_dict() == training().sum().to_dict()


def test_without_findings_beside_the_task_there_is_one_set():
    known, lacking = sets_of(corpus(), []), lacks(training(), corpus(), TASK, [], 1.0)
    made = plan(lacking, known)
    assert made[["label_set", "images"]].to_numpy().tolist() == [["", 0], ["", 36]]
    assert imbalance(training(), lacking, made, known, [])["left"].tolist() == [0, 0]


def test_a_corpus_of_nobody_is_refused():
    with pytest.raises(UserError, match=r"no training image is free of the task's findings"):
        sets_of(corpus().iloc[:0], OTHERS)
