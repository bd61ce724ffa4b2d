"""Stages side by side."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from through_dvc import ROOT, digests, dvc, environment, forget, ran

from stages import repro

# Instead of DVC: says when it begins and ends or fails, and where; between that it waits for what it AWAITS to be said.
SLOW = """
import os, sys, time
stage = sys.argv[-1]
def say(what):
    with open("log", "a") as log:
        print(what, stage, file=log)
say("begin")
open("place-" + stage, "w").write(os.environ.get("CUDA_VISIBLE_DEVICES", "-"))
until = time.monotonic() + 30
while AWAITS.get(stage, "begin " + stage) not in open("log").read().splitlines():
    time.sleep(0.01)
    if time.monotonic() > until:
        sys.exit("no other said it")
if stage == FAILS:
    say("fail")
    sys.exit(255)
time.sleep(0.5)
say("end")
"""

# As the study's: what the members of a matrix wait for, a matrix, what else waits for nothing, and what waits for both.
PIPELINE = """
stages:
  first: {cmd: "echo first >> ran; echo 1 > a", deps: [source], outs: [a]}
  many:
    matrix: {k: [0, 1]}
    cmd: "test ! -e broken && echo many@${item.k} >> ran && cp a b${item.k}"
    deps: [a]
    outs: ["b${item.k}"]
  other: {cmd: "echo other >> ran; cp source c", deps: [source], outs: [c]}
  last: {cmd: "echo last >> ran; cat b0 b1 c > d", deps: [b0, b1, c], outs: [d]}
"""


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


LATER = 2**32  # a time after all others


def checked(folder):
    """Have the params in ``folder`` pass for those that were held against the stages: these are no study's."""
    (folder / repro.CHECKED).parent.mkdir(exist_ok=True)
    (folder / repro.CHECKED).touch()
    os.utime(folder / repro.CHECKED, (LATER, LATER))


