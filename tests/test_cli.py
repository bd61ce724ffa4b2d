"""A user's mistake is one line on stderr and exit code 2, before anything is done."""

import errno
import re
import shutil
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError

from raremix.runtime.errors import UserError
from stages.attributes import attributes
from stages.cli import _check_code, run, sections
from stages.code import code
from stages.split import split

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Bake:
    minutes: int
    oven: str


# A process of its own, in which no file can grow beyond some kilobytes.
ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from raremix.runtime import checkpoints
from stages.cli import run

def checkpoint(out: Path) -> None:
    checkpoints.SCRATCH = out
    checkpoints.Checkpoint("stage").save(1, model=torch.nn.Linear(300, 300))

def weights(out: Path) -> None:
    save_file({"weight": torch.zeros(100_000)}, out)

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
run({"checkpoint": checkpoint, "weights": weights}[sys.argv[1]], sys.argv[2:])
"""


RAISED = {
    "device": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation"),
    "host": MemoryError(),
    "torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    "system": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "worker": BrokenProcessPool("A process in the process pool was terminated abruptly"),
    "joblib": TerminatedWorkerError("A worker process managed by the executor was unexpectedly terminated."),
    "library": OSError("bread.safetensors: can't be\nread"),
    "bug": KeyError("minutes"),
    "shapes": RuntimeError("shapes differ"),
}


def bake(bake: Bake, out: Path) -> None:
    """Bake.

    Args:
        out: where to.
    """
    if bake.oven == "cold":
        raise UserError("params.yaml, bake.oven: is cold;\n  heat it")
    if bake.oven == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "bread")
    if bake.oven == "left":
        raise KeyboardInterrupt
    if bake.oven in RAISED:
        raise RAISED[bake.oven]
    out.write_text(f"{bake.minutes} {bake.oven}")


# What `python -m stages.NAME` does, with a stage that tells whether garbage is collected.
COLLECTING = """
import gc, sys
argv, sys.argv = sys.argv, ["-m"]
import stages
print("while importing:", gc.isenabled())
sys.argv = argv
from stages.cli import run

def stage() -> None:
    print("while running:", gc.isenabled())

