"""Members of a matrix side by side."""

import shutil
import sys

import pytest
import torch
from through_dvc import digests, environment, forget, ran

from stages import repro

# Instead of DVC: lists members, and runs one only once as many others run as there are places.
SLOW = """
import os, sys, time
from pathlib import Path
if "list" in sys.argv:
    print(*(f"{sys.argv[-1]}@{k}" for k in range(5)), sep="\\n")
    sys.exit()
Path(f"began-{os.getpid()}").write_text(" ".join([os.environ.get("CUDA_VISIBLE_DEVICES", "-"), *sys.argv[1:]]))
until = time.monotonic() + 30
while "--single-item" in sys.argv and len(list(Path().glob("began-*"))) < 2:
    time.sleep(0.01)
    if time.monotonic() > until:
        sys.exit("no other began")
if FAILS in sys.argv:
    sys.exit(255)
time.sleep(1)
Path(f"ended-{os.getpid()}").touch()
"""


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.fixture
def slow(monkeypatch, tmp_path):
    """``slow(fails)``: runs of a ``dvc`` that fails where it is given the argument ``fails``; what they were told."""
    monkeypatch.chdir(tmp_path)

    def runs(fails="none"):
        monkeypatch.setattr(repro, "DVC", [sys.executable, "-c", SLOW.replace("FAILS", repr(fails))])
        return repro._side_by_side("classify", [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "03"])

    return runs


def told(folder):
    return sorted(file.read_text().split() for file in folder.glob("began-*"))


def test_there_is_a_place_on_each_gpu(gpus, monkeypatch):
    gpus(2)
    assert repro.places() == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    assert repro.places() == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "GPU-5f"}]


def test_on_a_cpu_there_is_a_place_on_each_core(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(repro, "cores", lambda: 4)
    assert repro.places() == [{}] * 4


def test_members_are_shared_out_and_run_at_once(slow, tmp_path):
    assert slow() == 0
    first, second = (["classify@0", "classify@2", "classify@4"], ["classify@1", "classify@3"])
    assert told(tmp_path) == [["0", "repro", "--single-item", *first], ["3", "repro", "--single-item", *second]]


def test_what_fails_fails_the_whole_and_the_others_end_first(slow, tmp_path):
    assert slow("classify@3") == 255
    assert len(list(tmp_path.glob("ended-*"))) == 1


def test_with_one_place_dvc_does_it_alone(gpus, monkeypatch, tmp_path):
    gpus(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repro, "DVC", [sys.executable, "-c", SLOW.replace("FAILS", "None")])
    assert repro.main(["compare"]) == 0
    assert told(tmp_path) == [["-", "repro", "compare"]]


def test_where_what_comes_before_fails_no_member_runs(gpus, monkeypatch, tmp_path):
    gpus(2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repro, "DVC", [sys.executable, "-c", SLOW.replace("FAILS", "'base'")])
    assert repro.main() == 255
    assert told(tmp_path) == [["-", "repro", "base"]]


def test_ctrl_c_is_left_to_the_runs(monkeypatch, tmp_path):
    class Interrupted:
        waits = 0

        def wait(self):
            self.waits += 1
            if self.waits == 1:
                raise KeyboardInterrupt
            return 255

    run = Interrupted()
    assert repro._codes([run]) == 255
    assert run.waits == 2


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
    assert repro.main() == 0
    trained = [member for member in ran(capfd.readouterr().out) if member.startswith(f"{stage}@")]
    assert len(trained) == len(list((study / out / stage).iterdir()))
    assert digests(study) == before
