"""Tables of what the scripts in docs have measured, and the script on intervals."""

from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished import write
from scipy.stats import norm, t

from stages.result import main


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """``measured(block, csv)``: the lines of a page with the block of a file in docs; empty before there is one."""
    write(tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)

    def lines(block, csv):
        page, file = tmp_path / "page.md", tmp_path / "docs" / f"{block.replace('-', '_')}.csv"
        page.write_text(f"<!-- {block} -->\n<!-- /{block} -->\n")
        assert main(["--pages", "page.md"]) == 0, "nothing has been measured"
        assert "|" not in page.read_text()
        file.parent.mkdir()
        file.write_text(csv)
        assert main(["--pages", "page.md"]) == 0
        return page.read_text().splitlines()

    return lines


def test_the_estimators_block_has_a_row_a_method_and_a_column_a_share_of_edits(measured):
    rows = [f"implicit,0.5,{share},9,14,{mean},0.1" for share, mean in ((0.5, 0.6), (1.0, 0.3), (0.0, 0.7))]
    header = "method,readable,share_of_edits,attributes,classifiers,spearman,least"
    lines = measured("estimators", "\n".join([header, *rows]) + "\n")
    assert "| implicit | 0.5 | 9 | 14 | 0.70 | 0.60 | 0.30 |" in lines


def test_the_coverage_block_has_percents_for_one_finding_and_two(measured):
    header = "trials,ratio,findings,metric,studies,coverage,false_alarms,family,width\n"
    rows = "3,0.5,one,ap,2000,0.951,0.0483,0.04,0.1\n3,0.5,two,ap,2000,0.9485,0.05,0.03,0.1\n"
    other = rows.replace("ap", "auroc").replace("0.951", "0.96")
    lines = measured("coverage", header + rows + other)
    assert "| 3 | 0.5 | AUROC | 2000 | 96.0, 94.8 | 4.8, 5.0 | 4.0, 3.0 |" in lines[3]
    assert "| 3 | 0.5 | AP | 2000 | 95.1, 94.8 | 4.8, 5.0 | 4.0, 3.0 |" in lines[4]


@pytest.mark.parametrize("block", ["levers", "budget"])
def test_the_levers_block_has_a_row_an_arm_and_lever(measured, block):
    header = "arm,lever,trial,minority_ap,minority_auroc,majority_auroc\n"
    rows = "oversample,,0,0.1,0.8,0.9\noversample,half the rate,0,0.2,0.7,0.9\noversample,,1,0.3,0.8,0.9\n"
    lines = measured(block, header + rows)
    assert lines[3] == "| oversample | as in the study | 0.200 ± 0.141 | 0.800 ± 0.000 | 0.900 ± 0.000 |"
    assert lines[4] == "| oversample | half the rate | 0.200 | 0.700 | 0.900 |"


def test_the_generators_levers_have_a_row_a_lever_and_finding(measured):
    header = "lever,finding,trial,auroc,pairs_won,with,without,others\n"
    rows = ",air,0,0.88,0.9,0.7,0.2,0.1\n,air,1,0.9,1.0,0.8,0.1,0.2\nstrength 0.5,air,0,0.7,0.8,0.4,0.2,0.1\n"
    lines = measured("generator-levers", header + rows)
    assert lines[3] == "| as in the study | air | 0.88, 0.90 | 0.95 | 0.75 | 0.15 | 0.15 |"
    assert lines[4] == "| strength 0.5 | air | 0.70 | 0.80 | 0.40 | 0.20 | 0.10 |"


def test_the_intervals_block_has_a_row_a_method_and_says_what_limits_and_p_do(measured):
    header = "method,trials,alpha,least,most\n"
    rows = ["Student's,3,0.05,0.05,0.078", "Student's,3,0.016667,0.0165,0.0441"]
    rows += ["ours,3,0.05,0.037,0.05", "ours,3,0.016667,0.0086,0.0166"]
    lines = measured("intervals", header + "".join(f"{row}\n" for row in rows))
    assert lines[1] == "| | limits of 95 % cover: 3 trials | p is below 1.67 %: 3 trials |"
    assert lines[3:5] == ["| Student's | 92.2 to 95.0 | 1.65 to 4.41 |", "| ours | 95.0 to 96.3 | 0.86 to 1.66 |"]


TRIALS, SHARED, OWN = 3, 0.4, 0.6
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def intervals():
    """The script docs/intervals.py."""
    spec = spec_from_file_location("intervals", ROOT / "docs" / "intervals.py")
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_a_posterior_is_what_its_prior_and_chi_square_make_it(intervals):
    """By a sum over the trials' variance v: prior times likelihood of what the trials' spread was."""
    v = np.geomspace(1e-4, 1e6, 200_001)
    likelihood = v ** (-(TRIALS - 1) / 2) * np.exp(-(TRIALS - 1) * TRIALS * OWN / (2 * v))
    beyond = 2 * norm.sf(1.5 / np.sqrt(SHARED + v / TRIALS))
    for prior, method in (
        (1 / v, partial(intervals.posterior, power=1)),
        (v**-3.0, partial(intervals.posterior, power=3)),
        ((TRIALS * SHARED + v) / v**2, intervals.matching),
    ):
        weight = prior * likelihood * v  # evenly spaced in the logarithm
        found = method(SHARED, OWN, TRIALS)(1.5)
        assert found == pytest.approx(weight @ beyond / weight.sum(), rel=2e-3)


def test_without_a_shared_part_all_are_students_but_the_narrower_posterior(intervals):
    exact = 2 * t.sf(2.0 / np.sqrt(OWN), TRIALS - 1)
    for name, method in intervals.METHODS.items():
        assert method(1e-9, OWN, TRIALS)(2.0) == pytest.approx(exact, rel=5e-3), name
    assert intervals.posterior(1e-9, OWN, TRIALS, 3)(2.0) < exact / 3


def test_limits_of_students_own_kind_of_mean_err_as_they_say(intervals):
    assert intervals.erring(intervals.satterthwaite, 1.0, 3, 0.05) == pytest.approx(0.05, abs=1e-3)
    assert intervals.erring(intervals.quadrature, 0.0, 3, 0.05) == pytest.approx(0.05, abs=1e-3)


def test_the_committed_intervals_are_this_script_s(intervals):
    table = pd.read_csv(ROOT / "docs" / "intervals.csv")
    assert list(table["method"].unique()) == list(intervals.METHODS)
    row = table[(table["method"] == "half widths in quadrature") & (table["trials"] == 5)].iloc[0]
    found = [intervals.erring(intervals.quadrature, share, 5, row["alpha"]) for share in intervals.SHARES[::8]]
    assert row["least"] - 1e-4 <= min(found) < max(found) <= row["most"] + 1e-4
    ours = table[table["method"].str.contains("blend")].set_index(["trials", "alpha"])
    assert ours["most"].max() < 0.053, "limits of 95 % err hardly more often than they say"
