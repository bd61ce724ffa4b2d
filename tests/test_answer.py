"""The answer: what is compared, and the words that the figures earn."""

from dataclasses import replace

import pandas as pd
import pytest
from compared import ARMS, FINDINGS, GAIN, STUDY, build, call, fake_predict, keep_runs, write_validation

from raremix.evaluation.answer import cost, distance, losses, ranking, sentence, verdict, way
from raremix.evaluation.comparison import choose
from stages import compare as module


@pytest.fixture
def profile(tmp_path, monkeypatch):
    build(tmp_path)
    monkeypatch.setattr(module, "predict_run", fake_predict)
    return tmp_path


def test_the_answer_compares_the_arm_that_validation_chose(profile):
    found = call(profile)
    assert (found["arm"], found["shots"], found["finding"], found["metric"]) == (
        "dreambooth_balanced",
        10,
        "minority",
        "ap",
    )
    assert found["validation"] == {"dreambooth_mix": 0.3, "dreambooth_balanced": 0.5}
    assert list(found["against"]) == ["vanilla", "undersample", "oversample"]
    assert found["against"]["vanilla"]["verdict"] == "improves on"
    assert found["values"]["dreambooth_balanced"] > found["values"]["vanilla"]
    assert "improves on vanilla" in found["sentence"]
    write_validation(profile, {"dreambooth_mix": 0.6, "dreambooth_balanced": 0.5})
    assert call(profile)["arm"] == "dreambooth_mix"


def test_what_the_arm_costs_on_the_majority_findings_is_said(profile):
    found = call(profile)
    assert list(found["majority"]) == ["vanilla", "undersample", "oversample"]
    for one in found["majority"].values():
        assert one["non_inferior"] == (one["low"] > -0.01)
    assert "Over the majority findings its AUROC" in found["sentence"]
    found = call(profile, replace(STUDY, minority=FINDINGS), out="all")
    assert found["majority"] == {}
    assert "majority" not in found["sentence"]


def test_the_margin_decides_and_both_kinds_are_listed():
    one, other = ({"difference": d, "low": d - 0.02, "high": d + 0.02} for d in (0.03, -0.001))
    members = {"vanilla": one | {"non_inferior": True}, "oversample": other | {"non_inferior": False}}
    assert cost(members, 0.01) == (
        "Over the majority findings its AUROC (margin 0.01) is not inferior to vanilla (+0.030 [+0.010, +0.050]) and "
        "is not shown to be non-inferior to oversample (-0.001 [-0.021, +0.019])."
    )
    assert cost({}, 0.01) == ""


def test_what_lies_below_no_difference_is_worse_unless_the_margin_covers_it():
    limits = {"vanilla": (-0.023, -0.003), "oversample": (-0.009, -0.001), "undersample": (-0.04, 0.01)}
    members = {
        name: {"difference": (low + high) / 2, "low": low, "high": high, "non_inferior": low > -0.01}
        for name, (low, high) in limits.items()
    }
    assert cost(members, 0.01) == (
        "Over the majority findings its AUROC (margin 0.01) is not inferior to oversample (-0.005 [-0.009, -0.001]), "
        "is not shown to be non-inferior to undersample (-0.015 [-0.040, +0.010]) and is worse than vanilla (-0.013 "
        "[-0.023, -0.003])."
    )


def test_how_far_it_comes_towards_the_ceiling():
    means = {"oversample": 0.2, "real_ceiling": 0.3, "dreambooth_mix": 0.26}
    assert way("dreambooth_mix", means) == pytest.approx(0.6)
    assert distance("dreambooth_mix", means, [0.2, 0.95, 0.6]) == (
        "It comes 60 % of the way from oversample to real_ceiling (other real images in place of the synthetic ones, "
        "0.300); in single trials 20 to 95 %."
    )
    assert way("dreambooth_mix", means | {"dreambooth_mix": 0.1}) == pytest.approx(-1), "the wrong way is said, too"
    assert way("dreambooth_mix", means | {"real_ceiling": 0.2}) is None
    assert "no better than oversample" in distance("dreambooth_mix", means | {"real_ceiling": 0.2}, [])
    for incomplete in ("oversample", "real_ceiling"):
        rest = {arm: value for arm, value in means.items() if arm != incomplete}
        assert (way("dreambooth_mix", rest), distance("dreambooth_mix", rest, [])) == (None, "")


def held(of):
    """An arm's comparisons by finding and metric, then baseline: the difference, with limits .01 away."""
    rows = [
        {"finding": finding, "metric": metric, "against": against, "difference": d, "low": d - 0.01, "high": d + 0.01}
        for (finding, metric), by_arm in of.items()
        for against, d in by_arm.items()
    ]
    return pd.DataFrame(rows, columns=["finding", "metric", "against", "difference", "low", "high"])


def test_that_only_average_precision_gains_is_said():
    rows = held({("minority", "auroc"): {"vanilla": 0.004, "undersample": 0.07, "oversample": -0.02}})
    assert ranking(rows) == (
        "Uncorrected: in AUROC over the minority findings it is above undersample (+0.070 [+0.060, +0.080]), is below "
        "oversample (-0.020 [-0.030, -0.010]) and can't be told from vanilla (+0.004 [-0.006, +0.014])."
    )
    assert ranking(rows[:0]) == ""


