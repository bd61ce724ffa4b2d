"""dvc.yaml says what the code does: the same sections, the same source files, the same pipeline in every profile."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest
import yaml

from stages.cli import sections

ROOT = Path(__file__).parent.parent
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PROFILES = sorted((ROOT / "profiles").iterdir())
CODE = "${code}/"

_spec = importlib.util.spec_from_file_location("dependencies", ROOT / ".ci" / "dependencies.py")
dependencies = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dependencies)


def module(stage: str) -> str:
    return PIPELINE[stage]["cmd"].split()[2]


def entry(stage: str):
    """The function that the stage's module hands to ``run``."""
    loaded = importlib.import_module(module(stage))
    tree = ast.parse(Path(loaded.__file__).read_text())
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", None) == "run"]
    return getattr(loaded, call.args[0].id)


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_declares_the_sections_it_reads(stage):
    assert sorted(PIPELINE[stage]["params"]) == sorted(sections(entry(stage)))


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_declares_the_code_it_imports(stage):
    declared = [dep.removeprefix(CODE) for dep in PIPELINE[stage]["deps"] if dep.startswith(CODE)]
    assert declared == dependencies.sources(ROOT, module(stage)), "run: make dependencies"


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_declares_every_path_of_its_command(stage):
    row = PIPELINE[stage]
    outs = [out if isinstance(out, str) else next(iter(out)) for out in row["outs"]]
    declared = [dep for dep in row["deps"] if not dep.startswith(CODE)] + outs
    paths = [word for word in row["cmd"].split() if word.split("/")[0] in ("data", "models", "results", "metrics")]
    for path in paths:
        assert any(known == path or known.startswith(f"{path}/") or path.startswith(f"{known}/") for known in declared)


def test_matrix_stages_do_not_read_the_study_section():
    for stage, row in PIPELINE.items():
        assert "matrix" not in row or "study" not in row["params"], stage


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_runs_the_same_pipeline(profile):
    assert (profile / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


@pytest.mark.parametrize("profile", [ROOT, *PROFILES], ids=lambda path: path.name)
def test_a_profile_sets_every_parameter_to_a_value_of_its_type(profile):
    """jsonargparse validates each section against the stage's dataclass; nothing is run."""
    from jsonargparse import ArgumentParser, get_loader

    params = get_loader("yaml")((profile / "params.yaml").read_text())
    read = set()
    for stage in PIPELINE:
        function = entry(stage)
        for section in sections(function):
            parser = ArgumentParser(exit_on_error=False)
            parser.add_argument(f"--{section}", type=function.__annotations__[section])
            parser.parse_object({section: params[section]})
            read.add(section)
    assert set(params) == read | {"code"}, "a section that no stage reads, or one that is missing"


def test_importing_a_stage_of_tables_does_not_import_torch():
    """Sixty processes start in a run: those that need no torch must not pay for it."""
    import subprocess
    import sys

    names = ["acquire", "ingest", "split", "mix", "validate"]
    code = "import sys\n" + "\n".join(f"import stages.{name}" for name in names) + "\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
