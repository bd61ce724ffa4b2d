import errno
import math

import pytest
import torch

from raremix.runtime import checkpoints
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import arithmetic, seeded
from raremix.runtime.errors import UserError
from raremix.runtime.files import replacing, sha256
from raremix.runtime.losses import Losses
from raremix.runtime.schedule import cosine
from raremix.runtime.seeds import generator, seed_for


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
    with pytest.raises(OSError, match="full"), replacing(path) as temporary:
        temporary.write_text("ha")
        raise OSError(errno.ENOSPC, "disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


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


def test_a_checkpoint_is_found_by_the_same_params_and_inputs_only(tmp_path):
    data = tmp_path / "manifest.csv"
    data.write_text("a")
    Checkpoint("stage", {"lr": 1}, data).save(1, losses=Losses())
    assert Checkpoint("stage", {"lr": 2}, data).restore(losses=Losses()) == 0
    data.write_text("b")
    assert Checkpoint("stage", {"lr": 1}, data).restore(losses=Losses()) == 0
    data.write_text("a")
    assert Checkpoint("stage", {"lr": 1}, data).restore(losses=Losses()) == 1


def test_saving_waits_for_its_time(monkeypatch):
    checkpoint = Checkpoint("stage")
    checkpoint.save_if_due(1, losses=Losses())
    assert checkpoint.restore(losses=Losses()) == 0
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_SAVES", 0.0)
    checkpoint.save_if_due(2, losses=Losses())
    assert checkpoint.restore(losses=Losses()) == 2


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    losses = Losses()
    losses.append(torch.tensor(1.0))
    with pytest.raises(UserError, match="nan at step 1"):
        losses.append(torch.tensor(math.nan))


def test_the_learning_rate_rises_and_falls_to_nothing():
    rates = [cosine(step, 100, 10) for step in range(100)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_precision_is_what_was_asked_for():
    layer, x = torch.nn.Linear(4, 4), torch.randn(2, 4)
    with arithmetic("bfloat16"):
        assert layer(x).dtype == torch.bfloat16
    with arithmetic("float32"):
        assert layer(x).dtype == torch.float32