def test_a_single_finding_that_loses_is_named_although_the_mean_does_not():
    rows = held(
        {
            ("cardiomegaly", "auroc"): {"vanilla": -0.02, "oversample": 0.02},
            ("cardiomegaly", "ap"): {"vanilla": -0.03},
            ("pleural_effusion", "ap"): {"vanilla": -0.005, "oversample": -0.04},
            ("nodule_mass", "ap"): {"vanilla": -0.5},
            ("majority", "auroc"): {"vanilla": -0.5},
        }
    )
    assert losses(rows, ["cardiomegaly", "pleural_effusion"]) == (
        "Singly and uncorrected, it is worse for cardiomegaly than vanilla (AUROC -0.020 [-0.030, -0.010], average "
        "precision -0.030 [-0.040, -0.020]) and pleural effusion than oversample (average precision -0.040 [-0.050, "
        "-0.030])."
    )
    assert losses(rows, ["fibrosis"]) == ""


def test_the_trials_ways_are_kept(profile):
    found = call(profile)
    assert found["way_to_ceiling"] is None
    assert found["ways_of_trials"] == []
    for path in list((profile / "runs").glob("shuffled-*")):
        path.rename(path.with_name(path.name.replace("shuffled", "real_ceiling")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GAIN, "real_ceiling", 3.0)
        found = call(profile, replace(STUDY, arms=[*ARMS[:-1], "real_ceiling"]), out="ceiling")
    runs = pd.read_csv(profile / "ceiling" / "runs.csv")
    one = runs[(runs.shots == 10) & (runs.trial == 1) & (runs.finding == "minority")].set_index("arm")["ap"]
    share = (one["dreambooth_balanced"] - one["oversample"]) / (one["real_ceiling"] - one["oversample"])
    assert len(found["ways_of_trials"]) == 3
    assert found["ways_of_trials"][1] == pytest.approx(share, abs=1e-4)
    assert f"{100 * max(found['ways_of_trials']):.0f} %" in found["sentence"]


def test_a_study_without_dreambooth_has_no_primary_result_and_says_so(profile):
    found = call(profile, keep_runs(profile, ["vanilla", "oversample", "shuffled"]))
    assert found["arm"] is None
    assert found["against"] == {}
    assert "no primary result" in found["sentence"]
    table = pd.read_csv(profile / "out" / "comparison.csv")
    assert table.p_holm.isna().all()
    assert set(table.against) == {"vanilla", "oversample"}


def test_a_small_study_compares_what_is_there_and_admits_its_single_trial(profile):
    found = call(profile, keep_runs(profile, ["vanilla", "dreambooth_mix"], [10], [0]))
    assert list(found["against"]) == ["vanilla"]
    assert found["trials"] == 1
    assert "1 trial: the intervals count images only" in found["sentence"]


def test_without_baselines_there_is_no_primary_result(profile):
    found = call(profile, keep_runs(profile, ["dreambooth_mix", "shuffled"], [10]))
    assert "no baseline" in found["sentence"]
    table = pd.read_csv(profile / "out" / "comparison.csv")
    assert (set(table.arm), set(table.against)) == ({"dreambooth_mix"}, {"shuffled"})
    assert table.p_holm.isna().all()


def test_a_candidate_without_a_validation_figure_loses_and_a_tie_goes_to_the_first():
    figures = {arm: {"minority": {"ap": {"mean": value}}} for arm, value in [("dreambooth_a", None), ("vanilla", 0.9)]}
    figures |= {arm: {"minority": {"ap": {"mean": 0.2}}} for arm in ("dreambooth_b", "dreambooth_c")}
    assert choose({"10": figures}, 10, list(figures))[0] == "dreambooth_b"


@pytest.mark.parametrize(
    ("difference", "p_holm", "words"),
    [(0.1, 0.01, "improves on"), (-0.1, 0.01, "is worse than"), (0.1, 0.05, "no detectable difference from")],
)
def test_the_words_are_earned(difference, p_holm, words):
    assert verdict(difference, p_holm, 0.95) == words


def test_a_result_against_the_hypothesis_is_said_as_plainly():
    figures = {"difference": -0.05, "low": -0.08, "high": -0.02, "verdict": "is worse than"}
    even = {"difference": 0.01, "low": -0.02, "high": 0.04, "verdict": "no detectable difference from"}
    even |= {"detectable": 0.043}
    against = {"vanilla": even, "undersample": even, "oversample": figures}
    assert sentence("dreambooth_mix", 10, {"dreambooth_mix": {"mean": 0.3, "n": 3}}, against) == (
        "With 10 shots, dreambooth_mix (average precision over the minority findings 0.300, 3 trials) "
        "shows no detectable difference from vanilla (+0.010 [-0.020, +0.040], could have seen 0.04) and undersample "
        "(+0.010 [-0.020, +0.040], could have seen 0.04); is worse than oversample (-0.050 [-0.080, -0.020])."
    )
