"""The real stages through DVC, on the smoke profile."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline

from raremix.generator import sample
from raremix.runtime import checkpoints
from stages import dreambooth, synthesize
from stages.cli import run

ROOT = Path(__file__).parent.parent
WRITTEN = ("data", "models", "results", "metrics", "report")
KEY = "nodule_mass-3-0"
IDENTITY = {f"GIT_{who}_{what}": f"test@{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

pytestmark = pytest.mark.slow


DVC = (sys.executable, "-m", "dvc")
FAILED = 255  # DVC's exit code


def environment(folder: Path) -> dict[str, str]:
    return os.environ | IDENTITY | {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(folder.parents[1])}


def dvc(arguments: str, folder: Path, code: int = 0) -> str:
    command = [*DVC, *arguments.split()]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def ran(said: str) -> list[str]:
    """The stages that DVC ran, by what it said."""
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


@contextmanager
def killed(profile: Path, log: Path) -> Iterator[subprocess.Popen]:
    """``dvc repro``, which is killed with the stage that it runs when the block ends; what they say goes to ``log``."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*DVC, "repro"], cwd=profile, env=environment(profile), stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()  # DVC takes a lock for abandoned once there is no such process, and a zombie is one


def stop_at(process: subprocess.Popen, sign: Callable[[], object]) -> None:
    """Stop ``process`` and its children while there is ``sign``, so that nothing ends between seeing it and acting."""
    while process.poll() is None:
        if sign():
            os.killpg(process.pid, signal.SIGSTOP)
            if sign():
                return
            os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.002)
    pytest.fail("dvc repro ended before there was the sign")


