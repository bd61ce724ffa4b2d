import errno
import math
import resource
import shutil
from contextlib import contextmanager

import pytest
import torch
from diffusers.training_utils import EMAModel
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from raremix.runtime import checkpoints
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import seeded
from raremix.runtime.errors import UserError
from raremix.runtime.files import full_disk, read_json, replacing, sha256, write_json
from raremix.runtime.losses import TOGETHER, Losses
from raremix.runtime.schedule import cosine
from raremix.runtime.seeds import generator, seed_for


def torch_save(path):
    with path.open("wb") as file:
        torch.save(torch.zeros(100_000), file)


WRITERS = {
    "text": lambda path: path.write_text("x" * 100_000),
    "png": lambda path: Image.effect_noise((400, 400), 100).save(path, "png"),
    "torch": torch_save,
    "safetensors": lambda path: save_file({"weight": torch.zeros(100_000)}, path),
    "tokenizer": lambda path: Tokenizer(models.WordLevel({str(i): i for i in range(9999)}, "0")).save(str(path)),
}


@contextmanager
def small_disk():
    """No file can grow beyond some kilobytes: what a full disk is to a library, with another number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_seeds_are_the_same_everywhere_and_differ_by_name():
    assert seed_for("dreambooth", "nodule_mass", 17) == 2261685285875012500
    assert seed_for("a", "bc") != seed_for("ab", "c")
    assert 0 <= seed_for("x", 1) < 2**63


def test_generators_of_one_name_draw_alike():
    assert (generator("split", 0).random(5) == generator("split", 0).random(5)).all()
    assert not (generator("split", 0).random(5) == generator("split", 1).random(5)).any()
    assert torch.equal(torch.rand(3, generator=seeded("a", 1)), torch.rand(3, generator=seeded("a", 1)))


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(OSError, match=r"No space left on device: '.*table\.csv'"), replacing(path) as temporary:
        temporary.write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_what_a_killed_write_has_left_goes_with_the_next(tmp_path):
    path = tmp_path / "table.csv"
    with replacing(path) as temporary:
        temporary.write_text("ha")
        left = shutil.copy(temporary, tmp_path / "left")
    shutil.move(left, temporary)
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [{"new": math.nan}, {"new": "x" * 100_000}])
def test_json_that_can_not_be_written_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "summary.json"
    write_json(path, {"old": 1})
    with pytest.raises((ValueError, OSError)), small_disk():
        write_json(path, value)
    assert read_json(path, "") == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "told"), [(None, "no such file"), ("", "no whole JSON"), ('{"a": [1,', "no whole JSON"), ("[1]", "no map")]
)
def test_json_that_is_not_whole_is_one_line_with_what_to_do(tmp_path, text, told):
    path = tmp_path / "summary.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=f"summary.json: {told}.*; run it again") as refused:
        read_json(path, "run it again")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("library", WRITERS)
def test_a_full_disk_is_one_error_whatever_library_meets_it(tmp_path, library):
    with (
        pytest.raises(OSError, match="File too large") as full,
        small_disk(),
        replacing(tmp_path / "file") as temporary,
    ):
        WRITERS[library](temporary)
    assert full.value.errno == errno.EFBIG
    assert full.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), full_disk("the disk"):
        (tmp_path / "absent").read_text()
    with pytest.raises(RuntimeError, match="shapes"), full_disk("the disk"):
        raise RuntimeError("shapes differ")


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_checkpoint_gives_back_what_was_saved_and_forgets_when_cleared(tmp_path):
    model = torch.nn.Linear(2, 2)
    Checkpoint("stage", 1).save(7, model=model)
    other = torch.nn.Linear(2, 2)
    assert Checkpoint("stage", 1).restore(model=other) == 7
    assert torch.equal(other.weight, model.weight)
    Checkpoint("stage", 1).clear()
    assert Checkpoint("stage", 1).restore(model=other) == 0


def test_numbers_as_params_have_them_do_not_keep_a_state_from_being_loaded():
    """A killed classifier could not go on: jsonargparse's numbers are of types that weights alone may not hold."""
    rate, decay, count = PositiveFloat(0.5), ClosedUnitInterval(0.25), PositiveInt(3)
    checkpoint, model = Checkpoint("typed"), torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=rate)
    ema = EMAModel(list(model.parameters()), decay=decay, update_after_step=count)
    checkpoint.save(1, model=model, optimizer=optimizer, ema=ema)
    again = torch.optim.AdamW(torch.nn.Linear(2, 2).parameters(), 1.0)
    other = EMAModel(list(model.parameters()), decay=0.5)
    assert checkpoint.restore(model=torch.nn.Linear(2, 2), optimizer=again, ema=other) == 1
    assert again.param_groups[0]["weight_decay"] == again.param_groups[0]["lr"] == 0.5
    assert (other.decay, other.update_after_step) == (0.25, 3)


