"""A profile that starts from what the root has made: stages of a small pipeline, through DVC."""

import os
import shutil
import subprocess
import sys

import pytest

from stages.adopt import main

PIPELINE = """
stages:
  code:
    cmd: head -n 1 {up}code.txt > list.txt
    deps: [{up}code.txt]
    outs: [list.txt]
  draw:
    cmd: mkdir -p counts && echo drawn > drawn.txt && echo 1 > counts/n.txt
    deps: [list.txt]
    params: [draw]
    outs: [drawn.txt, counts: {{cache: false}}]
  learn:
    matrix:
      trial: ${{trials}}
    cmd: mkdir -p learnt && echo ${{item.trial}} > learnt/${{item.trial}}.txt
    deps: [list.txt, drawn.txt]
    outs: ["learnt/${{item.trial}}.txt"]
"""


def dvc(arguments, folder):
    command = [sys.executable, "-m", "dvc", *arguments.split()]
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage"))


def place(folder, up, params):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").write_text(PIPELINE.format(up=up))
    (folder / "params.yaml").write_text(params)


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """The folder of a profile with a trial more than the root, where the root has run."""
    (tmp_path / "code.txt").write_text("code\n")
    place(tmp_path, "", "draw: 1\ntrials: [0, 1]\n")
    place(tmp_path / "profiles" / "more", "../../", "draw: 1\ntrials: [0, 1, 2]\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    dvc("init -q", tmp_path)
    assert dvc("repro", tmp_path) == ["code", "draw", "learn@0", "learn@1"]
    monkeypatch.chdir(tmp_path / "profiles" / "more")
    return tmp_path / "profiles" / "more"


def test_only_what_the_root_lacks_is_made(profile, capsys):
    assert main(["../.."]) == 0
    assert capsys.readouterr().out.startswith("4 stages of ../.. taken over")
    assert (profile / "drawn.txt").read_text() == "drawn\n"
    assert (profile / "counts" / "n.txt").is_file(), "what is not cached is copied"
    assert dvc("repro", profile) == ["learn@2"]


def test_what_differs_here_is_made_anew(profile):
    (profile / "params.yaml").write_text("draw: 2\ntrials: [0]\n")
    assert main(["../.."]) == 0
    assert dvc("repro", profile) == ["draw"], "and what it made is what the root's classifiers learned from"


def test_changed_code_makes_everything_anew(profile):
    (profile.parents[1] / "code.txt").write_text("other code")
    assert main(["../.."]) == 0
    assert dvc("repro", profile) == ["code", "draw", "learn@0", "learn@1", "learn@2"]


def test_where_the_list_of_code_stays_what_it_stands_for_is_not_made_anew(profile):
    (profile.parents[1] / "code.txt").write_text("code\n# a comment\n")
    assert main(["../.."]) == 0
    assert dvc("repro", profile) == ["code", "learn@2"]


def test_what_the_profile_has_made_is_its_own(profile, capsys):
    dvc("repro draw", profile)
    lock = (profile / "dvc.lock").read_text()
    assert main(["../.."]) == 0
    assert capsys.readouterr().out.startswith("2 stages of ../.. taken over")
    assert "learn@1" in (profile / "dvc.lock").read_text()
    assert lock.partition("draw:")[2] in (profile / "dvc.lock").read_text()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("whose", ["../..", "."])
def test_a_lock_that_is_not_whole_is_one_line_and_nothing_is_taken_over(profile, capsys, share, whose):
    shutil.copy(profile.parents[1] / "dvc.lock", profile / "dvc.lock")
    lock = profile / whose / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[: int(share * lock.stat().st_size)].rstrip())
    before = (profile / "dvc.lock").read_bytes()
    assert main(["../.."]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"stages.adopt: {'../../' if whose != '.' else ''}dvc.lock: no whole dvc.lock")
    assert told.count("\n") == 1
    assert (profile / "dvc.lock").read_bytes() == before
    assert not (profile / "drawn.txt").exists()


def test_a_folder_outside_of_dvc_is_one_line(profile, capsys, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main([str(profile.parents[1])]) == 2
    told = capsys.readouterr().err
    assert "not inside of a DVC repository" in told
    assert told.count("\n") == 1


def test_a_folder_that_has_made_nothing_is_named(profile, capsys):
    assert main(["../smoke"]) == 2
    assert "../smoke/dvc.lock: no such file; run `dvc repro` there" in capsys.readouterr().err
    assert not (profile / "dvc.lock").exists()