def clone(folder: Path) -> Path:
    """The files git would commit, in a repository of their own; its smoke profile."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        if (ROOT / name).is_file() and Path(name).name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (["git", "init", "-q"], ["git", "add", "."], ["git", "commit", "-qm", "copy"]):
        subprocess.run(command, cwd=folder, check=True, env=os.environ | IDENTITY)
    return folder / "profiles" / "smoke"


def digests(profile: Path) -> dict[str, str]:
    files = [path for name in WRITTEN for path in sorted((profile / name).rglob("*")) if path.is_file()]
    return {str(path.relative_to(profile)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    profile = clone(tmp_path_factory.mktemp("first"))
    dvc("repro", profile)
    return profile


def test_the_tables_are_as_others_build_on_them(study):
    trial = pd.read_csv(study / "data/splits/trial0.csv")
    assert list(trial.columns) == ["image_id", "part", "shot_rank"]
    synthetic = pd.read_csv(study / f"data/synthetic/{KEY}/manifest.csv")
    assert list(synthetic.columns[:10]) == [
        "image_id", "file", "parents", "model_sha256", "prompt", "seed", "sampler", "steps", "guidance", "sha256",
    ]  # fmt: skip
    assert [hashlib.sha256((study / file).read_bytes()).hexdigest() for file in synthetic["file"]] == list(
        synthetic["sha256"]
    )
    trained = set(trial.loc[trial["part"] == "train", "image_id"])
    assert {parent for parents in synthetic["parents"] for parent in parents.split("|")} <= trained
    pairs = synthetic.groupby("seed")["nodule_mass"].agg(["sum", "count"])
    assert (pairs["sum"] == 1).all()
    assert (pairs["count"] == 2).all()
    assert "<nodule_mass>" in synthetic.loc[synthetic["nodule_mass"] == 1, "prompt"].iloc[0]
    mix = pd.read_csv(study / "data/mix/dreambooth_mix-3-0.csv")
    assert list(mix.columns[:5]) == ["image_id", "file", "source", "weight", "late"]
    assert set(mix["source"]) == {"real", "synthetic"}
    predictions = pd.read_csv(study / "results/compare/predictions.csv")
    assert list(predictions.columns) == [
        "arm", "shots", "trial", "image_id", "part", "finding", "label", "probability",
    ]  # fmt: skip
    assert set(predictions["part"]) == {"test"}


def test_the_base_model_has_not_seen_the_task(study):
    corpus = pd.read_csv(study / "data/splits/corpus.csv")["image_id"]
    votes = pd.read_csv(study / "data/votes.csv").set_index("image_id")
    task = ["cardiomegaly", "nodule_mass"]
    assert (votes.loc[corpus, task] == 0).all(axis=None)
    parts = pd.read_csv(study / "data/splits/trial0.csv").set_index("image_id")["part"]
    assert set(parts[corpus]) == {"train"}


def test_diffusers_opens_what_was_fine_tuned(study):
    path = study / "models/dreambooth" / KEY
    pipeline = StableDiffusionPipeline.from_pretrained(path, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("chest x-ray <nodule_mass>", num_inference_steps=1, output_type="np").images.shape == (1, 32, 32, 3)


def test_another_classifier_is_diagnosed_as_the_page_says(study, tmp_path):
    page = (ROOT / "docs" / "own_classifier.md").read_text()
    mine, ask = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    root = {"(rows, 96)": "(rows, 2)", "start = 3": "start = 1", "steps=10": "steps=3", "least=0.5": "least=-1000.0"}
    for right, small in root.items():
        assert ask.count(right) == 1, right
        ask = ask.replace(right, small)
    model = "import torch\nmodel = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 1))\n"
    (tmp_path / "ask.py").write_text(model + mine + ask + "print(effect.shape, draws.shape[1:])\n")
    said = subprocess.run(
        [sys.executable, tmp_path / "ask.py"], cwd=study, env=environment(study), capture_output=True, text=True
    )
    assert said.stdout.splitlines()[-1:] == ["(2, 1) (2, 1)"], said.stderr[-2000:]


def test_nothing_runs_again_when_nothing_changed(study):
    said = dvc("repro", study)
    assert "Running stage" not in said
    assert "Data and pipelines are up to date." in said


def test_a_second_directory_gives_the_same_bytes_although_killed_twice(study, tmp_path):
    other = clone(tmp_path / "elsewhere" / "second")

    with killed(other, tmp_path / "first.log") as process:
        stop_at(process, lambda: list(other.glob("scratch/*/grids/step00003.png")))
        time.sleep(checkpoints.SECONDS_BETWEEN_SAVES)  # the clock goes on for a stopped process: a save is due
        os.killpg(process.pid, signal.SIGCONT)
        stop_at(process, lambda: list(other.glob("scratch/*/state.pt")))
    fine_tuning = ran((tmp_path / "first.log").read_text())[-1]
    assert fine_tuning.startswith("dreambooth@")

    with killed(other, tmp_path / "second.log") as process:
        stop_at(process, lambda: list(other.glob("scratch/*/images")))
    second = (tmp_path / "second.log").read_text()
    synthesis = ran(second)[-1]
    assert synthesis.startswith("synthesize@")

    third = dvc("repro", other)
    assert synthesis in ran(third)
    later = second + third  # DVC has no fixed order of stages that do not need each other
    assert fine_tuning in ran(later)
    bar = fine_tuning.replace("@", " ") + ": "
    assert bar in later
    assert f"{bar}  0%" not in later, "it must go on where it was"
    assert digests(other) == digests(study)
    assert not any((other / "scratch").iterdir()), "states must go when their stages are done"


@pytest.mark.parametrize(
    ("right", "wrong", "loses", "line"),
    [
        (
            "findings: [cardiomegaly,",
            "findings: [cardiomegally,",
            ["data/raw"],
            r"stages\.acquire: params\.yaml, study\.findings: unknown finding 'cardiomegally'; choose among .*",
        ),
        (
            "sample_every: 3",
            "sample_evry: 3",
            ["models/dreambooth", "results/dreambooth"],
            r"stages\.dreambooth: .*'training\.sample_evry'.*",
        ),
    ],
    ids=["an unknown finding", "a misspelled key"],
)
def test_a_mistake_in_params_is_one_line_and_costs_no_computation(study, right, wrong, loses, line):
    before, params = digests(study), (study / "params.yaml").read_text()
    assert params.count(right) == 1
    try:
        (study / "params.yaml").write_text(params.replace(right, wrong))
        said = dvc("repro", study, FAILED)
        after = digests(study)
    finally:
        (study / "params.yaml").write_text(params)
    assert len(ran(said)) == 1
    (told,) = [told for told in said.splitlines() if told.startswith("stages.")]
    assert re.fullmatch(line, told)
    assert "Traceback" not in said
    # DVC removes the outputs of a stage before it runs it, and has them in its cache.
    assert {"/".join(file.split("/")[:2]) for file in before.keys() ^ after.keys()} == set(loses)
    assert after.items() < before.items()
    assert ran(dvc("repro", study)) == []
    assert digests(study) == before


def test_an_experiment_with_a_misspelled_key_changes_nothing(study):
    params = (study / "params.yaml").read_bytes()
    assert "classify.training.lrr" in dvc("exp run -S classify.training.lrr=0.1", study, FAILED)
    assert (study / "params.yaml").read_bytes() == params


def test_an_image_that_was_removed_is_made_again(study):
    before = digests(study)
    next((study / "data/images").iterdir()).unlink()
    assert ran(dvc("repro", study)) == ["ingest"]
    assert digests(study) == before


def test_a_killed_fine_tuning_and_synthesis_go_on_to_the_same_bytes(study, monkeypatch, killed_after, tmp_path):
    monkeypatch.chdir(study)

    tables = "--manifest data/manifest.csv --metadata data/metadata.csv --splits data/splits"
    inputs = f"{tables} --checksums data/images.sha256 --pipeline models/base"
    what = f"params.yaml --finding nodule_mass --shots 3 --trial 0 {inputs}"
    teach = f"{what} --votes data/votes.csv --boxes data/boxes.csv --out {tmp_path}/model --log {tmp_path}/log"
    with killed_after(3), pytest.raises(SystemExit, match="130"):
        run(dreambooth.dreambooth, teach.split())
    assert not (tmp_path / "model").exists()
    run(dreambooth.dreambooth, teach.split())
    assert contents(tmp_path / "model") == contents(study / "models/dreambooth" / KEY)

    sampling = f"{what} --model {tmp_path}/model --log {tmp_path}/log --synthesize.sampling.batch 4"
    run(synthesize.synthesize, f"{sampling} --drawn {tmp_path}/whole --out {tmp_path}/tables".split())
    draw, drawn = sample.draw, []

    def killed(*arguments):
        drawn.append(arguments)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return draw(*arguments)

    with monkeypatch.context() as once:
        once.setattr(sample, "draw", killed)
        with pytest.raises(SystemExit, match="130"):
            run(synthesize.synthesize, f"{sampling} --drawn {tmp_path}/again --out {tmp_path}/others".split())
        run(synthesize.synthesize, f"{sampling} --drawn {tmp_path}/again --out {tmp_path}/others".split())
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    batches = -(-len(contents(tmp_path / "whole")) // 4)
    assert len(drawn) == batches + 1, "the batch that was done must not be drawn again"


def test_a_classifier_parameter_runs_classifiers_and_what_follows_only(study):
    said = dvc("exp run -S classify.training.lr=0.0007", study)
    after = {"validate", "compare", "truth", "explain", "sensitivity", "report"}
    assert {stage.split("@")[0] for stage in ran(said)} == {"classify", *after}


def test_metrics_can_be_read(study):
    assert "dreambooth_mix" in dvc("metrics show", study)
    assert "vanilla" in dvc("exp show --csv --no-pager", study)
    dvc("plots show", study)
    assert (study / "dvc_plots/index.html").is_file()
