"""Two processes on the CPU make of a member what one makes of it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import prepared
import pytest
import torch
from safetensors.torch import load_file
from through_dvc import ROOT, contents, environment

from raremix.runtime import processes

TRIAL, FINDING = "3-0", "nodule_mass"
TABLES = "--manifest data/manifest.csv --metadata data/metadata.csv --splits data/splits --checksums data/images.sha256"
WHAT = f"params.yaml --shots 3 --trial 0 {TABLES} --boxes data/boxes.csv"
LAUNCH = "--multi_gpu --num_machines 1 --num_processes 2 --mixed_precision no --dynamo_backend no".split()

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"

slow = pytest.mark.slow


def by_two(stage, arguments, study, first_found=ROOT):
    """Run ``stage`` in two processes, as ``accelerate launch`` starts them."""
    found = environment(study) | {"PYTHONPATH": f"{first_found}:{ROOT}"}
    command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, "-m", stage]
    done = subprocess.run(
        [*command, *arguments.split()], cwd=study, env=found, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def losses(log):
    return pd.read_csv(log / "plots/metrics/loss.tsv", sep="\t")["loss"].to_numpy()


def unet(model):
    """Its weights, in a row."""
    return torch.cat([part.flatten() for _, part in sorted(load_file(model / WEIGHTS).items())])


@slow
def test_two_processes_draw_the_images_of_one(study, tmp_path):
    """Each at the same batch, so the same bytes; the tables are those of one process as well."""
    outs = f"--drawn {tmp_path}/drawn --out {tmp_path}/tables --log {tmp_path}/log"
    said = by_two(
        "stages.synthesize", f"{WHAT} --pipeline models/base --models models/dreambooth/{TRIAL} {outs}", study
    )
    assert said.count(f"synthesize {FINDING}-{TRIAL}: 100%") == 2, "each has its share"
    drawn, before = contents(tmp_path / "drawn"), contents(study / "data/synthetic_images" / TRIAL)
    assert drawn.keys() == before.keys()
    assert drawn == before
    recipe = (study / "data/synthetic" / TRIAL / FINDING / "recipe.csv").read_bytes()
    assert (tmp_path / "tables" / FINDING / "recipe.csv").read_bytes() == recipe


@slow
def test_two_processes_learn_what_one_learns(study, tmp_path):
    """The loss of each step within 2 %: bfloat16, and sums in another order, of which each step makes more."""
    more = "--votes data/votes.csv --pipeline models/base"
    by_two("stages.dreambooth", f"{WHAT} {more} --out {tmp_path}/models --log {tmp_path}/log", study)
    found, alone = losses(tmp_path / "log" / FINDING), losses(study / "results/dreambooth" / TRIAL / FINDING)
    assert len(found) == len(alone)
    assert found[0] == pytest.approx(alone[0], rel=1e-3)
    assert np.abs(found / alone - 1).max() < 0.02
    assert contents(tmp_path / "models").keys() == contents(study / "models/dreambooth" / TRIAL).keys()
    base, one, two = map(
        unet, (study / "models/base", study / "models/dreambooth" / TRIAL / FINDING, tmp_path / "models" / FINDING)
    )
    assert (two - one).norm() < 0.3 * (one - base).norm()


@slow
def test_the_first_of_two_processes_takes_nothing_away_before_the_other_has_looked(base, tmp_path):
    """All is taught when outputs find no place; then the second process, held back, is to find what waits, too."""
    profile = tmp_path / "repository" / "profiles" / "tiny"
    prepared.write(profile, base)
    late = "import hashlib, os, time\ndigest = hashlib.file_digest\n"
    late += (
        "def held_back(*file):\n    time.sleep(0.1 * int(os.environ.get('LOCAL_RANK', 0)))\n    return digest(*file)\n"
    )
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(f"{late}hashlib.file_digest = held_back\n")
    what = f"params.yaml --shots {prepared.SHOTS} --trial 0 {TABLES} --boxes data/boxes.csv --votes data/votes.csv"
    (tmp_path / "taken").touch()
    nowhere = f"{what} --pipeline models/base --out {tmp_path}/taken --log {tmp_path}/log"
    with pytest.raises(AssertionError, match="taken"):
        by_two("stages.dreambooth", nowhere, profile)
    assert len(list((profile / "scratch").glob("*.made"))) == len(prepared.RARE)
    placed = f"{what} --pipeline models/base --out {tmp_path}/out --log {tmp_path}/log"
    said = by_two("stages.dreambooth", placed, profile, tmp_path / "late")
    assert "dreambooth nodule_mass" not in said, "none is taught again"
    assert {folder.name for folder in (tmp_path / "out").iterdir()} == set(prepared.RARE)
    assert not any((profile / "scratch").iterdir())


def test_alone_all_is_its_own_share():
    assert (processes.count(), processes.first()) == (1, True)
    assert processes.share(range(5)) == range(5)
