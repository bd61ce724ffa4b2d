"""A trial's models in one process: each as if alone, the base model loaded once, none taught twice after a kill."""

import errno
import gc
import os
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pandas as pd
import prepared
import pytest
from through_dvc import contents

from raremix.data.manifest import write_csv
from raremix.runtime.errors import UserError
from stages import dreambooth as room

FIRST, SECOND = prepared.RARE
TABLES = ("manifest.csv", "votes.csv", "boxes.csv", "metadata.csv", "splits", "images.sha256")


@pytest.fixture
def profile(base, tmp_path, monkeypatch):
    """A tiny study; the working directory."""
    monkeypatch.chdir(tmp_path)
    prepared.write(Path(), base)
    return tmp_path


def teach(findings=prepared.RARE, out="taught", teaching=prepared.TEACHING):
    study = replace(prepared.STUDY, synthesized=list(findings), minority=list(findings), findings=list(findings))
    files = [*(Path("data") / name for name in TABLES), Path("models/base")]
    room.dreambooth(study, teaching, prepared.SHOTS, 0, *files, Path(out) / "models", Path(out) / "log")


@pytest.fixture
def counted(monkeypatch):
    """The findings that are taught, and the folders that pipelines are loaded from, as it happens."""
    taught, loaded, fine_tune, load = [], [], room.fine_tune, room.load

    def _fine_tune(*arguments):
        taught.append(arguments[5])
        return fine_tune(*arguments)

    def _load(folder):
        loaded.append(folder)
        return load(folder)

    monkeypatch.setattr(room, "fine_tune", _fine_tune)
    monkeypatch.setattr(room, "load", _load)
    return taught, loaded


def test_a_finding_s_model_is_the_same_whatever_others_are_taught(profile, counted):
    taught, loaded = counted
    teach()
    assert taught == [f"{FIRST}-3-0", f"{SECOND}-3-0"]
    assert loaded == [Path("models/base")]
    for finding in (SECOND, FIRST):
        teach([finding], "alone")
    together, alone = contents(profile / "taught/models"), contents(profile / "alone/models")
    assert {name.split("/")[0] for name in together} == {FIRST, SECOND}
    assert together == alone
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert together[f"{FIRST}/{weights}"] != together[f"{SECOND}/{weights}"]
    for finding in prepared.RARE:
        losses = pd.read_csv(profile / "taught/log" / finding / "plots/metrics/loss.tsv", sep="\t")["loss"]
        assert len(losses) == prepared.TEACHING.training.steps
    assert not any(Path("scratch").iterdir())


def test_a_model_that_is_done_makes_room_before_the_next_is_taught(profile, monkeypatch):
    alive, fine_tune = [], room.fine_tune

    def _fine_tune(pipeline, *arguments):
        assert not any(one() for one in alive)
        alive.append(weakref.ref(pipeline.unet))
        return fine_tune(pipeline, *arguments)

    monkeypatch.setattr(room, "fine_tune", _fine_tune)
    gc.collect()
    gc.disable()
    try:
        teach()
    finally:
        gc.enable()
    assert len(alive) == len(prepared.RARE)


def test_a_kill_costs_no_finding_that_is_taught(profile, counted, monkeypatch):
    taught, _ = counted
    teach(out="whole")
    taught.clear()
    with monkeypatch.context() as once:
        fine_tune = room.fine_tune

        def killed(*arguments):
            if arguments[5].startswith(SECOND):
                raise KeyboardInterrupt
            return fine_tune(*arguments)

        once.setattr(room, "fine_tune", killed)
        with pytest.raises(KeyboardInterrupt):
            teach()
    assert not Path("taught").exists()
    teach()
    assert taught == [f"{FIRST}-3-0", f"{SECOND}-3-0"]
    assert contents(profile / "taught/models") == contents(profile / "whole/models")
    assert not any(Path("scratch").iterdir())


def test_a_kill_while_a_model_is_written_leaves_none_that_passes_for_whole(profile, monkeypatch):
    teach([FIRST], "whole")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(room, "write_lineage", killed)
        with pytest.raises(KeyboardInterrupt):
            teach([FIRST])
    teach([FIRST])
    assert contents(profile / "taught/models") == contents(profile / "whole/models")
    assert not any(Path("scratch").iterdir())


@pytest.mark.parametrize(("name", "calls"), [("give", 1), ("give", 2), ("give", 4), ("discard", 1)])
def test_a_kill_while_outputs_are_placed_costs_no_model_that_is_not_out(profile, counted, monkeypatch, name, calls):
    taught, _ = counted
    teach(out="whole")
    taught.clear()
    placed, place = [], getattr(room, name)

    def killed(*arguments):
        place(*arguments)
        placed.append(arguments)
        if len(placed) == calls:
            raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(room, name, killed)
        with pytest.raises(KeyboardInterrupt):
            teach()
    shutil.rmtree("taught")  # as DVC does before it runs a stage
    teach()
    assert contents(profile / "taught/models") == contents(profile / "whole/models")
    assert not any(Path("scratch").iterdir())
    again = [f"{FIRST}-3-0"] if name == "discard" else []
    assert taught == [f"{FIRST}-3-0", f"{SECOND}-3-0", *again]


def test_where_files_can_t_be_linked_they_are_copied(profile, monkeypatch):
    teach([FIRST], "linked")

    def refused(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    teach([FIRST], "copied")
    assert contents(profile / "copied/models") == contents(profile / "linked/models")
    assert not any(Path("scratch").iterdir())


def test_what_was_there_is_replaced(profile):
    stray = Path("taught/models") / FIRST / "stray"
    stray.parent.mkdir(parents=True)
    stray.touch()
    teach([FIRST])
    assert not stray.exists()
    assert (stray.parent / "model_index.json").is_file()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.assign(pneumothorax=0), rf"trial 0 trains on 0 images with {SECOND}"),
        (lambda rows: rows.drop(columns=SECOND), rf"study\.synthesized: unknown finding '{SECOND}'"),
    ],
    ids=["too few images", "unknown"],
)
def test_what_the_last_finding_lacks_is_said_before_the_first_is_taught(profile, counted, spoil, message):
    write_csv(spoil(pd.read_csv("data/manifest.csv", dtype=str, keep_default_na=False)), Path("data/manifest.csv"))
    with pytest.raises(UserError, match=message):
        teach()
    assert counted == ([], [])