run(stage, sys.argv[1:])
"""


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("bake:\n  minutes: 5\n  oven: hot\n")
    return tmp_path


def fails(capsys, code: int, *flags: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run(bake, ["params.yaml", "--out", "bread", *flags])
    assert stop.value.code == code
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_a_stage_gets_its_section_and_its_paths(kitchen):
    run(bake, ["params.yaml", "--out", "bread"])
    assert (kitchen / "bread").read_text() == "5 hot"
    run(bake, ["params.yaml", "--out", "bread", "--bake.minutes", "9"])
    assert (kitchen / "bread").read_text() == "9 hot"
    assert list(sections(bake)) == ["bake"]


def test_garbage_is_collected_while_a_stage_runs_but_not_while_it_is_imported(kitchen):
    told = subprocess.run(
        [sys.executable, "-c", COLLECTING, "params.yaml"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert told.stdout.splitlines() == ["while importing: False", "while running: True"]


def test_a_misspelled_parameter_is_named(kitchen, capsys):
    Path("params.yaml").write_text("bake:\n  minuts: 5\n  oven: hot\n")
    line = fails(capsys, 2)
    assert "'bake'" in line
    assert "'minuts'" in line


def test_a_parameter_of_the_wrong_type_is_named(kitchen, capsys):
    Path("params.yaml").write_text("bake:\n  minutes: ten\n  oven: hot\n")
    line = fails(capsys, 2)
    assert "bake.minutes" in line
    assert "ten" in line


@pytest.mark.parametrize("section", ["3", "hot", "[1]", "null"])
def test_a_section_that_is_no_mapping_is_named(kitchen, capsys, section):
    Path("params.yaml").write_text(f"bake: {section}\nboil: 1\n")
    assert "params.yaml: section 'bake' is no mapping" in fails(capsys, 2)


def test_a_params_file_that_is_not_yaml_is_named_with_its_line(kitchen, capsys):
    Path("params.yaml").write_text("bake:\n  minutes: 5\n  oven: hot: cold\n")
    assert "params.yaml, line 3: not YAML (mapping values are not allowed" in fails(capsys, 2)
    Path("params.yaml").write_text("bake:\n  oven: \x01\n")
    assert "params.yaml: not YAML" in fails(capsys, 2)
    Path("params.yaml").write_bytes(b"bake: \xff")
    assert "params.yaml: not YAML" in fails(capsys, 2)


@pytest.mark.parametrize("args", [[], ["--out", "bread"]])
def test_a_stage_without_a_params_file_asks_for_it(capsys, args):
    with pytest.raises(SystemExit, match="2"):
        run(bake, args)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "give the params file first" in shown.err


@pytest.mark.parametrize("args", [["--help"], ["--out", "bread", "-h"], ["absent.yaml", "--help"]])
def test_help_is_no_error(capsys, args):
    with pytest.raises(SystemExit, match="0"):
        run(bake, args)
    assert "--bake.minutes" in capsys.readouterr().out


def test_a_missing_parameter_a_missing_section_and_a_missing_file_are_named(kitchen, capsys):
    Path("params.yaml").write_text("bake:\n  oven: hot\n")
    assert "minutes" in fails(capsys, 2)
    Path("params.yaml").write_text("boil: 1\n")
    assert "section 'bake' is missing" in fails(capsys, 2)
    Path("params.yaml").unlink()
    assert "no such params file" in fails(capsys, 2)


def test_an_unknown_flag_is_named(kitchen, capsys):
    assert "oout" in fails(capsys, 2, "--oout", "x")


def test_user_errors_a_full_disk_and_ctrl_c_are_one_line(kitchen, capsys):
    assert "is cold; heat it" in fails(capsys, 2, "--bake.oven", "cold")
    assert "No space left on device: bread" in fails(capsys, 2, "--bake.oven", "full")
    assert "run it again to go on" in fails(capsys, 130, "--bake.oven", "left")
    assert not (kitchen / "bread").exists()


@pytest.mark.parametrize("oven", ["device", "host", "torch", "system"])
def test_a_lack_of_memory_is_one_line_that_names_stage_and_section(kitchen, capsys, oven):
    line = fails(capsys, 2, "--bake.oven", oven)
    assert line.startswith(f"{bake.__module__}: no memory left; lower this stage's batch in params.yaml, bake")


@pytest.mark.parametrize("oven", ["worker", "joblib"])
def test_a_worker_that_died_is_one_line(kitchen, capsys, oven):
    assert "a worker process died, most likely for lack of memory" in fails(capsys, 2, "--bake.oven", oven)


def test_what_a_library_can_not_read_is_one_line(kitchen, capsys):
    assert fails(capsys, 2, "--bake.oven", "library").endswith(": bread.safetensors: can't be read\n")


@pytest.mark.parametrize("oven", ["bug", "shapes"])
def test_a_bug_of_ours_keeps_its_traceback(kitchen, oven):
    with pytest.raises(type(RAISED[oven])):
        run(bake, ["params.yaml", "--out", "bread", "--bake.oven", oven])


@pytest.mark.parametrize(("stage", "named"), [("checkpoint", "state.pt"), ("weights", "the disk")])
def test_a_full_disk_inside_a_library_is_one_line(kitchen, stage, named):
    command = [sys.executable, "-c", ON_A_SMALL_DISK, stage, kitchen / "params.yaml", "--out", kitchen / "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert f"{named}; free space" in done.stderr


@pytest.mark.parametrize("tool", ["adopt", "check", "forget", "provenance", "repro", "result", "show"])
def test_help_of_what_is_no_stage_does_nothing_else(tool, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{tool}", "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m stages.{tool}" in done.stdout
    assert not list(tmp_path.iterdir())


def test_help_explains_a_stage_without_a_params_file():
    done = subprocess.run([sys.executable, "-m", "stages.split", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert "Divide patients into parts" in done.stdout
    assert "--split.validation" in done.stdout


def test_an_unknown_finding_in_params_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("[nodule_mass, pneumothorax]", "[nodule_mass, hiccups]"))
    columns = "image_id,file,patient_id,visit,official_part,reader_trio"
    task = "cardiomegaly,pleural_effusion,nodule_mass,pneumothorax"
    Path("manifest.csv").write_text(f"{columns},{task}\na,a.png,p,0,train,,0,0,0,1\n")
    Path("votes.csv").write_text(f"image_id,{task}\na,0,0,0,1\n")
    with pytest.raises(SystemExit, match="2"):
        run(split, "params.yaml --manifest manifest.csv --votes votes.csv --out o --metrics m".split())
    assert "unknown finding 'hiccups'" in capsys.readouterr().err
    assert not Path("o").exists()


def test_a_stage_whose_code_is_not_that_of_its_list_is_refused(tmp_path, monkeypatch, capsys):
    """DVC would record what it makes as made by the code of the list; who runs it by hand may."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "attributes")  # as DVC tells those that it runs
    (tmp_path / "params.yaml").write_text("{}")
    for _ in range(2):  # the stage that writes the lists is not held against its own
        run(code, "params.yaml --out results/code".split())
    listed = tmp_path / "results/code/attributes.txt"
    _check_code("stages.attributes")
    right = listed.read_text()
    for wrong in (right.replace(right[:64], "0" * 64), right.replace("raremix/__init__.py", "raremix/gone.py")):
        listed.write_text(wrong)
        with pytest.raises(SystemExit, match="2"):
            run(attributes, ["params.yaml"])
        said = capsys.readouterr().err
        assert re.fullmatch(r"stages\.attributes: raremix/\w+\.py has changed since .*; run `dvc repro`, .*\n", said)
    monkeypatch.delenv("DVC_STAGE")
    with pytest.raises(SystemExit, match="0"):
        run(attributes, ["--help"])
    assert "usage: python -m stages.attributes" in capsys.readouterr().out
