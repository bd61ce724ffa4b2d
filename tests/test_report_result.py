"""What the page says of the result: the answer, the arms, their differences and curves."""

import json

import pytest
import reported
from reported import blocks, edit, table, texts, values

from raremix.report.blocks import Chart, Fold, Section, Table, Text
from raremix.report.curves import curves
from raremix.report.decisions import decisions
from raremix.report.page import SECTIONS
from raremix.report.result import answer, arms, differences, more_shots, ratios


@pytest.fixture
def run(tmp_path):
    return reported.run(tmp_path)


def test_within_the_trio_of_readers_arms_have_means_of_their_own(run):
    (fold,) = [one for one in arms(run).blocks if isinstance(one, Fold)]
    found = [one for one in fold.blocks if "images of readers R8, R9 and R10" in one.caption]
    assert [one.caption.split()[0] for one in found] == ["Validation", "Test"]
    for one in found:
        assert [cell.text for cell in one.rows[0]] == ["vanilla", "cardiomegaly", "50", "8", "0.800", "0.400"]
    (run.metrics / "validate" / "trio.csv").write_text("shots,arm,trial,finding,images,positives,auroc,ap\n")
    (fold,) = [one for one in arms(run).blocks if isinstance(one, Fold)]
    assert [one.caption.split()[0] for one in fold.blocks if "images of readers" in one.caption] == ["Test"]


def test_the_answer_comes_first_and_has_its_comparisons(run):
    section = SECTIONS[0](run)
    assert section.blocks[0] == Text("dreambooth_mix <improves>.", lead=True)
    assert table(section, "differences in average precision, minority findings")[1:] == [
        ["vanilla", "+0.100 [+0.010, +0.200]", "0.040", "0.080", "0.150", "improves on vanilla"],
        [
            "oversample",
            "+0.100 [-0.100, +0.200]",
            "0.040",
            "0.080",
            "0.150",
            "no detectable difference from oversample",
        ],
    ]
    assert "exploratory" in texts(section)


def test_a_study_without_a_primary_result_says_no_more_than_its_sentence(run):
    edit(
        run,
        "compare/answer.json",
        lambda found: found.update(arm=None, against={}, majority={}, sentence="It has none."),
    )
    assert answer(run).blocks == [Text("It has none.", lead=True)]
    assert blocks(differences(run), Chart)
    assert blocks(curves(run), Chart)


def test_the_arms_are_a_table_a_metric_with_intervals_the_minority_first(run):
    section = arms(run)
    assert [one.caption.split(",")[0] for one in section.blocks if isinstance(one, Table)] == [
        "Average precision",
        "AUROC",
    ]
    shown = table(section, "Average precision, 10 shots: mean over trials [interval]")
    assert shown[0] == ["arm", "minority findings", "all findings", "cardiomegaly", "nodule mass"]
    assert shown[1][:3] == ["vanilla", "0.300 [0.200, 0.400]", "0.300 [0.200, 0.400]"]
    assert "count images and trials" in texts(section)


def test_deviations_over_trials_are_folded_and_any_further_metric_with_them(run):
    edit(
        run, "compare/summary.json", lambda found: found["10"]["vanilla"].update(minority={"ap": reported.figure(0.1)})
    )
    (fold,) = [one for one in arms(run).blocks if isinstance(one, Fold)]
    folded = Section("", fold.blocks)
    captions = [one.caption.split(",")[0] for one in fold.blocks]
    trio = [f"{part} images of readers R8" for part in ("Validation", "Test")]
    assert captions == ["Average precision", "AUROC", "ece", *trio]
    assert table(folded, "Average precision")[1][:3] == ["vanilla", "0.100 ± 0.010", "0.300 ± 0.010"]
    assert table(folded, "AUROC")[1][1] == "–", "vanilla has no AUROC there"  # noqa: RUF001


def test_a_run_without_intervals_shows_deviations_and_of_one_trial_none(run):
    (run.metrics / "compare" / "arms.csv").unlink()
    one = {"ap": reported.figure(0.25, None)}
    edit(run, "compare/summary.json", lambda found: found.update({"10": {"vanilla": {"minority": one}}}))
    assert table(arms(run), "Average precision")[1] == ["vanilla", "0.250"]


def test_what_the_arm_costs_on_the_majority_findings_is_a_table(run):
    rows = table(answer(run), "dreambooth_mix: differences in AUROC, majority findings")
    assert rows[0] == [
        "against",
        "difference and interval",
        "smallest difference that would show",
        "not inferior by 0.01",
    ]
    assert rows[1] == ["vanilla", "-0.020 [-0.030, -0.005]", "0.020", "not shown"]
    edit(run, "compare/answer.json", lambda found: found.update(majority={}))
    assert not [one for one in blocks(answer(run), Table) if "majority" in one.caption]


