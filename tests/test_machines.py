"""The classifiers of a study on two machines that share a remote, as docs/machines.md has it."""

import re
import shutil
import subprocess

import pytest
from through_dvc import ROOT, digests, dvc, environment, forget, ran

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "machines.md").read_text()


def shell(command, folder):
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def worker_s(number, of):
    """The page's commands of a worker, for one of as many as there are here."""
    (lines,) = re.findall(r"Each worker.*?:\n\n(.*?)\n\n", PAGE, re.DOTALL)
    assert lines.count("NR % 4 == 1") == 1
    return [line.strip() for line in lines.replace("NR % 4 == 1", f"NR % {of} == {number}").splitlines()]


@pytest.fixture
def head(study, tmp_path):
    """A copy of the finished profile whose classifiers have not run; all else is pushed and committed."""
    before = digests(study)
    repository = tmp_path / "head"
    shutil.copytree(study.parents[1], repository, symlinks=True)
    profile = repository / "profiles" / "smoke"
    for stage in ("classify", "validate", "compare"):
        forget(stage, profile)
    shutil.rmtree(profile / "results" / "classify")
    dvc(f"remote add --default shared {tmp_path / 'remote'}", profile)
    dvc("push dvc.yaml", profile)
    shutil.rmtree(repository / ".dvc/cache/files")  # what comes back comes over the remote
    shell("git add --all && git add --force dvc.lock metrics && git commit -qm head", profile)
    return profile, before


def test_two_workers_train_what_the_head_then_only_compares(head, tmp_path):
    profile, before = head
    trained = []
    for number in (0, 1):
        clone = tmp_path / f"worker{number}"
        subprocess.run(["git", "clone", "-q", profile.parents[1], clone], check=True)
        there = clone / "profiles" / "smoke"
        trained.append(ran("".join(shell(command, there) for command in worker_s(number, of=2))))
    members = dvc("stage list --name-only classify", profile).split()
    assert sorted(trained[0] + trained[1]) == sorted(members)
    assert all(trained), "either has its share"
    again = {stage.split("@")[0] for stage in ran(dvc("repro --pull", profile))}
    assert {"validate", "compare"} <= again
    assert "classify" not in again
    assert digests(profile) == before
