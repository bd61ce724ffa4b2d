"""A study's models on two machines that share a remote, as docs/machines.md has it."""

import re
import shutil
import subprocess

import prepared
import pytest
from ruamel.yaml import YAML
from through_dvc import ROOT, clone, digests, dvc, environment, forget, ran

from stages.cli import run
from stages.dreambooth import dreambooth
from stages.synthesize import synthesize

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "machines.md").read_text()


def shell(command, folder):
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def worker_s(number, of, stage):
    """The page's commands of a worker, for one of as many as there are here, and for that ``stage``."""
    (lines,) = re.findall(r"Each worker.*?:\n\n(.*?)\n\n", PAGE, re.DOTALL)
    assert lines.count("NR % 4 == 1") == 1
    assert lines.count("classify") == 1
    lines = lines.replace("NR % 4 == 1", f"NR % {of} == {number}").replace("classify", stage)
    return [line.strip() for line in lines.splitlines()]


def trained_by_workers(stage, profile, folder):
    """Which members each of two workers runs, in a clone of the commit that is the head's."""
    trained = []
    for number in (0, 1):
        worker = folder / f"{stage}{number}"
        subprocess.run(["git", "clone", "-q", profile.parents[1], worker], check=True)
        there = worker / profile.relative_to(profile.parents[1])
        trained.append(ran("".join(shell(command, there) for command in worker_s(number, 2, stage))))
    members = dvc(f"stage list --name-only {stage}", profile).split()
    assert sorted(trained[0] + trained[1]) == sorted(members)
    assert all(trained), "either has its share"


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
    trained_by_workers("classify", profile, tmp_path)
    again = {stage.split("@")[0] for stage in ran(dvc("repro --pull", profile))}
    assert {"validate", "compare"} <= again
    assert "classify" not in again
    assert digests(profile) == before


@pytest.fixture
def untaught(base, tmp_path):
    """A profile of what a tiny study's fine-tuning and synthesis read, and of those two stages; committed."""
    profile = clone(tmp_path / "head").with_name("tiny")
    prepared.write(profile, base)
    yaml = YAML(typ="safe")
    stages = yaml.load(ROOT / "profiles/smoke/dvc.yaml")["stages"]
    yaml.dump({"stages": {name: stages[name] for name in ("code", "dreambooth", "synthesize")}}, profile / "dvc.yaml")
    dvc(f"remote add --default shared {tmp_path / 'remote'}", profile)
    shell("git add --force . ../../.dvc/config", profile)
    dvc("repro code", profile)
    dvc("push dvc.yaml", profile)
    shell("git add --force dvc.lock && git commit -qm head", profile)
    return profile


@pytest.fixture
def alone(untaught, tmp_path, monkeypatch):
    """What one machine makes in the same profile."""
    profile = shutil.copytree(untaught, tmp_path / "alone")
    monkeypatch.chdir(profile)
    tables = "--manifest data/manifest.csv --boxes data/boxes.csv --metadata data/metadata.csv --splits data/splits"
    for trial in prepared.TRIALS:
        key = f"{prepared.SHOTS}-{trial}"
        what = f"params.yaml --shots {prepared.SHOTS} --trial {trial} {tables}"
        what += " --checksums data/images.sha256 --pipeline models/base"
        taught = f"--votes data/votes.csv --out models/dreambooth/{key} --log results/dreambooth/{key}"
        run(dreambooth, f"{what} {taught}".split())
        drawn = f"--drawn data/synthetic_images/{key} --out data/synthetic/{key} --log results/synthesize/{key}"
        run(synthesize, f"{what} --models models/dreambooth/{key} {drawn}".split())
    return digests(profile)


def test_two_workers_teach_and_draw_what_the_head_then_only_takes(untaught, alone, tmp_path):
    trained_by_workers("dreambooth", untaught, tmp_path)
    assert ran(dvc("repro --pull dreambooth", untaught)) == []
    dvc("push dvc.yaml", untaught)
    shell("git add --force dvc.lock && git commit -qm head", untaught)
    trained_by_workers("synthesize", untaught, tmp_path)
    assert ran(dvc("repro --pull", untaught)) == []
    assert digests(untaught) == alone
