"""What a pull request changes: answers, metrics, params, plots of two commits, in a clone without cache or remote."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUMMARY = Path(__file__).parent.parent / ".ci" / "summary.py"
PIPELINE = """\
stages:
  measure:
    cmd: python measure.py
    params: [measure]
    outs:
      - cached
      - metrics/measure: {cache: false}
metrics:
  - metrics/measure/headline.json
plots:
  - roc:
      x: fpr
      y: {metrics/measure/roc.csv: tpr}
  - losses:
      x: step
      y: {cached/losses.csv: loss}
  - metrics/measure/picture.png
"""
FILES = {
    "dvc.yaml": PIPELINE,
    "params.yaml": "measure:\n  rate: 1\n",
    "metrics/measure/headline.json": '{"ap": 0.5}',
    "metrics/measure/roc.csv": "fpr,tpr\n0,0.1\n1,1\n",
    "metrics/measure/table.csv": "a\n1\n",
    "metrics/compare/answer.json": '{"sentence": "It improves."}',
    ".gitignore": "/cached\n",
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository of one study, whose branch ``change`` can be committed to."""
    identity = {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    for key, value in {**identity, "DVC_NO_ANALYTICS": "1", "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(key, value)
    root = tmp_path / "clone"
    write(root, FILES)
    for command in (["git", "init", "-q", "-b", "main"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True)
    commit(root)
    subprocess.run(["git", "checkout", "-q", "-b", "change"], cwd=root, check=True)
    return root


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def commit(root):
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    subprocess.run(["git", "commit", "-qm", "step", "--allow-empty"], cwd=root, check=True)


def revision(root, name):
    return subprocess.run(
        ["git", "rev-parse", name], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def summary(root):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, str(SUMMARY), "main", "change", "pages"]
    return subprocess.run(
        command, cwd=root, check=True, capture_output=True, text=True, env=os.environ | {"PATH": path}
    ).stdout


def test_what_changed_is_told_and_what_only_the_cache_would_hold_is_no_obstacle(clone):
    write(
        clone,
        {
            "params.yaml": "measure:\n  rate: 2\n",
            "metrics/measure/headline.json": '{"ap": 0.75}',
            "metrics/compare/answer.json": '{"sentence": "It is worse."}',
            "profiles/arms/metrics/compare/answer.json": '{"sentence": "It can not be told."}',
            "metrics/measure/roc.csv": "fpr,tpr\n0,0.2\n1,1\n",
        },
    )
    commit(clone)
    said = summary(clone)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in said.splitlines() if line[:1] == "|"]
    assert ["metrics/measure/headline.json", "ap", "0.5", "0.75", "0.25"] in rows
    assert ["params.yaml", "measure.rate", "1", "2"] in rows
    assert "**metrics**\n\n- before: It improves.\n- after: It is worse.\n\n**profiles" in said
    assert "**profiles/arms/metrics**\n\n- before: none\n- after: It can not be told.\n" in said
    assert "Changed: roc." in said
    assert "- metrics/measure/roc.csv" in said
    assert "table.csv" not in said
    page = (clone / "pages" / "index.html").read_text()
    assert f'"rev": "{revision(clone, "main")}"' in page
    assert '"rev": "change"' in page


def test_what_the_base_has_changed_since_is_not_told(clone):
    write(clone, {"metrics/measure/roc.csv": "fpr,tpr\n0,0.2\n1,1\n"})
    commit(clone)
    subprocess.run(["git", "checkout", "-q", "main"], cwd=clone, check=True)
    write(clone, {"metrics/measure/headline.json": '{"ap": 0.9}', "params.yaml": "measure:\n  rate: 3\n"})
    commit(clone)
    said = summary(clone)
    assert said.startswith("# main → change")
    assert "- metrics/measure/roc.csv" in said
    assert "headline.json" not in said
    assert "measure.rate" not in said


def test_no_change_is_said_and_draws_nothing(clone):
    commit(clone)
    said = summary(clone)
    assert said.count("No change.") == 5
    assert not (clone / "pages").exists()
