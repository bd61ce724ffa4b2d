"""dvc.yaml says what the code does: the same sections, the same source files, the same pipeline in every profile."""

import ast
import fnmatch
import importlib
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from raremix.runtime.sources import PACKAGES, entry_points, sources
from stages.cli import sections
from stages.repro import ALL_CORES

ROOT = Path(__file__).parent.parent
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PROFILES = sorted((ROOT / "profiles").iterdir())
BEYOND = (11, 777, 778)  # a phantom's seed: the seeds of patients on whom scripts in docs have measured and chosen
WRITTEN = ("data", "models", "results", "metrics", "report")

CODE = PIPELINE["code"]["deps"]


def module(stage: str) -> str:
    return next(word for word in PIPELINE[stage]["cmd"].split() if word.startswith("stages."))


def entry(stage: str):
    """The function that the stage's module hands to ``run``."""
    loaded = importlib.import_module(module(stage))
    tree = ast.parse(Path(loaded.__file__).read_text())
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", None) == "run"]
    return getattr(loaded, call.args[0].id)


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_declares_the_sections_it_reads(stage):
    assert {key.split(".")[0] for key in PIPELINE[stage].get("params", [])} == set(sections(entry(stage)))


def test_each_stage_runs_the_module_of_its_name_and_but_one_all_that_run_are_stages():
    assert entry_points(ROOT) == sorted([*PIPELINE, "discover"])
    assert all(module(stage) == f"stages.{stage}" for stage in PIPELINE)


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_depends_on_the_list_of_the_code_it_imports(stage):
    assert set(sources(ROOT, module(stage))) <= set(CODE), "run: make dependencies"
    if stage != "code":
        assert PIPELINE[stage]["deps"].count(f"results/code/{stage}.txt") == 1
        assert not any(dep.split("/")[0] in PACKAGES for dep in PIPELINE[stage]["deps"])


def test_no_other_code_is_listed():
    assert sorted({file for name in entry_points(ROOT) for file in sources(ROOT, f"stages.{name}")}) == CODE
    assert PIPELINE["code"]["outs"] == [f"results/code/{name}.txt" for name in entry_points(ROOT)]


def test_where_there_is_no_gpu_a_stage_computes_on_one_core_or_is_alone():
    device = [stage for stage in PIPELINE if "raremix/runtime/device.py" in sources(ROOT, module(stage))]
    assert {stage for stage in device if not hasattr(entry(stage), "__wrapped__")} == {ALL_CORES}


def written(stage: str, kind: str) -> list[str]:
    """The stage's deps or outs but for source files, their list and what params.yaml names."""
    names = [row if isinstance(row, str) else next(iter(row)) for row in PIPELINE[stage][kind]]
    return [name for name in names if name.split("/")[0] in WRITTEN and name != f"results/code/{stage}.txt"]


def filled(path: str) -> str:
    """``path`` with an asterisk for what params.yaml or a matrix fills in."""
    return re.sub(r"\$\{[^}]*\}", "*", path)


def named(stage: str, parameter: str) -> list[str]:
    """What the stage's module names in the directory ``parameter``: ``parameter / f"trial{trial}.csv"``: trial*.csv."""
    tree = ast.parse(Path(importlib.import_module(module(stage)).__file__).read_text())
    divided = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    spelled = [node.right for node in divided if getattr(node.left, "id", None) == parameter]
    parts = [getattr(name, "values", [name]) for name in spelled]
    return ["".join(part.value if isinstance(part, ast.Constant) else "*" for part in name) for name in parts]


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_declares_every_path_of_its_command(stage):
    """A path itself, or, of a directory that is declared by the file, each file that the code names there; no other."""
    known, used = {*written(stage, "deps"), *written(stage, "outs")}, set()
    for flag, path in pairwise(PIPELINE[stage]["cmd"].split()):
        if path.split("/")[0] not in WRITTEN:
            continue
        wanted = [path] if path in known else [f"{path}/{name}" for name in named(stage, flag.removeprefix("--"))]
        found = {pattern: fnmatch.filter(known, pattern) for pattern in wanted}
        assert found, f"{flag} {path}: not among deps and outs"
        for pattern, names in found.items():
            assert names, f"{flag} {path}: the code names {pattern}, which is not among deps and outs"
            used.update(names)
    assert known == used, "declared, but not in the command"


