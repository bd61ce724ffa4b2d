"""Members of a matrix side by side."""

import shutil
import sys

import pytest
import torch
from through_dvc import digests, environment, forget, ran

from stages import repro

DREAMBOOTH, _, CLASSIFY = repro.MATRICES

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
sys.exit(FAILS in sys.argv and 255)
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
    assert repro.places(DREAMBOOTH) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    assert repro.places(CLASSIFY) == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "GPU-5f"}]


def test_on_a_cpu_there_is_a_place_on_each_core_for_what_uses_one(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(repro, "cores", lambda: 4)
    assert repro.places(CLASSIFY) == [{}] * 4
    assert repro.places(DREAMBOOTH) == [{}]


def test_members_are_shared_out_and_run_at_once(slow, tmp_path):
    assert slow() == 0
    first, second = (["classify@0", "classify@2", "classify@4"], ["classify@1", "classify@3"])
    assert told(tmp_path) == [["0", "repro", "--single-item", *first], ["3", "repro", "--single-item", *second]]


def test_what_fails_fails_the_whole_and_the_others_end_first(slow, tmp_path):
    assert slow("classify@3") == 255
    assert len(told(tmp_path)) == 2


def test_with_one_place_dvc_does_it_alone(gpus, monkeypatch, tmp_path):
    gpus(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repro, "DVC", [sys.executable, "-c", SLOW.replace("FAILS", "None")])
    assert repro.main() == 0
    assert told(tmp_path) == [["-", "repro"]]


@pytest.mark.slow
def test_classifiers_side_by_side_are_those_that_dvc_trains_one_after_the_other(study, monkeypatch, capfd):
    before = digests(study)
    forget("classify", study)
    shutil.rmtree(study / "results/classify")
    monkeypatch.chdir(study)
    for name, value in environment(study).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(repro, "cores", lambda: 2)
    assert repro.main() == 0
    trained = [stage for stage in ran(capfd.readouterr().out) if stage.startswith("classify@")]
    assert len(trained) == len(list((study / "results/classify").iterdir()))
    assert digests(study) == before
