"""What may befall ingest over a single image: it can't be read, kills its process, takes the memory, quotes a name."""

import errno
import os
from pathlib import Path

import pytest
from pydicom import dcmread
from vindr_tree import picture, run, write_dicom, write_inventory, write_tree

from raremix.data import ingest as room
from raremix.runtime.errors import UserError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tree(tmp_path / "raw")


def refusing(read, path, error):
    """``read``, a method of paths, but for ``path``."""

    def _read(self):
        if self == path:
            raise error
        return read(self)

    return _read


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_an_image_that_is_there_but_can_not_be_read_stops_the_run(tree, monkeypatch, number):
    bad = tree / "train" / "b.dicom"
    monkeypatch.setattr(Path, "read_bytes", refusing(Path.read_bytes, bad, OSError(number, os.strerror(number))))
    with pytest.raises(UserError, match=rf"^{bad}: can't be read \({os.strerror(number)}\); mend that and run it ag"):
        run(tree, max_bad=1.0)
    assert not (tree.parent / "quarantine.csv").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tree.parent)
    assert len(run(tree)) == 6


@pytest.fixture
def deadly(tree, monkeypatch):
    """An image that ends the process which decodes it; ``deadly()`` makes it harmless."""
    contents = {(tree / "train" / "b.dicom").read_bytes()}
    decode = room.dicom.decode

    def die(content, window):
        if content in contents:
            os._exit(9)
        return decode(content, window)

    monkeypatch.setattr(room.dicom, "decode", die)
    return contents.clear


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_over_which_a_worker_dies_is_set_aside_and_no_other(tree, deadly, monkeypatch, workers):
    monkeypatch.setattr(room, "cores", lambda: workers)
    assert len(run(tree, max_bad=0.2)) == 5
    table = (tree.parent / "quarantine.csv").read_text().splitlines()
    assert table[1:] == [f'train/b.dicom,"{room.DIED}"']
    assert not list(tree.parent.glob(".images*"))
    with pytest.raises(UserError, match=r"^1 of 6 images can't be used.* the first: train/b.dicom: a process died"):
        run(tree, max_bad=0.1)
    deadly()
    assert len(run(tree)) == 6, "it is tried again"


def test_an_image_over_which_a_worker_dies_for_another_s_memory_is_converted_alone(tree, monkeypatch):
    convert, alone = room.dicom.decode, tree.parent / "alone"

    def die_at_first(content, window):
        if not alone.exists():
            alone.touch()
            os._exit(9)
        return convert(content, window)

    monkeypatch.setattr(room.dicom, "decode", die_at_first)
    assert len(run(tree)) == 6
    assert len((tree.parent / "quarantine.csv").read_text().splitlines()) == 1


def test_workers_that_die_before_they_begin_an_image_end_the_run(tree, monkeypatch):
    monkeypatch.setattr(room, "_leave_interrupts_to_parent", lambda: os._exit(9))
    with pytest.raises(UserError, match=r"^ingest: processes die before they begin an image; free memory or use fewer"):
        run(tree)


def test_what_a_decoder_quotes_of_a_header_reaches_no_table(tree):
    for name, tag in (("b", "NumberOfFrames"), ("c", "PhotometricInterpretation")):
        file = tree / "train" / f"{name}.dicom"
        write_dicom(file, picture(1), **{tag: "12345678"})
        file.write_bytes(file.read_bytes().replace(b"12345678", b"DOE^JANE"))
    long = dcmread(tree / "train" / "d.dicom")
    long.add_new("NumberOfFrames", "LT", "isn't DOE^JANE " * 40)
    long.save_as(tree / "train" / "d.dicom")
    write_inventory(tree)
    run(tree, max_bad=0.5)
    told = (tree.parent / "quarantine.csv").read_text()
    assert "train/b.dicom,can't be decoded: ValueError" in told
    assert "train/d.dicom,can't be decoded: ValueError: invalid literal for int() with base 10: (...)\n" in told
    assert "train/c.dicom,a colour image (of no kind that DICOM knows)" in told
    assert "DOE" not in told


def test_too_little_memory_is_told_with_the_image(tree, monkeypatch):
    def fill(content, window):
        raise MemoryError

    monkeypatch.setattr(room.dicom, "decode", fill)
    with pytest.raises(UserError, match=r"train/a.dicom: too little memory to convert it; free memory or use fewer"):
        run(tree, max_bad=1.0)
