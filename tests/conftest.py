"""Fixtures that several tests share."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks: small models, and bytes that are compared, are a CPU's

import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
import torch._dynamo.utils
from filelock import FileLock
from through_dvc import clone, digests, timed_repro
from xdist.scheduler import LoadFileScheduling

from raremix.data import captions
from raremix.generator import autoencoder, denoiser
from raremix.generator.base import assemble
from raremix.generator.latents import encode
from raremix.generator.tokens import tokenizer
from raremix.runtime import checkpoints
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import one_core
from raremix.runtime.files import read_json, write_json

# They use ``finished``. The first ones take longest, so they begin; the other one's turn comes when the study is there,
# and early enough that it does not run alone at the end.
OF_STUDY, LATER = ("test_study", "test_machines", "test_processes", "test_repro"), "test_study_faults"
BEFORE_LATER = 1 / 3  # of all other files

TIMES = ".git/seconds.json"  # where it is no file of the study


class StudyThenFiles(LoadFileScheduling):
    """Most tests of the finished study go to one worker, as others would wait for it; all else goes by file."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "study" if Path(file).stem in OF_STUDY else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return StudyThenFiles(config, log)


def pytest_collection_modifyitems(items):
    if others := {item.path.stem for item in items if "finished" in item.fixturenames} - {*OF_STUDY, LATER}:
        raise pytest.UsageError(f"tests/conftest.py, OF_STUDY: lacks {', '.join(sorted(others))}")
    files = list(dict.fromkeys(item.path.stem for item in items if item.path.stem not in (*OF_STUDY, LATER)))
    turns = dict.fromkeys(OF_STUDY, 0) | dict.fromkeys(files[: round(BEFORE_LATER * len(files))], 1) | {LATER: 2}
    items.sort(key=lambda item: turns.get(item.path.stem, 3))


@pytest.fixture(scope="session", autouse=True)
def a_core_each():
    """Workers side by side have no core for the threads of each other, which then wait: some tests for minutes."""
    with one_core():
        yield


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Every test has a scratch directory of its own."""
    monkeypatch.setattr(checkpoints, "SCRATCH", tmp_path / "scratch")


@pytest.fixture
def killed_after(monkeypatch):
    """``with killed_after(step):`` saves after every step and presses Ctrl-C once ``step`` is saved."""

    @contextmanager
    def killing(last):
        save = checkpoints.Checkpoint.save

        def dies(self, step, **parts):
            save(self, step, **parts)
            if step == last:
                raise KeyboardInterrupt

        with monkeypatch.context() as once:
            once.setattr(checkpoints, "SECONDS_BETWEEN_SAVES", 0.0)
            once.setattr(checkpoints, "SHARE_OF_TIME", float("inf"))
            once.setattr(checkpoints.Checkpoint, "save", dies)
            yield

    return killing


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny trained pipeline on disk."""
    pixels, prompts = tiny.images(8), (tiny.PROMPTS * 3)[:8]
    vae, _ = autoencoder.train(pixels, tiny.AUTOENCODER, "float32", Checkpoint("vae"))
    tokens = tokenizer(captions.vocabulary(prompts), 12)
    latents = encode(vae, pixels, "float32")
    boxes = torch.zeros(8, 1, 4, 4)
    unet, encoder, _ = denoiser.train(latents, boxes, prompts, tokens, tiny.DENOISER, "float32", Checkpoint("unet"))
    path = tmp_path_factory.mktemp("models") / "base"
    assemble(vae, unet, encoder, tokens).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """The smoke profile of a copy of the repository after ``dvc repro``, the digests of what it made, stages' times.

    Whoever comes first makes it for all workers; each has a copy of it.
    """
    own = tmp_path_factory.getbasetemp()
    made = (own if worker_id == "master" else own.parent) / "finished"
    with FileLock(made.with_suffix(".lock")):
        if not made.is_dir():
            begun = tmp_path_factory.mktemp("begun")
            write_json(begun / TIMES, timed_repro(clone(begun)))
            begun.rename(made)
    copy = shutil.copytree(made, own / "first", symlinks=True)
    profile = copy / "profiles" / "smoke"
    return profile, digests(profile), read_json(copy / TIMES, "")


@pytest.fixture(scope="session")
def study(finished):
    """The finished profile; tests may change it."""
    return finished[0]


@pytest.fixture
def compiled_graphs():
    """Tells how many graphs torch.compile has made since the test began."""
    torch._dynamo.utils.counters.clear()
    return lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.fixture
def without_a_compiler(monkeypatch):
    """torch.compile traces, and leaves what it traced to torch's own kernels: seconds in place of minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
