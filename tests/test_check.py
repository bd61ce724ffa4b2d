"""Every value of params.yaml is held against its stage before the first one starts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from raremix.runtime.errors import UserError
from stages import repro
from stages.check import check, main, stages_of
from stages.cli import read_params

ROOT = Path(__file__).parents[1]
PROFILES = sorted(f"profiles/{path.name}" for path in (ROOT / "profiles").iterdir())
FILE = Path("params.yaml")
STAGES = stages_of(ROOT / "dvc.yaml")


def params(**changes: object) -> dict[str, object]:
    """The root's, with values replaced by dotted key (two underscores for a dot)."""
    read = read_params(ROOT / "params.yaml")
    for key, value in changes.items():
        *sections, last = key.split("__")
        place: object = read
        for section in sections:
            assert isinstance(place, dict)
            place = place[section]
        assert isinstance(place, dict)
        assert last in place, key
        place[last] = value
    return read


def test_every_stage_of_the_pipeline_is_held():
    names = {stage.__name__ for stage in STAGES}
    assert names == set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


@pytest.mark.parametrize("profile", [".", *PROFILES])
def test_the_committed_params_pass(profile, monkeypatch):
    monkeypatch.chdir(ROOT / profile)
    check(read_params(FILE), STAGES, FILE)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("launch", "python", "launch: 'python' runs no module"),
        ("launch", ["python", "-m"], "runs no module"),
        ("study__shots", [10, 0], "study.shots"),
        ("study__trials", [-1], "study.trials"),
        ("study__arms", ["vanila"], "study.arms: unknown arm 'vanila'"),
        ("phantom__train_images", 0, "phantom.train_images"),
        ("phantom__test_images", 0, "phantom.test_images"),
        ("phantom__test_positives", -1, "phantom.test_positives"),
        ("phantom__height", 15, "phantom.height: 15 is too small; give 16 or more"),
        ("phantom__enrich", 0.0, "phantom.enrich"),
        ("phantom__enrich", float("nan"), "phantom.enrich"),
        ("phantom__enrich", float("inf"), "phantom.enrich: inf is no factor"),
        ("study__trials", [1, 2], r"study.trials: [1, 2] lack 0, which the diagnosis reads; add it"),
        ("ingest__size", 50, "ingest.size: 50 is not a multiple of 8; give 64, for example"),
        ("ingest__max_bad", 1.5, "ingest.max_bad"),
        ("split__validation", 1.0, "split.validation"),
        ("split__test", 20, "split.test"),
        ("split__test", float("nan"), "split.test"),
        ("base__autoencoder__lr", 0.0, "base.autoencoder.lr"),
        ("base__denoiser__steps", 2.5, "base.denoiser.steps"),
        ("base__denoiser__channels", [64, 0], "base.denoiser.channels"),
        ("backbone__training__augmentation__contrast", -0.2, "backbone.training.augmentation.contrast"),
        ("backbone__model", "resnt18", "torchvision has no classifier 'resnt18'"),
        ("backbone__model", "resnet34", "audit.model: 'resnet18' is not the backbone's network; say 'resnet34'"),
        ("classify__model", "resnet50", "classify.model: 'resnet50' is not the backbone's network; say 'resnet18'"),
        ("readers__network", "resnet50", "readers.network: 'resnet50' is not the backbone's"),
        ("dreambooth__lora_rank", 4, "dreambooth.training.text_encoder: a LoRA is of the UNet alone"),
        ("dreambooth__training__box_share", 1.2, "dreambooth.training.box_share"),
        ("dreambooth__training__views__zoom", "wide", "dreambooth.training.views.zoom"),
        ("synthesize__strength", 1.9, "synthesize.strength"),
        ("synthesize__strength", 0.01, "a strength of 0.01 leaves none of 12 sampling steps"),
        ("synthesize__least", -1, "synthesize.least"),
        ("synthesize__negative_prompt", "none", "synthesize.negative_prompt"),
        ("screen__false_alarms", 0.0, "screen.false_alarms"),
        ("sift__kept", 0.0, "sift.kept: 0 leaves no synthetic image"),
        ("sift__kept", 1.1, "sift.kept"),
        ("mix__synthetic_share", 1.0, "mix.synthetic_share"),
        ("mix__real_share", 1.1, "mix.real_share"),
        ("classify__training__batch", 0, "classify.training.batch"),
        ("compare__bootstrap", 99, "compare.bootstrap: 99 is too small; give 100 or more"),
        ("compare__level", 95, "compare.level"),
        ("measured__attributes", [], "measured.attributes: name at least one"),
        ("measured__attributes", ["male", "male"], "measured.attributes: name at least one, each once"),
        ("readers__width", 12, "readers.width: 12 is no multiple of 8"),
        ("implicit__width", 12, "implicit.width: 12 is no multiple of 8"),
        ("editing__start", 9, "editing.start: 9 leaves no step to edit of latents.sampling.steps = 10"),
        ("editing__arrived", 1.0, "editing.arrived"),
        ("boundary__components", 257, "boundary.components: 257 ask for latents.images of 514 or more, not 512"),
        ("latents__least_decibels", 0.0, "latents.least_decibels"),
        ("planted__finding", "hiccups", "planted.finding: unknown finding 'hiccups'"),
        ("planted__finding", "ild", "planted.finding: unknown finding 'ild'; choose among cardiomegaly, pleural"),
        ("planted__attribute", "hiccups", "planted.attribute: the phantom has no 'hiccups'; it has male, age"),
        ("planted__agreement", 1.5, "planted.agreement"),
        ("planted__patients", 7, "planted.patients: 7 is too small; give 8 or more"),
        ("truth__classifier", "vanilla-20-0", "truth.classifier: the study trains no 'vanilla-20-0'"),
        ("truth__attributes", ["male", "hiccups"], "truth.attributes: the phantom has no 'hiccups'"),
        ("explain__step", 10, "explain.step: 10 leaves none of 10 steps; lower it"),
        ("attributes__nonsense", [], "attributes.nonsense: is empty"),
        ("attributes__count", 21, "attributes.count: data/attributes/chest_xray.json answers for '20'; ask again"),
        ("compare__shots", 20, "compare.shots: 20 is not one of study.shots [10]"),
    ],
)
def test_a_value_that_can_not_be_is_named(key, value, named, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as refused:
        check(params(**{key: value}), STAGES, FILE)
    line = " ".join(str(refused.value).split())
    assert line.startswith("params.yaml")
    assert named in line


def test_a_misspelled_key_of_the_last_stage_stops_the_study_before_the_first(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    assert "bootstrap: 1000" in text
    (tmp_path / "params.yaml").write_text(text.replace("bootstrap: 1000", "bootstrapp: 1000"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    done = subprocess.run([sys.executable, "-m", "stages.check"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("stages.check: params.yaml: ")
    assert "'bootstrapp'" in done.stderr


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [(None, "No such file or directory: dvc.yaml"), ("cmd: python -m stages.comp", "no stage 'comp'")],
)
def test_a_pipeline_that_is_missing_or_cut_short_is_one_line(tmp_path, monkeypatch, capsys, pipeline, named):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    if pipeline:
        (tmp_path / "dvc.yaml").write_text(pipeline)
    with pytest.raises(SystemExit, match="2"):
        main([])
    said = capsys.readouterr().err
    assert said.startswith("stages.check: ")
    assert said.count("\n") == 1
    assert named in said


def test_data_that_are_not_there_are_named_before_weights_are_looked_at(monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "profiles" / "vindr")
    with pytest.raises(SystemExit, match="2"):
        main([])
    said = capsys.readouterr().err
    assert said.startswith("stages.check: params.yaml, data.root: there is no folder 'set-data.root-to-physionet")
    assert said.count("\n") == 1


def test_a_classifier_of_somebody_else_may_be_diagnosed_once_it_is_there(monkeypatch, tmp_path):
    shutil.copytree(ROOT / "data" / "attributes", tmp_path / "data" / "attributes")
    monkeypatch.chdir(tmp_path)
    named = params(truth__classifier="another-10-0")
    with pytest.raises(UserError, match="the study trains no 'another-10-0'"):
        check(named, STAGES, FILE)
    (tmp_path / "results/classify/another-10-0").mkdir(parents=True)
    (tmp_path / "results/classify/another-10-0/config.json").touch()
    check(named, STAGES, FILE)


def test_a_section_that_no_stage_reads_is_named():
    with pytest.raises(UserError, match=r"params\.yaml: no stage reads section 'clasify'"):
        check(params() | {"clasify": {}}, STAGES, FILE)
    without = params()
    del without["classify"]
    with pytest.raises(UserError, match=r"params\.yaml: section 'classify' is missing"):
        check(without, STAGES, FILE)


def test_a_run_begins_with_it_and_so_again_when_params_change(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("bootstrap:", "bootstrapp:"))
    assert repro.main() == 2
    assert capfd.readouterr().err == "stages.check: params.yaml: Group 'compare' does not accept option 'bootstrapp'\n"
    assert not (tmp_path / repro.CHECKED).exists()
    (tmp_path / "params.yaml").write_text(params)
    shutil.copytree(ROOT / "data" / "attributes", tmp_path / "data" / "attributes")
    assert repro._checked() == 0
    made = (tmp_path / repro.CHECKED).stat().st_mtime
    assert repro._checked() == 0
    assert (tmp_path / repro.CHECKED).stat().st_mtime == made, "not twice"
    os.utime(tmp_path / "params.yaml", (2**32, 2**32))
    assert repro._checked() == 0
    assert (tmp_path / repro.CHECKED).stat().st_mtime > made


@pytest.mark.parametrize("fails", ["cuda.lock", "rest.lock", "editable", "nothing"])
def test_an_environment_is_ready_only_where_all_is_installed(tmp_path, fails):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(shutil.which("true"))
    (tmp_path / "pip").write_text(f'case "$*" in *{fails}*) exit 3; esac\n')
    command = ["make", ".venv/ready", "PYTHON=true", "INSTALL=sh pip"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) == (tmp_path / ".venv" / "ready").exists() == (fails == "nothing")
    cuda, rest = ((tmp_path / ".venv" / name).read_text().splitlines() for name in ("cuda.lock", "rest.lock"))
    assert cuda
    assert sorted(cuda + rest) == sorted((ROOT / "requirements.lock").read_text().splitlines())
