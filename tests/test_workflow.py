"""What .github/workflows/checks.yml runs for a pull request, and that it is there to be run."""

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())
JOBS = WORKFLOW["jobs"]


def commands(job):
    """The words of each command; what GitHub fills in is one of them."""
    runs = [step["run"] for step in JOBS[job]["steps"] if "run" in step]
    return [shlex.split(re.sub(r"\$\{\{ *(.*?) *\}\}", r"\1", run)) for run in runs]


def test_pull_requests_and_main_are_checked():
    started = WORKFLOW[True]  # YAML 1.1 reads "on" so
    assert "pull_request" in started
    assert started["push"]["branches"] == ["main"]


def test_a_job_runs_all_checks_whatever_started_it():
    assert [".ci/run"] in commands("tests")
    assert "if" not in JOBS["tests"]


def test_a_pull_request_is_summed_up_between_its_own_commits():
    assert JOBS["changes"]["if"] == "github.event_name == 'pull_request'"
    (command,) = (words for words in commands("changes") if ".ci/summary.py" in words)
    commits = [f"github.event.pull_request.{end}.sha" for end in ("base", "head")]
    assert command == ["python", ".ci/summary.py", *commits, "plots", ">>", "$GITHUB_STEP_SUMMARY"]
    (kept,) = (step["with"] for step in JOBS["changes"]["steps"] if "upload-artifact" in step.get("uses", ""))
    assert kept["path"] == "plots"


@pytest.mark.parametrize("job", JOBS)
def test_every_file_that_a_job_names_is_there(job):
    words = [word.strip("$()") for command in commands(job) for word in command]
    named = [word for word in words if "/" in word or word.endswith((".py", ".lock"))]
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("job", JOBS)
def test_what_a_job_starts_by_its_path_may_be_run(job):
    programs = [command[0] for command in commands(job) if "/" in command[0]]
    assert all(os.access(ROOT / program, os.X_OK) for program in programs)