def test_what_a_stage_reads_another_one_writes():
    outs = {filled(out) for stage in PIPELINE for out in written(stage, "outs")}
    for stage in PIPELINE:
        for dep in map(filled, written(stage, "deps")):
            assert any(f"{dep}/".startswith(f"{out}/") or out.startswith(f"{dep}/") for out in outs), f"{stage}: {dep}"


@pytest.mark.parametrize("stage", [name for name, row in PIPELINE.items() if "matrix" in row])
def test_what_a_matrix_stage_reads_of_the_study_section_it_declares_by_key(stage):
    """Else another arm or trial would train all of them again."""
    tree = ast.parse(Path(importlib.import_module(module(stage)).__file__).read_text())
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "study"]
    read = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.value in names]
    assert len(read) == len(names), "the section is handed on whole"
    declared = {key for key in PIPELINE[stage]["params"] if key.split(".")[0] == "study"}
    assert declared == {f"study.{node.attr}" for node in read}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_runs_the_same_pipeline(profile):
    text = (profile / "dvc.yaml").read_text()
    assert re.sub(r"^( +- )\.\./\.\./(?=raremix/|stages/)", r"\1", text, flags=re.M) == (ROOT / "dvc.yaml").read_text()
    for dep in re.findall(r"^ +- (\S+\.py)$", text, flags=re.M):
        assert (profile / dep).is_file(), f"{profile.name}: {dep}"


def leaves(params, *above):
    """Every value of nested params, by its dotted key."""
    if not isinstance(params, dict):
        return {".".join(above): params}
    return {key: value for name, inner in params.items() for key, value in leaves(inner, *above, name).items()}


def test_no_other_profile_has_seen_the_patients_of_the_phantom_that_is_kept():
    """Each renders those of its seed, for its diagnosis those of the next three, and for docs those of ``BEYOND``."""
    kept = ROOT / "profiles/phantom-sixth/params.yaml"
    listed = ["git", "ls-files", "params.yaml", "profiles/*/params.yaml"]  # a user's own profiles are not among them
    committed = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [ROOT / name for name in committed if ROOT / name != kept]
    seeds = [yaml.safe_load(file.read_text())["phantom"]["seed"] for file in files]
    assert len(seeds) == 13
    own = yaml.safe_load(kept.read_text())["phantom"]["seed"]
    seen = {seed + after for seed in seeds for after in (*range(4), *BEYOND)}
    assert not set(range(own, own + 4)) & seen
    for script in ROOT.glob("docs/*.py"):
        assert {int(seed) for seed in re.findall(r"^SEED\b[^=]*= (\d+)", script.read_text(), re.M)} <= set(BEYOND)


@pytest.mark.parametrize(
    ("profile", "own"),
    [
        ("phantom-second", {"phantom.seed"}),
        ("phantom-third", {"phantom.seed"}),
        ("phantom-fourth", {"phantom.seed"}),
        ("phantom-fifth", {"phantom.seed"}),
        ("phantom-sixth", {"phantom.seed"}),
        ("phantom-full", {"study.arms", "study.shots", "study.synthesized"}),
        ("phantom-arms", {"study.arms", "study.synthesized"}),
        ("phantom-ratios", {"study.arms", "study.trials"}),
        ("phantom-instances", {"study.arms", "study.trials", "dreambooth.instances"}),
        ("phantom-shots", {"study.arms", "study.shots", "study.trials", "compare.shots", "truth.classifier"}),
    ],
)
def test_a_profile_of_the_root_s_study_differs_in_nothing_else(profile, own):
    root, other = (
        leaves(yaml.safe_load((ROOT / folder / "params.yaml").read_text())) for folder in ("", f"profiles/{profile}")
    )
    assert {key for key in root.keys() | other.keys() if root.get(key) != other.get(key)} == own | {
        "data.root",
        "attributes.cache",
    }


def test_importing_a_stage_of_tables_does_not_import_torch():
    """Sixty processes start in a run: those that need no torch must not pay for it."""
    import subprocess
    import sys

    names = ["acquire", "ingest", "split", "mix", "validate", "attributes", "report"]
    code = "import sys\n" + "\n".join(f"import stages.{name}" for name in names) + "\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_pictures_that_may_show_patients_stay_out_of_git():
    """The root's show phantoms, a profile's may not."""
    for folder, code in (("profiles/vindr/", 0), ("profiles/nih/", 0), ("", 1)):
        asked = subprocess.run(["git", "check-ignore", "-q", f"{folder}metrics/explain/panel.png"], cwd=ROOT)
        assert asked.returncode == code, folder
