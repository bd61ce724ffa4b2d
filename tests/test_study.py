"""The real stages through DVC, on the smoke profile."""

import hashlib
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline
from through_dvc import FAILED, ROOT, contents, digests, dvc, environment, ran

from raremix.generator import sample
from stages import dreambooth, repro, synthesize
from stages.cli import run

TRIAL, FINDING = "3-0", "nodule_mass"

pytestmark = pytest.mark.slow


def test_the_tables_are_as_others_build_on_them(study):
    trial = pd.read_csv(study / "data/splits/trial0.csv")
    assert list(trial.columns) == ["image_id", "part", "shot_rank"]
    synthetic = pd.read_csv(study / f"data/synthetic/{TRIAL}/{FINDING}/manifest.csv")
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
    path = study / "models/dreambooth" / TRIAL / FINDING
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


@pytest.mark.parametrize(
    ("stage", "right", "wrong", "loses", "line"),
    [
        (
            "acquire",
            "findings: [cardiomegaly,",
            "findings: [cardiomegally,",
            ["data/raw"],
            r"stages\.acquire: params\.yaml, study\.findings: unknown finding 'cardiomegally'; choose among .*",
        ),
        (
            "dreambooth",
            "sample_every: 3",
            "sample_evry: 3",
            ["models/dreambooth", "results/dreambooth"],
            r"stages\.dreambooth: .*'training\.sample_evry'.*",
        ),
    ],
    ids=["an unknown finding", "a misspelled key"],
)
def test_a_mistake_in_params_is_one_line_and_costs_no_computation(study, stage, right, wrong, loses, line):
    """Of its ``stage``: DVC takes stages that do not wait for each other in any order."""
    before, params = digests(study), (study / "params.yaml").read_text()
    assert params.count(right) == 1
    try:
        (study / "params.yaml").write_text(params.replace(right, wrong))
        said = dvc(f"repro {stage}", study, FAILED)
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

    tables = "--manifest data/manifest.csv --boxes data/boxes.csv --metadata data/metadata.csv --splits data/splits"
    inputs = f"{tables} --checksums data/images.sha256 --pipeline models/base"
    what = f"params.yaml --shots 3 --trial 0 {inputs}"
    teach = f"{what} --votes data/votes.csv --out {tmp_path}/models --log {tmp_path}/log"
    with killed_after(3), pytest.raises(SystemExit, match="130"):
        run(dreambooth.dreambooth, teach.split())
    assert not (tmp_path / "models").exists()
    run(dreambooth.dreambooth, teach.split())
    assert contents(tmp_path / "models") == contents(study / "models/dreambooth" / TRIAL)

    sampling = f"{what} --models {tmp_path}/models --log {tmp_path}/log --synthesize.sampling.batch 4"
    run(synthesize.synthesize, f"{sampling} --drawn {tmp_path}/whole --out {tmp_path}/tables".split())
    batch, drawn = sample._batch, []

    def killed(*arguments):
        drawn.append(arguments)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return batch(*arguments)

    with monkeypatch.context() as once:
        once.setattr(sample, "_batch", killed)
        with pytest.raises(SystemExit, match="130"):
            run(synthesize.synthesize, f"{sampling} --drawn {tmp_path}/again --out {tmp_path}/others".split())
        run(synthesize.synthesize, f"{sampling} --drawn {tmp_path}/again --out {tmp_path}/others".split())
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    batches = -(-len(contents(tmp_path / "whole")) // 4)
    assert len(drawn) == batches + 1, "the batch that was done must not be drawn again"


@pytest.fixture
def variant(study, tmp_path):
    """A copy to try other params in."""
    return shutil.copytree(study.parents[1], tmp_path / "variant", symlinks=True) / "profiles" / "smoke"


def test_a_classifier_parameter_runs_classifiers_and_what_follows_only(variant, monkeypatch):
    """In so small a profile the one that sifts sees nothing in any image, whatever its parameters: mixes stay."""
    said = dvc("exp run -S classify.training.lr=0.0007 validate", variant)
    assert {stage.split("@")[0] for stage in ran(said)} == {"sift", "classify", "validate"}
    monkeypatch.chdir(variant)
    assert repro._stale([]).keys() == {"compare", "truth", "explain", "sensitivity", "report"}


def test_what_is_kept_of_the_synthetic_images_is_said_without_training_anew_what_sifts(variant):
    said = dvc("exp run -S sift.kept=1 validate", variant)
    assert set(ran(said)) == {"mix", "classify@dreambooth_mix-3-0", "validate"}


def test_metrics_can_be_read(study):
    assert "dreambooth_mix" in dvc("metrics show", study)
    assert "vanilla" in dvc("exp show --csv --no-pager", study)
    dvc("plots show", study)
    assert (study / "dvc_plots/index.html").is_file()
