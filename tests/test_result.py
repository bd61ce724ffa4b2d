import errno
import io
import itertools
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from finished import RUN, write
from rich.console import Console

from raremix.evaluation.made import made
from raremix.evaluation.result import OTHERS, check_blocks, print_result, results
from raremix.runtime.errors import UserError
from stages.result import main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def profile(tmp_path, monkeypatch):
    write(tmp_path / "metrics")
    (tmp_path / "README.md").write_text("# Title\n<!-- results -->\nformer block\n<!-- /results -->\nafter\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(profile):
    console = Console(file=io.StringIO(), width=80)  # what rich takes where there is no terminal
    print_result(profile / "metrics", console)
    return console.file.getvalue()


def text_of(profile):
    return "\n".join(results(profile / "metrics"))


def git(*arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_the_table_shows_every_arm_the_answer_and_where_to_go(profile):
    text = printed(profile)
    assert "0.340 ± 0.010" in text
    assert "0.740 ± 0.020" in text
    assert "dreambooth_mix improves on vanilla." in text
    assert "comparison.csv" in text.replace("\n", "")
    assert "no committed figures" in text


def test_committed_figures_stand_beside_the_new_ones(profile):
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    write(profile / "metrics", {"vanilla": 0.11, "dreambooth_mix": 0.44, "new_arm": 0.2})
    text = printed(profile)
    lines = [line.split() for line in text.splitlines()]
    below = {words[0]: beside for words, beside in itertools.pairwise(lines) if "±" in words}
    assert "0.440 ± 0.010" in text
    assert below["dreambooth_mix"] == ["(0.340)", "(0.340)", "(0.740)", "(0.740)"]
    assert below["vanilla"] == ["(0.210)", "(0.210)", "(0.610)", "(0.610)"]
    assert "new_arm" in below
    assert not any("(" in word for word in below["new_arm"])
    assert "no committed figures" not in text


def test_the_readme_gets_table_and_answer_and_the_rest_stays(profile):
    assert main(["--pages", "README.md"]) == 0
    text = (profile / "README.md").read_text()
    assert text.startswith("# Title\n<!-- results -->\n")
    assert text.endswith("<!-- /results -->\nafter\n")
    assert "**dreambooth_mix improves on vanilla.**" in text
    row = "| dreambooth_mix | 0.340 ± 0.010 | 0.340 ± 0.010 | 0.740 ± 0.020 | 0.740 ± 0.020 |"
    assert row in text.splitlines()
    assert "former block" not in text
    assert "exploratory" in text


def test_check_passes_only_while_the_block_is_what_the_metrics_say(profile, capsys):
    assert main(["--pages", "README.md", "--check"]) == 2
    assert "run: python -m stages.result --pages README.md" in capsys.readouterr().err
    main(["--pages", "README.md"])
    assert main(["--pages", "README.md", "--check"]) == 0
    write(profile / "metrics", {"vanilla": 0.21, "dreambooth_mix": 0.35})
    assert main(["--pages", "README.md", "--check"]) == 2


def test_stale_figures_are_called_stale(profile):
    assert "stale" not in text_of(profile)
    (profile / "metrics" / "STALE.md").write_text("New sampler since\nabc1234.\n")
    assert "> **These figures are stale**: the code is ahead of the last run. New sampler since abc1234." in text_of(
        profile
    )
    assert "STALE.md" in printed(profile).replace("\n", ""), "lines end where the screen does"


@pytest.mark.parametrize("text", ["no markers\n", "<!-- /results -->\n<!-- results -->\n"])
def test_a_readme_without_markers_is_left_alone(profile, capsys, text):
    (profile / "README.md").write_text(text)
    assert main(["--pages", "README.md"]) == 2
    assert "add both where" in capsys.readouterr().err
    assert (profile / "README.md").read_text() == text


def test_before_compare_has_run_the_next_step_is_named(profile, capsys):
    (profile / "metrics" / "compare" / "answer.json").unlink()
    assert main([]) == 2
    assert "run: dvc repro compare" in capsys.readouterr().err


def test_an_undefined_figure_is_a_dash(profile):
    path = profile / "metrics" / "compare" / "summary.json"
    summary = json.loads(path.read_text())
    summary["10"]["vanilla"]["minority"]["ap"] = {"mean": None, "sd": None, "n": 0}
    path.write_text(json.dumps(summary))
    assert "| vanilla | – | 0.210" in text_of(profile)  # noqa: RUF001


def audited(profile):
    """The audit's metrics, and a page with a block for them."""
    folder = profile / "metrics" / "audit"
    folder.mkdir()
    (folder / "judge.csv").write_text(
        "finding,real,reconstructed,psnr,ssim\nnodule_mass,0.9,0.85,38.12,0.98\nall,0.9,0.8,39,1\n"
    )
    drawn = "finding,shots,trial,images,auroc,others,real,share\n"
    drawn += "nodule_mass,10,0,5,0.7,0.5,0.9,0.78\nnodule_mass,10,1,5,0.8,0.6,0.9,0.88\n"
    (folder / "findings.csv").write_text(drawn)
    (folder / "probe.csv").write_text("finding,shots,trial,positives,negatives\nnodule_mass,10,0,0.9,\n")
    (folder / "attributes.csv").write_text("attribute,scope,real,sampled\nexposure_index,all,0.8,-0.25\n")
    (profile / "study.md").write_text("before\n<!-- audit -->\n<!-- /audit -->\nafter\n")


def test_the_audits_are_tables_of_means_and_ranges(profile):
    audited(profile)
    assert main(["--pages", "README.md", "study.md"]) == 0
    text = (profile / "study.md").read_text()
    assert text.startswith("before\n<!-- audit -->\n")
    assert text.endswith("<!-- /audit -->\nafter\n")
    assert "| nodule_mass | 0.900 | 0.850 | 38.1 | 0.980 | 0.750 (0.700 to 0.800) | 0.83 | 0.55 | 0.90 | nan |" in text
    assert "| all | 0.900 | 0.800 | 39.0 | 1.000 |  |  |  |  |  |\n" in text
    assert "| exposure_index | all | 0.80 | -0.25 |" in text
    assert main(["--pages", "README.md", "study.md", "--check"]) == 0


def diagnosed(profile):
    """The diagnosis's metrics, and a page with a block for them."""
    figures = {"spearman": 0.71, "low": 0.6, "high": 0.8, "null": 0.3, "attributes": 5, "edits": 0.4, "images": 0.75}
    none = dict.fromkeys(["spearman", "low", "high", "null"])
    summary = {
        "classifier": "arm-10-0",
        "agreement": {"coarse": none | {"attributes": 0}, "hyperplane": figures, "implicit": figures},
        "selectivity": {"hyperplane": {"attributes": 5, "mean": 11.0, "median": 9.0, "least": 3.0}},
        "realism": {"hyperplane": {"unedited": 0.6, "edited": 0.62}},
        "planted": {"biased": {"hyperplane": 1, "true": 1}, "fair": {"hyperplane": 7, "true": 9}},
    }
    table = (
        "attribute,finding,method,effect,arrived\n"
        "exposure,nodule_mass,hyperplane,-0.05,1\nexposure,nodule_mass,implicit,-0.04,1\n"
        "exposure,nodule_mass,true,-0.06,1\n"
        "male,nodule_mass,hyperplane,0.01,1\n"
        "tube,nodule_mass,hyperplane,0.90,0\ntube,nodule_mass,true,0.02,1\n"
        "wide_body,nodule_mass,coarse,0.5,1\n"
    )
    (profile / "metrics" / "sensitivity").mkdir()
    (profile / "metrics" / "sensitivity" / "summary.json").write_text(json.dumps(summary))
    (profile / "metrics" / "sensitivity" / "sensitivity.csv").write_text(table)
    (profile / "page.md").write_text("<!-- diagnosis -->\n<!-- /diagnosis -->\n")


def test_the_diagnosis_block_ranks_what_arrived_and_says_what_was_planted(profile):
    diagnosed(profile)
    assert main(["--pages", "page.md"]) == 0
    text = (profile / "page.md").read_text()
    assert "| coarse | 0 |  |  |  |  |  |  |" in text
    assert "| hyperplane | 5 | 0.71 [0.60, 0.80] | 0.30 | 0.40 | 0.75 | 11.00 (3.00) | 0.60 → 0.62 |" in text
    assert text.index("| exposure | nodule_mass | -0.050 | -0.040 | -0.060 |") < text.index(
        "| male | nodule_mass | +0.010 |  |  |"
    )
    assert "tube" not in text, "what did not arrive is not ranked"
    assert "| biased | 1 | 1 |" in text
    assert "| fair | 7 | 9 |" in text


HALVES = [
    *((audited, "study.md", f"audit/{name}.csv") for name in ("judge", "findings", "probe", "attributes")),
    *((diagnosed, "page.md", f"sensitivity/{name}") for name in ("summary.json", "sensitivity.csv")),
    *((lambda profile: None, "README.md", f"compare/{name}.json") for name in ("summary", "answer")),
]


@pytest.mark.parametrize("left", [None, 0.0, 0.6])
@pytest.mark.parametrize(("make", "page", "name"), HALVES)
def test_metrics_that_are_not_whole_are_one_line_and_the_page_stays(profile, capsys, make, page, name, left):
    make(profile)
    file, before = profile / "metrics" / name, (profile / page).read_text()
    content = file.read_bytes()
    file.unlink()
    if left is not None:
        file.write_bytes(content[: int(len(content) * left)])
    assert main(["--pages", page]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"stages.result: metrics/{name}: ")
    assert told.count("\n") == 1
    assert (profile / page).read_text() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_page_that_can_not_be_written_is_one_line(profile, capsys):
    profile.chmod(0o555)
    try:
        assert main(["--pages", "README.md"]) == 2
    finally:
        profile.chmod(0o755)
    assert "Permission denied" in capsys.readouterr().err


def test_a_page_that_is_half_written_stays_as_it_was(profile, monkeypatch, capsys):
    before = (profile / "README.md").read_text()

    def half(path, text, **_):
        path.write_bytes(text[:20].encode())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", half)
        assert main(["--pages", "README.md"]) == 2
    assert "No space left on device: README.md" in capsys.readouterr().err
    assert (profile / "README.md").read_text() == before
    assert sorted(path.name for path in profile.iterdir()) == ["README.md", "metrics"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_profile_s_results_stand_in_the_roots_pages_once_it_has_run(profile, name):
    page = profile / "study.md"
    page.write_text(f"<!-- {name} -->\nformer\n<!-- /{name} -->\n")
    assert main(["--pages", "study.md"]) == 0
    assert page.read_text() == f"<!-- {name} -->\n<!-- /{name} -->\n"
    other = profile / "profiles" / name / "metrics"
    write(other, {"vanilla": 0.11, "shuffled": 0.09})
    assert main(["--pages", "study.md"]) == 0
    assert "| shuffled | 0.090 ± 0.010 |" in page.read_text()
    made = f"(profiles/{name}, run 2026-11-22 at commit 0123456; its params are not kept)"
    assert made in page.read_text().splitlines()
    page.write_text(f"<!-- {name}-answer -->\n<!-- /{name}-answer -->\n")
    assert main(["--pages", "study.md"]) == 0
    sentence = json.loads((other / "compare" / "answer.json").read_text())["sentence"]
    assert page.read_text() == f"<!-- {name}-answer -->\n{sentence}\n\n{made}\n<!-- /{name}-answer -->\n"
    (other / "provenance.json").unlink()
    with pytest.raises(UserError, match=r"provenance.json: no such file; in the profile's folder run"):
        check_blocks(page, profile / "metrics")


def test_a_profile_s_line_names_the_params_that_were_others(tmp_path):
    params = {"base": {"steps": 1, "rates": {"low": 1}}, "study": {"trials": [0]}, "launch": "python -m"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"sift": {"kept": 0.5}, "data": {"root": "here"}}))
    (tmp_path / "metrics").mkdir()

    def told(**then):
        (tmp_path / "metrics" / "provenance.json").write_text(json.dumps(RUN | {"params": params | then}))
        return made(tmp_path / "metrics").removeprefix(f"(profiles/{tmp_path.name}, run 2026-11-22 at commit 0123456")

    assert told() == "; of other params than now: sift.kept)"
    assert told(sift={"kept": 0.5}, launch="accelerate launch -m") == ")"
    then = params | {"sift": {"kept": 0.5}, "dreambooth": {"training": {"optimizer": "adafactor"}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(then))
    assert told(sift={"kept": 0.5}) == "; of other params than now: dreambooth.training)"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(then | {"dreambooth": {"training": {"optimizer": "adamw"}}}))
    assert told(sift={"kept": 0.5}) == ")", "it came later, and says what was so before"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"sift": {"kept": 0.5}}))
    older = {"base": {"steps": 1, "rates": {"low": 2}}, "study": {"trials": [0], "arms": ["vanilla"]}}
    assert told(sift={"kept": 0.5}, **older) == "; of other params than now: base.rates, study.arms)"
