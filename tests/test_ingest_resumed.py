from pathlib import Path

import pandas as pd
import pytest
from vindr_tree import picture, run, write_dicom, write_inventory, write_tree

from raremix.data import ingest as room
from raremix.runtime.errors import UserError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tree(tmp_path / "raw")


class Killed(BaseException):
    """No exception that the code may catch."""


def killed_after(count, monkeypatch):
    """Let ``count`` images be converted, then nothing."""
    left, convert = iter(range(count)), room._convert

    def until_killed(job):
        if next(left, None) is None:
            raise Killed
        return convert(job)

    monkeypatch.setattr(room, "_all", lambda jobs: map(until_killed, jobs))


class Counted:
    """A function, and how often it was called."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def decoded_again(tree, monkeypatch):
    """How many images are decoded in a run that comes to its end with all six."""
    with monkeypatch.context() as again:
        killed_after(6, again)
        again.setattr(room.dicom, "decode", counted := Counted(room.dicom.decode))
        assert len(run(tree)) == 6
    return counted.calls


def test_interrupted_ingest_keeps_the_images_of_the_last(tree, monkeypatch):
    run(tree)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "track", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tree)
    assert len(list((tree.parent / "images").iterdir())) == 6


def test_a_killed_ingest_goes_on_where_it_was_and_ends_with_the_same_bytes(tree, monkeypatch):
    run(tree)
    whole = outcome(tree)
    with monkeypatch.context() as during, pytest.raises(Killed):
        killed_after(4, during)
        run(tree)
    assert outcome(tree) == whole, "the last run's images stay until the new ones are complete"
    (tree.parent / ".images.part" / "f.png").write_bytes(b"half a fi")  # killed while it was written: no note of it
    (tree.parent / ".images.part" / "of-other-data.png").write_bytes(b"")
    assert decoded_again(tree, monkeypatch) == 2
    assert outcome(tree) == whole
    assert not list(tree.parent.glob(".images*"))


def test_an_ingest_killed_while_it_puts_its_images_in_place_goes_on_from_there(tree, monkeypatch):
    run(tree)
    whole = outcome(tree)

    def die(*_):
        raise Killed

    with monkeypatch.context() as during, pytest.raises(Killed):
        during.setattr(Path, "rename", die)
        run(tree)
    assert not (tree.parent / "images").exists()
    assert decoded_again(tree, monkeypatch) == 0
    assert outcome(tree) == whole


def test_what_was_converted_before_too_many_failed_is_not_done_again(tree, monkeypatch):
    whole = (tree / "train" / "a.dicom").read_bytes()
    (tree / "train" / "a.dicom").write_bytes(b"not DICOM")
    write_inventory(tree)
    with pytest.raises(UserError, match=r"^1 of 6 images can't be used"):
        run(tree)
    assert not (tree.parent / "images").exists()
    (tree / "train" / "a.dicom").write_bytes(whole)
    write_inventory(tree)
    monkeypatch.setattr(room, "cores", lambda: 1)
    assert decoded_again(tree, monkeypatch) == 1
    assert not list(tree.parent.glob(".images*"))


def outcome(tree):
    """The bytes of all that ingest writes."""
    tables = [(tree.parent / f"{name}.csv").read_bytes() for name in ("manifest", "votes", "boxes", "metadata")]
    return tables, {path.name: path.read_bytes() for path in (tree.parent / "images").iterdir()}


def resumed(tree, monkeypatch, change):
    """How many images are decoded by a run that goes on where another was killed, if ``change`` came between."""
    with monkeypatch.context() as during, pytest.raises(Killed):
        killed_after(4, during)
        run(tree)
    change(tree.parent / ".images.part", tree.parent / ".images.notes")
    with monkeypatch.context() as again:
        killed_after(6, again)
        again.setattr(room.dicom, "decode", counted := Counted(room.dicom.decode))
        run(tree)
    return counted.calls


def test_a_picture_that_another_run_was_killed_over_is_not_taken_for_this_one_s(tree, monkeypatch):
    run(tree)
    whole = outcome(tree)

    def other_window(pictures, notes):
        assert (notes / "a.json").is_file()
        (pictures / "a.png").write_bytes((pictures / "b.png").read_bytes())

    assert resumed(tree, monkeypatch, other_window) == 3
    assert outcome(tree) == whole


@pytest.mark.parametrize("note", ["", '{"of": [', "[]", "7", '{"of": []}'])
def test_a_note_that_can_not_be_read_is_no_note(tree, monkeypatch, note):
    run(tree)
    whole = outcome(tree)
    assert resumed(tree, monkeypatch, lambda _, notes: (notes / "a.json").write_text(note)) == 3
    assert outcome(tree) == whole


def test_what_other_code_has_converted_is_done_again(tree, monkeypatch):
    with monkeypatch.context() as during, pytest.raises(Killed):
        killed_after(4, during)
        run(tree)
    with monkeypatch.context() as again:
        killed_after(6, again)
        again.setattr(room, "version", lambda name: "another")
        again.setattr(room.dicom, "decode", counted := Counted(room.dicom.decode))
        run(tree)
    assert counted.calls == 6


def test_what_was_converted_before_the_source_or_the_size_changed_is_done_again(tree, monkeypatch):
    with monkeypatch.context() as during, pytest.raises(Killed):
        killed_after(4, during)
        run(tree)
    write_dicom(tree / "train" / "a.dicom", picture(99))
    write_inventory(tree)
    interrupted = run(tree)
    images = {path.name: path.read_bytes() for path in (tree.parent / "images").iterdir()}
    again = run(tree)
    assert images == {path.name: path.read_bytes() for path in (tree.parent / "images").iterdir()}
    pd.testing.assert_frame_equal(interrupted, again)