def test_a_run_whose_decisions_are_not_compared_lacks_the_table_alone(run):
    (run.metrics / "compare" / "decision_differences.csv").unlink()
    titles = [one.caption for one in blocks(decisions(run), Table)]
    assert "Decisions: mean ± SD over trials" in titles
    assert "Two classifiers of a trial" in titles
    assert "Differences in decisions on test" not in titles


def test_differences_are_those_at_the_primary_shots_the_answer_s_arm_first(run):
    path = run.metrics / "compare" / "comparison.csv"
    path.write_text(path.read_text() + "5,shuffled,vanilla,minority,ap,0.9,0.8,1,0,,1,1,2,0.2\n")
    section = differences(run)
    (chart,) = blocks(section, Chart)
    assert chart.spec["params"][0]["value"] == "dreambooth_mix"
    assert chart.spec["params"][1]["value"] == "Average precision"
    assert max(row["value"] for row in values(chart)) < 0.9
    legend = section.blocks[0]
    assert [key.label for key in legend.keys] == ["against vanilla", "against oversample"], "in the answer's order"
    rows = table(section, "Differences between arms")
    assert rows[1][:5] == ["oversample", "vanilla", "minority findings", "Average precision", "+0.010 [-0.100, +0.100]"]
    assert len(rows) == 1 + len(values(chart))


def test_points_on_curves_lie_between_the_table_s(run):
    section = curves(run)
    assert len(blocks(section, Chart)) == 2 * len(reported.FINDINGS)
    rows = table(section, "nodule mass: points")
    assert rows[0][2] == "sensitivity at 10% false positives"
    assert rows[1][:3] == ["vanilla", "0.100", "0.200"], "on the line from (0, 0) to (0.25, 0.5)"
    assert rows[1][4] == "0.500"
    keys = [key.label for key in section.blocks[1].keys]
    assert keys == ["dreambooth_mix", "vanilla", "oversample", "shuffled"], "the last is faint"
    assert section.blocks[1].keys[-1].color == "currentColor"


def test_decisions_are_means_over_trials_and_each_trial_is_tested(run):
    section = decisions(run)
    assert len(blocks(section, Chart)) == len(reported.FINDINGS)
    rows = table(section, "Decisions")
    assert rows[0] == ["finding", "arm", "balanced accuracy", "F1", "expected calibration error"]
    assert rows[1] == ["minority findings", "vanilla", "0.700 ± 0.141", "0.400 ± 0.000", "0.050 ± 0.000"]
    families = ["minority findings", "all findings", "cardiomegaly", "nodule mass"]
    assert list(dict.fromkeys(row[0] for row in rows[1:])) == families
    differ = table(section, "Differences in decisions")
    assert differ[1] == [
        *("shuffled", "vanilla", "cardiomegaly", "balanced accuracy"),
        *("-0.020 [-0.050, +0.010]", "0.200", "0.060"),
    ]
    assert len(differ) == 1 + 3 * len(families)
    tests = table(section, "Two classifiers of a trial")
    assert tests[1] == ["shuffled", "vanilla", "cardiomegaly", "0", "-0.100", "0.012", "3", "9", "0.146"]
    assert len(tests) == 1 + 2 * len(reported.FINDINGS)


def test_without_a_baseline_nothing_is_tested(run):
    path = run.metrics / "compare" / "tests.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert not [one for one in blocks(decisions(run), Table) if "trial" in one.caption and "Two" in one.caption]


def test_the_curve_over_ratios_is_there_when_there_is_one(run):
    assert ratios(run) is None
    path = run.metrics / "compare" / "summary.json"
    found = json.loads(path.read_text())
    one = {"minority": {"ap": {"mean": 0.3, "sd": 0.1, "n": 2}, "auroc": {"mean": 0.8, "sd": None, "n": 1}}}
    path.write_text(json.dumps({"10": found["10"] | {"ratio_10": one, "ratio_2": one}}))
    section = ratios(run)
    assert [[row["ratio"] for row in values(chart)] for chart in blocks(section, Chart)] == [[2, 10]] * 2
    path.write_text(json.dumps({"10": found["10"] | {"ratio_10": one}}))
    assert ratios(run) is None, "one ratio is no curve"


def test_shots_are_compared_where_there_are_several(run):
    assert more_shots(run) is None
    edit(run, "compare/summary.json", lambda found: found.update({"5": found["10"]}))
    section = more_shots(run)
    first, second = blocks(section, Chart)
    assert {row["shots"] for row in values(first)} == {5, 10}
    assert {row["arm"] for row in values(first)} == {"dreambooth_mix", "vanilla", "oversample"}
    assert {row["metric"] for row in values(second)} == {"auroc"}
    assert ["shuffled", "5", "Average precision", "0.300 ± 0.010"] in table(section, "Minority findings")