def test_a_checkpoint_is_found_by_the_same_params_and_inputs_only(tmp_path):
    data = tmp_path / "manifest.csv"
    data.write_text("a")
    Checkpoint("stage", {"lr": 1}, data).save(1, losses=Losses())
    assert Checkpoint("stage", {"lr": 2}, data).restore(losses=Losses()) == 0
    data.write_text("b")
    assert Checkpoint("stage", {"lr": 1}, data).restore(losses=Losses()) == 0
    data.write_text("a")
    assert Checkpoint("stage", {"lr": 1}, data).restore(losses=Losses()) == 1


def test_a_full_disk_leaves_the_older_state_whole():
    checkpoint, model = Checkpoint("stage"), torch.nn.Linear(2, 2)
    checkpoint.save(1, model=model)
    with pytest.raises(OSError, match=r"state\.pt"), small_disk():
        checkpoint.save(2, model=torch.nn.Linear(300, 300))
    assert [file.name for file in checkpoint.directory.iterdir()] == ["state.pt"]
    other = torch.nn.Linear(2, 2)
    assert checkpoint.restore(model=other) == 1
    assert torch.equal(other.weight, model.weight)


def test_a_checkpoint_is_not_found_by_another_source_of_the_package_or_the_stages(tmp_path, monkeypatch):
    sources = [tmp_path / "raremix" / "runtime" / "checkpoints.py", tmp_path / "stages" / "mix.py"]
    monkeypatch.setattr(checkpoints, "__file__", str(sources[0]))
    found = {Checkpoint("stage").directory}
    for source in sources:
        source.parent.mkdir(parents=True)
        source.write_text("old")
        found.add(Checkpoint("stage").directory)
        source.write_text("new")
        found.add(Checkpoint("stage").directory)
    assert len(found) == 5


def test_a_checkpoint_is_not_found_by_other_versions_of_the_libraries_that_compute(monkeypatch):
    versions = dict.fromkeys(checkpoints.LIBRARIES, "1")
    monkeypatch.setattr(checkpoints, "version", versions.__getitem__)
    found = {Checkpoint("stage").directory}
    for name in versions:
        versions[name] = "2"
        found.add(Checkpoint("stage").directory)
    assert {"torch", "torchvision", "diffusers", "transformers", "numpy"} <= set(versions)
    assert len(found) == 1 + len(versions)


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"<html>" + b, lambda b: b[9:]]
)
def test_a_state_that_is_damaged_is_one_line_with_what_to_do(damage):
    checkpoint, model = Checkpoint("stage"), torch.nn.Linear(2, 2)
    checkpoint.save(1, model=model)
    file = checkpoint.directory / "state.pt"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError) as refused:
        checkpoint.restore(model=model)
    assert str(refused.value).startswith(f"{file}: can't be read (")
    assert str(refused.value).endswith("; remove it and run again")
    assert "\n" not in str(refused.value)
    file.unlink()
    assert checkpoint.restore(model=model) == 0


def test_saving_waits_for_its_time(monkeypatch):
    checkpoint = Checkpoint("stage")
    checkpoint.save_if_due(1, losses=Losses())
    assert checkpoint.restore(losses=Losses()) == 0
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE_OF_TIME", float("inf"))
    checkpoint.save_if_due(2, losses=Losses())
    assert checkpoint.restore(losses=Losses()) == 2


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    losses = Losses()
    for value in (1.0, math.nan, 2.0):
        losses.append(torch.tensor(value))
    with pytest.raises(UserError, match="nan at step 1"):
        losses.values  # noqa: B018 - reads them


def test_losses_are_read_together_and_none_is_saved_that_is_not_finite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    losses = Losses()
    for step in range(TOGETHER - 1):
        losses.append(torch.tensor(math.inf if step == 5 else float(step)))
    with pytest.raises(UserError, match="inf at step 5"):
        Checkpoint("stage").save(TOGETHER, losses=losses)
    assert Checkpoint("stage").restore(losses=Losses()) == 0
    losses = Losses()
    losses.append(torch.tensor(math.nan))
    with pytest.raises(UserError, match="nan at step 0"):
        for step in range(TOGETHER - 1):
            losses.append(torch.tensor(float(step)))


def test_losses_of_a_checkpoint_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = Losses(), Losses()
    first.append(torch.tensor(0.5))
    Checkpoint("stage").save(1, losses=first)
    assert Checkpoint("stage").restore(losses=second) == 1
    second.append(torch.tensor(0.25))
    assert second.values == [0.5, 0.25]


def test_the_learning_rate_rises_and_falls_to_nothing():
    rates = [cosine(step, 100, 10) for step in range(100)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
