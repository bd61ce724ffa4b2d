import json

import pytest
from finished import MIX, write

from stages.result import main


@pytest.fixture
def profile(tmp_path, monkeypatch):
    write(tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(metrics, rows, table="comparison"):
    header = "shots,arm,against,finding,metric,difference,low,high,detectable"
    (metrics / "compare" / f"{table}.csv").write_text("\n".join([header, *rows]) + "\n")


def test_the_curve_has_a_row_for_each_number_of_shots_of_both_profiles(profile):
    for folder, shots in ((profile, 10), (profile / "profiles" / "phantom-shots", 5)):
        write(folder / "metrics", {"vanilla": 0.1, "oversample": 0.2, "dreambooth_mix": 0.01 * shots}, str(shots))
        others = ("vanilla", "oversample")
        rows = [f"{shots},dreambooth_mix,{other},minority,ap,0.0{shots},-0.01,0.2,0.3" for other in others]
        rows.append(f"{shots},oversample,vanilla,minority,ap,0.7,0.7,0.7,0.3")
        compared(folder / "metrics", rows)
    (profile / "study.md").write_text("<!-- curve -->\n<!-- /curve -->\n")
    assert main(["--pages", "study.md"]) == 0
    rows = (profile / "study.md").read_text().splitlines()[3:-3]
    arms = "0.100 ± 0.010 | 0.200 ± 0.010"
    assert rows == [
        f"| 5 | 3 | {arms} | 0.050 ± 0.010 | +0.050 [-0.010, +0.200] (0.30) | +0.050 [-0.010, +0.200] (0.30) |",
        f"| 10 | 3 | {arms} | 0.100 ± 0.010 | +0.010 [-0.010, +0.200] (0.30) | +0.010 [-0.010, +0.200] (0.30) |",
    ]


def test_the_ratios_stand_beside_the_mix_that_has_no_limit(profile):
    other = profile / "profiles" / "phantom-ratios" / "metrics"
    write(other, {"vanilla": 0.1, "ratio_2": 0.2, "ratio_10": 0.25, MIX: 0.3})
    pairs = {(arm, base): 0.1 for arm in ("ratio_2", "ratio_10", MIX) for base in ("vanilla", "oversample")}
    pairs |= {(MIX, "ratio_2"): 0.3, (MIX, "ratio_10"): -0.2}
    rows = [
        f"{shots},{arm},{base},minority,ap,{gain * times},-0.01,0.2,0.3"
        for shots, times in ((5, 9), (10, 1))
        for (arm, base), gain in pairs.items()
    ]
    compared(other, rows)
    (profile / "study.md").write_text("<!-- ratios -->\n<!-- /ratios -->\n")
    assert main(["--pages", "study.md"]) == 0
    both = "+0.100 [-0.010, +0.200] (0.30) | +0.100 [-0.010, +0.200] (0.30)"
    assert (profile / "study.md").read_text().splitlines()[3:-3] == [
        f"| at most 2 | 0.200 ± 0.010 | {both} | +0.300 [-0.010, +0.200] (0.30) |",
        f"| at most 10 | 0.250 ± 0.010 | {both} | -0.200 [-0.010, +0.200] (0.30) |",
        f"| until even | 0.300 ± 0.010 | {both} |  |",
    ]


def test_all_instances_stand_beside_five(profile):
    for folder, ap in (("phantom-ratios", 0.3), ("phantom-instances", 0.4)):
        other = profile / "profiles" / folder / "metrics"
        write(other, {"vanilla": 0.1, MIX: ap})
        rows = [f"10,{MIX},{base},minority,ap,{ap - 0.1:.1f},-0.01,0.2,0.3" for base in ("vanilla", "oversample")]
        compared(other, rows)
    (profile / "study.md").write_text("<!-- instances -->\n<!-- /instances -->\n")
    assert main(["--pages", "study.md"]) == 0
    assert (profile / "study.md").read_text().splitlines()[3:-3] == [
        "| 5 | 0.300 ± 0.010" + " | +0.200 [-0.010, +0.200] (0.30)" * 2 + " |",
        "| all | 0.400 ± 0.010" + " | +0.300 [-0.010, +0.200] (0.30)" * 2 + " |",
    ]


def test_the_remedies_are_what_the_mix_was_held_against(profile):
    other = profile / "profiles" / "phantom-arms" / "metrics"
    write(other)
    figures = (("minority", "ap"), ("minority", "auroc"), ("majority", "auroc"))
    rows = [
        f"10,{arm},{against},{finding},{metric},{gain},-0.01,0.2,0.3"
        for arm, against, gain in ((MIX, "vanilla", 0.2), (MIX, "crt", 0.1), ("crt", "vanilla", 9))
        for finding, metric in figures
    ]
    compared(other, rows)
    decided = [
        f"{shots},{arm},{trial},{finding},{score}"
        for shots, arm, finding, scores in (
            (10, "vanilla", "minority", (0.7, 0.8)),
            (10, "vanilla", "majority", (0.1, 0.1)),
            (5, "vanilla", "minority", (0.1, 0.1)),
            (10, "crt", "minority", (0.6, 0.6)),
        )
        for trial, score in enumerate(scores)
    ]
    header = "shots,arm,trial,finding,balanced_accuracy"
    (other / "compare" / "decisions.csv").write_text("\n".join([header, *decided]) + "\n")
    above = [
        f"{shots},crt,{against},minority,{figure},{gain},-0.01,0.2,0.3"
        for shots, against, figure, gain in (
            (10, "vanilla", "balanced_accuracy", -0.15),
            (10, "vanilla", "f1", 9),
            (10, "oversample", "balanced_accuracy", 9),
            (5, "vanilla", "balanced_accuracy", 9),
        )
    ]
    compared(other, above, "decision_differences")
    (profile / "study.md").write_text("<!-- remedies -->\n<!-- /remedies -->\n")
    assert main(["--pages", "study.md"]) == 0
    assert (profile / "study.md").read_text().splitlines()[3:-3] == [
        "| vanilla" + " | +0.200 [-0.010, +0.200] (0.30)" * 3 + " | 0.750 ± 0.071 |  |",
        "| crt" + " | +0.100 [-0.010, +0.200] (0.30)" * 3 + " | 0.600 ± 0.000 | -0.150 [-0.010, +0.200] (0.30) |",
    ]


def test_the_findings_are_told_one_by_one(profile):
    other = profile / "profiles" / "phantom-full" / "metrics"
    write(other)
    rows = [
        f"10,{MIX},{against},{finding},{metric},{gain},-0.01,0.2,0.3"
        for against, sign in (("vanilla", 1), ("undersample", 7), ("oversample", -1))
        for finding, of_finding in (("cardiomegaly", 0.1), ("minority", 0.9))
        for metric, gain in (("auroc", sign * of_finding), ("ap", sign * of_finding / 2))
    ]
    compared(other, rows)
    (profile / "study.md").write_text("<!-- phantom-full-findings -->\n<!-- /phantom-full-findings -->\n")
    assert main(["--pages", "study.md"]) == 0
    limits = "[-0.010, +0.200] (0.30)"
    assert (profile / "study.md").read_text().splitlines()[1:-3] == [
        "| finding | AP, above vanilla | AUROC, above vanilla | AP, above oversample | AUROC, above oversample |",
        "|---|---:|---:|---:|---:|",
        f"| cardiomegaly | +0.050 {limits} | +0.100 {limits} | -0.050 {limits} | -0.100 {limits} |",
    ]


def test_decisions_are_held_against_the_baselines_of_the_answer(profile):
    file = profile / "metrics" / "compare" / "answer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"against": {"vanilla": {}, "oversample": {}}}))
    rows = [
        f"{shots},{arm},{against},{finding},{figure},{gain * sign},-0.01,0.2,0.3"
        for shots, arm, finding, sign in ((10, MIX, "minority", 1), (5, MIX, "minority", 7), (10, "crt", "minority", 8))
        for against in ("vanilla", "undersample", "oversample")
        for figure, gain in (("f1", 0.1), ("balanced_accuracy", 0.2), ("calibration_error", -0.1))
    ]
    compared(profile / "metrics", [*rows, f"10,{MIX},vanilla,majority,f1,9,9,9,9"], "decision_differences")
    (profile / "study.md").write_text("<!-- decisions -->\n<!-- /decisions -->\n")
    assert main(["--pages", "study.md"]) == 0
    limits = "[-0.010, +0.200] (0.30)"
    assert (profile / "study.md").read_text().splitlines()[1:-1] == [
        "| minority findings | above vanilla | above oversample |",
        "|---|---:|---:|",
        f"| balanced accuracy | +0.200 {limits} | +0.200 {limits} |",
        f"| F1 | +0.100 {limits} | +0.100 {limits} |",
        f"| expected calibration error | -0.100 {limits} | -0.100 {limits} |",
    ]


def test_the_phantoms_that_have_run_stand_side_by_side(profile):
    kept = profile / "profiles" / "phantom-third" / "metrics"
    write(kept)
    for metrics, gain, verdict in ((profile / "metrics", 0.2, "improves on"), (kept, -0.1, "is worse than")):
        file = metrics / "compare" / "answer.json"
        difference = {
            "difference": gain,
            "low": gain - 0.01,
            "high": gain + 0.01,
            "detectable": 0.14,
            "verdict": verdict,
        }
        more = {"values": {MIX: 0.34}, "against": {"vanilla": difference}, "way_to_ceiling": gain}
        file.write_text(json.dumps(json.loads(file.read_text()) | more))
    (profile / "README.md").write_text("<!-- phantoms -->\n<!-- /phantoms -->\n")
    assert main(["--pages", "README.md"]) == 0
    assert (profile / "README.md").read_text().splitlines()[1:-1] == [
        "| phantom | trials | AP | above vanilla | of the way |",
        "|---|---:|---:|---:|---:|",
        "| root | 3 | 0.340 | **+0.200 [+0.190, +0.210] (0.14)** | 20% |",
        "| phantom-third | 3 | 0.340 | -0.100 [-0.110, -0.090] (0.14) | -10% |",
    ]


def test_there_is_no_curve_before_its_profile_has_run(profile):
    (profile / "study.md").write_text("<!-- curve -->\nformer\n<!-- /curve -->\n")
    assert main(["--pages", "study.md"]) == 0
    assert (profile / "study.md").read_text() == "<!-- curve -->\n<!-- /curve -->\n"
