"""Real radiographs stay where they are; what is there is listed, and held against its publisher's list."""

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from raremix.data import inventory
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from stages.acquire import Phantom, acquire
from stages.sections import Data, Study

STUDY = Study(["cardiomegaly", "nodule_mass"], ["nodule_mass"], ["nodule_mass"], ["vanilla"], [1], [0])
PHANTOM = Phantom(3, 150, 24, 4, 3, 48, 40.0)  # of no account here


def listed(folder):
    return pd.read_csv(folder / "raw" / "inventory.csv")["path"].tolist()


def test_real_data_stay_where_they_are_and_are_listed(tmp_path):
    (tmp_path / "real" / "train").mkdir(parents=True)
    (tmp_path / "real" / "train" / "a.dicom").write_bytes(b"x" * 10)
    (tmp_path / "real" / "labels.csv").write_text("image_id\na\n")
    (tmp_path / "real" / "notes.txt").write_text("not listed")
    acquire(Data(str(tmp_path / "real"), "vindr"), PHANTOM, STUDY, tmp_path / "raw")
    assert listed(tmp_path) == ["labels.csv", "train/a.dicom"]
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["inventory.csv"]


def test_a_folder_that_can_not_be_read_is_named_and_no_inventory_written(tmp_path, monkeypatch):
    root = tmp_path / "real"
    for folder in ("open", "closed"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.png").write_bytes(b"x")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=rf"^{root}/closed: the folder can't be read \(Permission denied\); mend"):
        acquire(Data(str(root), "table"), PHANTOM, STUDY, tmp_path / "raw")
    assert not (tmp_path / "raw" / "inventory.csv").exists()


def test_folders_behind_links_are_passed_over_and_linked_files_listed(tmp_path):
    root = tmp_path / "real"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "a.png").write_bytes(b"x")
    (root / "b.png").symlink_to(root / "deep" / "er" / "a.png")
    (root / "round").symlink_to(root)
    (root / "gone.png").symlink_to(root / "nowhere.png")
    acquire(Data(str(root), "table"), PHANTOM, STUDY, tmp_path / "raw")
    assert listed(tmp_path) == ["b.png", "deep/er/a.png"]


@pytest.fixture
def published(tmp_path):
    """A data set with its publisher's list, which names a file that was not downloaded."""
    root = tmp_path / "real"
    (root / "train").mkdir(parents=True)
    (root / "train" / "a.dicom").write_bytes(b"a" * 10)
    (root / "train" / "b.dicom").write_bytes(b"b" * 10)
    (root / "labels.csv").write_text("image_id\na\n")
    publish(root, " ")  # as physionet.org does
    return root


def publish(root, between):
    lines = [f"{sha256(path)}{between}{path.relative_to(root)}" for path in sorted(root.rglob("*.*"))]
    lines += [f"{'0' * 64}{between}test/c.dicom", f"{'1' * 64}{between}LICENSE.txt"]
    (root / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("between", [" ", "  ", " *", "  ./"], ids=["PhysioNet", "coreutils", "binary", "find"])
def test_files_are_held_against_the_publisher_s_list(published, tmp_path, capsys, between):
    (published / "SHA256SUMS.txt").unlink()
    publish(published, between)
    acquire(Data(str(published), "vindr"), PHANTOM, STUDY, tmp_path / "raw")
    said = "3 of 3 files are listed in SHA256SUMS.txt and agree; 1 that it lists are not here"
    assert said in capsys.readouterr().out


def test_a_list_may_begin_with_a_mark_and_end_with_blank_lines(published, tmp_path, capsys):
    text = (published / "SHA256SUMS.txt").read_text()
    (published / "SHA256SUMS.txt").write_text(text + "\n \n", encoding="utf-8-sig")
    acquire(Data(str(published), "vindr"), PHANTOM, STUDY, tmp_path / "raw")
    assert "3 of 3 files are listed in SHA256SUMS.txt and agree" in capsys.readouterr().out


def test_files_that_are_not_as_published_are_named(published, tmp_path):
    for name in ("b", "a"):
        (published / "train" / f"{name}.dicom").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"train/a.dicom: not as .*SHA256SUMS.txt says, and 1 more; get it again"):
        acquire(Data(str(published), "vindr"), PHANTOM, STUDY, tmp_path / "raw")
    assert not (tmp_path / "raw" / "inventory.csv").exists()


def test_a_file_that_was_got_again_with_its_old_time_is_hashed_again(published, tmp_path):
    file = published / "train" / "b.dicom"
    right, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    for content, refused in ((b"x" * len(right), True), (right, False)):
        file.write_bytes(content)
        os.utime(file, ns=times)
        with pytest.raises(UserError, match=r"b\.dicom: not as") if refused else nullcontext():
            acquire(Data(str(published), "vindr"), PHANTOM, STUDY, tmp_path / "raw")


def test_a_broken_list_is_named_before_anything_is_read(published, tmp_path):
    (published / "SHA256SUMS.txt").write_text("<html>log in</html>\n")
    with pytest.raises(UserError, match=r"SHA256SUMS.txt, line 1: no SHA-256 and path"):
        acquire(Data(str(published), "vindr"), PHANTOM, STUDY, tmp_path / "raw")


def test_real_data_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match=r"data.root: .*nowhere is no directory"):
        acquire(Data(str(tmp_path / "nowhere"), "vindr"), PHANTOM, STUDY, tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "labels.csv").write_text("image_id\n")
    with pytest.raises(UserError, match="holds no image"):
        acquire(Data(str(tmp_path / "empty"), "table"), PHANTOM, STUDY, tmp_path / "raw")


@pytest.mark.parametrize(("name", "shown"), [(b"R\xf6", r"R\\udcf6"), (b"a\rb", r"a\\rb")])
def test_a_name_that_a_table_can_not_hold_is_named(tmp_path, name, shown):
    (tmp_path / "real").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "real") + b"/" + name + b".png")).write_bytes(b"x")
    with pytest.raises(
        UserError, match=rf"^data.root: the name '.*/real/{shown}.png' is no UTF-8, or has a line break"
    ):
        acquire(Data(str(tmp_path / "real"), "table"), PHANTOM, STUDY, tmp_path / "raw")


def test_what_an_interrupted_run_has_hashed_is_not_hashed_again(published, tmp_path, monkeypatch):
    begun = []

    def until_third(path):
        begun.append(path.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return sha256(path)

    monkeypatch.setattr(inventory, "cores", lambda: 1)
    monkeypatch.setattr(inventory, "sha256", until_third)
    with pytest.raises(KeyboardInterrupt):
        acquire(Data(str(published), "vindr"), PHANTOM, STUDY, tmp_path / "raw")
    with (tmp_path / ".raw.hashes").open("ab") as notes:
        notes.write(b"0123 cut \xff")
    os.utime(published / "labels.csv", (1, 1))  # changed since, for all that is known
    (published / "SHA256SUMS.txt").unlink()
    acquire(Data(str(published), "vindr"), PHANTOM, STUDY, tmp_path / "raw")
    assert begun == ["labels.csv", "a.dicom", "b.dicom", "labels.csv", "b.dicom"]
    table = pd.read_csv(tmp_path / "raw" / "inventory.csv")
    assert table["sha256"].tolist() == [sha256(published / path) for path in table["path"]]
    assert not (tmp_path / ".raw.hashes").exists()
