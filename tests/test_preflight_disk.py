"""What a published base model and its fine-tuned copies take on disk, told and held against what is free."""

from dataclasses import replace

import pytest
from test_check import FILE, ROOT, STAGES, params
from test_preflight import USE, numbers
from test_preflight import folder as folder
from tiny import SIZE

from raremix.generator import preflight
from raremix.generator.base import load
from raremix.runtime.errors import UserError
from stages.check import check as check_params
from stages.check import check_weights

COUNT = {"unet": 5, "vae": 2, "text_encoder": 3}


@pytest.fixture
def room(monkeypatch):
    """``room(bytes)`` leaves that much of the disk free."""
    usage = preflight.shutil.disk_usage("/")
    return lambda free: monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage._replace(free=free))


def test_a_study_too_large_for_the_disk_is_refused_before_it_begins(folder, room, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pipeline, use = load(folder), replace(USE, copies=3)
    whole, unet = (numbers(pipeline, *names) for names in (preflight.NETWORKS, ["unet"]))
    needed = 3 * 4 * whole + 2 * (4 + 8) * unet
    room(needed)
    assert f"{needed / 1e9:.1f} GB of {needed / 1e9:.1f} GB free on disk for models" in preflight.check(folder, use)
    room(needed - 1)
    told = rf"^params.yaml, base.pretrained: the study's models take .* GB of disk, and {tmp_path} has .*lora_rank$"
    with pytest.raises(UserError, match=told):
        preflight.check(folder, use)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, 12 * 5),
        ({"kept": 3}, 7 * 5),
        ({"averaged": True}, 16 * 5),
        ({"text_encoder": True}, 12 * 8),
        ({"lora": True}, 0),
    ],
)
def test_beside_models_there_is_a_state_and_the_one_that_takes_its_place(changes, state):
    assert preflight._stored(COUNT, replace(USE, copies=2, **changes)) == 2 * 4 * 10 + 2 * state
    assert preflight._stored(COUNT, replace(USE, copies=0, **changes)) == 0


@pytest.mark.parametrize(
    ("lora_rank", "there", "copies"),
    [
        (None, [], 1 + 2 * 2),
        (4, [], 1),
        (None, ["base"], 2 * 2),
        (None, ["base", "dreambooth/10-0/nodule_mass", "dreambooth/10-0/cardiomegaly"], 2),
        (4, ["base"], 0),
    ],
    ids=["whole", "LoRA", "the base is there", "a trial is there", "all is there"],
)
def test_what_is_there_already_is_not_counted(folder, monkeypatch, tmp_path, lora_rank, there, copies):
    for name in there:
        (tmp_path / "models" / name).mkdir(parents=True)
    changed = params()
    changed["base"]["pretrained"], changed["ingest"]["size"] = str(folder), SIZE
    changed["dreambooth"]["lora_rank"], changed["dreambooth"]["training"]["text_encoder"] = lora_rank, False
    changed["study"] |= {"synthesized": ["nodule_mass", "cardiomegaly"], "shots": [10], "trials": [0, 1]}
    monkeypatch.chdir(ROOT)
    values = check_params(changed, STAGES, FILE)
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(preflight, "check", lambda _, use: asked.append(use) or "told")
    assert check_weights(values) == "told\n"
    assert asked[0].copies == copies