@pytest.fixture
def slow(monkeypatch, tmp_path):
    """``slow(fails, a=line)``: a ``dvc`` that fails at stage ``fails``; stage ``a`` goes on once ``line`` is said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("launch: python -m\n")
    (tmp_path / "dvc.yaml").touch()
    checked(tmp_path)

    def instead(fails=None, **awaits):
        stub = SLOW.replace("FAILS", repr(fails)).replace("AWAITS", repr(awaits))
        monkeypatch.setattr(repro, "DVC", [sys.executable, "-c", stub])

    return instead


@pytest.fixture
def project(monkeypatch, tmp_path, gpus):
    """A pipeline that DVC runs on two cores; ``project()`` tells what it has run, in order."""
    gpus(0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repro, "cores", lambda: 2)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for name, text in {"dvc.yaml": PIPELINE, "params.yaml": "launch: python -m", "source": "0"}.items():
        (tmp_path / name).write_text(text + "\n")
    dvc("init --no-scm --quiet", tmp_path)
    checked(tmp_path)
    return lambda: (tmp_path / "ran").read_text().split()


def said(folder):
    return (folder / "log").read_text().splitlines()


TWO = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "03"]


def test_there_is_a_place_on_each_gpu(gpus, monkeypatch):
    gpus(2)
    assert repro.places() == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    assert repro.places() == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "GPU-5f"}]


def test_on_a_cpu_there_is_a_place_on_each_core(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(repro, "cores", lambda: 4)
    assert repro.places() == [{}] * 4


def test_a_stage_begins_as_soon_as_those_it_waits_for_are_done(slow, tmp_path):
    slow(b="begin c", c="begin b")
    assert repro._side_by_side({"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}, TWO) == 0
    lines = said(tmp_path)
    assert lines[:2] == ["begin a", "end a"]
    assert sorted(lines[2:4]) == ["begin b", "begin c"]
    assert sorted(lines[4:6]) == ["end b", "end c"]
    assert lines[6:] == ["begin d", "end d"]
    assert {(tmp_path / f"place-{stage}").read_text() for stage in "bc"} == {"0", "3"}


@pytest.mark.parametrize("gpu", [False, True])
def test_a_stage_that_uses_all_cores_is_alone_where_there_is_no_gpu(slow, tmp_path, gpu):
    slow(a="begin base" if gpu else "begin a")
    assert repro._side_by_side({"a": set(), "base": set()}, TWO if gpu else [{}, {}]) == 0
    assert sorted(said(tmp_path)[:2]) == (["begin a", "begin base"] if gpu else ["begin a", "end a"])


def test_first_is_what_long_ones_wait_for_then_what_most_wait_for(slow, tmp_path):
    slow()
    graph = {"a": set(), "b": set(), "c": {"b"}, "d": set(), "sensitivity": {"d"}, "audit": set()}
    assert repro._side_by_side(graph, [{}]) == 0
    assert [line for line in said(tmp_path) if line.startswith("begin")] == [
        f"begin {stage}" for stage in ("d", "audit", "sensitivity", "b", "a", "c")
    ]


def test_no_other_takes_a_core_that_the_next_one_needs(slow, tmp_path):
    slow(b="end a")
    graph = {"a": set(), "b": set(), "base": {"a"}, "after": {"base"}, "other": set()}
    assert repro._side_by_side(graph, [{}, {}]) == 0
    lines = said(tmp_path)
    assert lines.index("end b") < lines.index("begin base")
    assert lines.index("end base") < lines.index("begin other")


def test_after_one_that_fails_no_other_begins_and_those_at_work_end(slow, tmp_path):
    slow("a", b="fail a")
    assert repro._side_by_side({"a": set(), "b": set(), "c": set(), "d": {"a"}}, TWO) == 255
    assert sorted(said(tmp_path)) == ["begin a", "begin b", "end b", "fail a"]


def test_after_ctrl_c_no_other_begins_and_those_at_work_end(slow, monkeypatch, tmp_path, capsys):
    slow()
    first_ended, presses = repro._first_ended, [KeyboardInterrupt]

    def pressed(running):
        if presses:
            raise presses.pop()
        return first_ended(running)

    monkeypatch.setattr(repro, "_first_ended", pressed)
    monkeypatch.setattr(repro, "places", lambda: TWO)
    monkeypatch.setattr(repro, "_stale", lambda _: {"a": set(), "b": {"a"}})
    assert repro.main() == 130
    assert said(tmp_path) == ["begin a", "end a"]
    assert capsys.readouterr().err == "stages.repro: stopped; run it again to go on\n"


def test_ctrl_c_is_left_to_the_last_run(monkeypatch):
    class Interrupted:
        waits = 0

        def wait(self):
            self.waits += 1
            if self.waits == 1:
                raise KeyboardInterrupt
            return 255

    run = Interrupted()
    monkeypatch.setattr(repro, "_begin", lambda *_: run)
    assert repro._dvc("repro") == 255
    assert run.waits == 2


def test_stages_on_a_cpu_keep_their_memory_unless_the_user_says_otherwise(gpus, monkeypatch, capfd):
    monkeypatch.setattr(repro, "DVC", [sys.executable, "-c", "import os; print(os.environ.get('GLIBC_TUNABLES'))"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    gpus(1)
    assert repro._dvc("repro") == 0
    assert capfd.readouterr().out == "None\n"
    gpus(0)
    assert repro._dvc("repro") == 0
    assert "glibc.malloc.hugetlb=1" in capfd.readouterr().out.strip().split(":")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    assert repro._dvc("repro") == 0
    assert capfd.readouterr().out == "glibc.malloc.hugetlb=0\n"


@pytest.mark.parametrize(
    ("count", "launch"), [(1, "python -m"), (2, "accelerate launch --multi_gpu -m"), (2, "torchrun -m"), (2, "[")]
)
def test_with_one_place_or_stages_of_several_processes_dvc_does_it_alone(gpus, slow, tmp_path, count, launch):
    gpus(count)
    slow()
    (tmp_path / "params.yaml").write_text(f"launch: {launch}\n")
    assert repro.main(["compare"]) == 0
    assert said(tmp_path) == ["begin compare", "end compare"]


def test_through_dvc_all_runs_once_in_order_and_then_no_more(project, capfd):
    many = {"many@0": {"first"}, "many@1": {"first"}}
    whole = many | {"first": set(), "other": set(), "last": {*many, "other"}}
    assert repro._stale([]) == whole
    assert repro._stale(["many", "other"]) == many | {"first": set(), "other": set()}
    assert repro.main() == 0
    assert repro._stale([]) == {}
    assert sorted(project()) == ["first", "last", "many@0", "many@1", "other"]
    assert project().index("first") < min(project().index(f"many@{k}") for k in (0, 1))
    assert project()[-1] == "last"
    capfd.readouterr()
    assert repro.main() == 0
    assert len(project()) == 5
    assert "up to date" in capfd.readouterr().out


def test_through_dvc_targets_are_run_with_what_they_need(project, tmp_path):
    assert repro.main(["many", "other"]) == 0
    assert sorted(project()) == ["first", "many@0", "many@1", "other"]
    (tmp_path / "b0").unlink()
    assert repro._stale(["many@0"]) == {"many@0": set()}
    assert repro.main(["many@0"]) == 0
    assert (tmp_path / "b0").is_file()
    assert len(project()) == 4, "it is taken from the cache"


def test_through_dvc_nothing_follows_what_fails_and_the_next_run_goes_on(project, tmp_path, capfd):
    (tmp_path / "broken").touch()
    assert repro.main() == 255
    assert set(project()) <= {"first", "other"}
    assert "failed to reproduce 'many@" in capfd.readouterr().err
    (tmp_path / "broken").unlink()
    assert repro.main() == 0
    assert sorted(project()) == ["first", "last", "many@0", "many@1", "other"]


def test_through_dvc_the_second_of_two_runs_waits_and_finds_all_done(project, tmp_path):
    (tmp_path / "dvc.yaml").write_text(PIPELINE.replace('cmd: "', 'cmd: "sleep 1; '))
    where = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command, told = [sys.executable, "-m", "stages.repro"], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    runs = [subprocess.Popen(command, cwd=tmp_path, env=where, text=True, **told) for _ in range(2)]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert ["waiting for it to end" in one for one in said].count(True) == 1
    assert sorted(project()) == ["first", "last", "many@0", "many@1", "other"], "once each"
    assert (tmp_path / "d").read_text() == "1\n1\n0\n"
    assert repro._stale([]) == {}


def test_options_are_refused(project, capsys):
    with pytest.raises(SystemExit, match="2"):
        repro.main(["--force"])
    assert capsys.readouterr().err == "stages.repro: '--force' is no stage; for options use dvc repro\n"


def test_what_dvc_refuses_ends_with_its_code(project, capfd):
    assert repro.main(["nothing"]) == 255
    assert "'nothing' does not exist" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "out"), [("dreambooth", "models"), ("classify", "results")])
def test_members_side_by_side_are_those_that_dvc_makes_one_after_the_other(study, monkeypatch, capfd, stage, out):
    before = digests(study)
    forget(stage, study)
    shutil.rmtree(study / out / stage)
    monkeypatch.chdir(study)
    for name, value in environment(study).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(repro, "cores", lambda: 2)
    begun, side_by_side = [], repro._side_by_side
    monkeypatch.setattr(repro, "_side_by_side", lambda graph, there: begun.extend(graph) or side_by_side(graph, there))
    assert repro.main() == 0
    trained = [member for member in ran(capfd.readouterr().out) if member.startswith(f"{stage}@")]
    assert len(trained) == len(list((study / out / stage).iterdir()))
    assert set(trained) <= set(begun)
    assert digests(study) == before
