"""Files that were cut off, or of which bits were flipped.

Each reader gives a value, a reason in one line, or a UserError that names the file; what is whole beside them is read
all the same.
"""

import hashlib
import re
import struct
import zlib
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_cells import READERS
from vindr_tree import compressed, picture, run, write_dicom, write_inventory, write_tree

from raremix.data import ingest as room
from raremix.data import nih, table, vindr
from raremix.data.records import read_inventory
from raremix.runtime.errors import UserError
from stages.ingest import Ingest, ingest
from stages.sections import Data

COLUMNS = {"image_id": "image_id", "file": "file", "patient_id": "who", "visit": "visit"}
LAYOUTS = {
    "vindr": lambda root, listed: vindr.read(root, listed),
    "nih": lambda root, listed: nih.read(root, listed, {}),
    "table": lambda root, listed: table.read(root, listed, COLUMNS, {"air": ["air"]}),
}
TABLES = [
    ("vindr", "annotations/image_labels_train.csv"),
    ("vindr", "annotations/annotations_train.csv"),
    ("nih", "Data_Entry_2017.csv"),
    ("nih", "BBox_List_2017.csv"),
    ("nih", "test_list.txt"),
    ("table", "manifest.csv"),
    ("table", "boxes.csv"),
    ("table", "manifest.parquet"),
]


def cut(share):
    return lambda content: content[: int(share * len(content))]


def flip(places):
    def _flip(content):
        damaged = bytearray(content)
        for share, bits in places:
            damaged[int(share * len(content))] ^= bits
        return bytes(damaged)

    return _flip


SHARES = st.floats(0, 1, exclude_max=True)
CUTS = st.builds(cut, SHARES)
FLIPS = st.builds(flip, st.lists(st.tuples(SHARES, st.integers(1, 255)), min_size=1, max_size=5))
DAMAGE = CUTS | FLIPS


def write_table(root):
    """Three PNGs, their table and one box."""
    root.mkdir()
    for index in range(3):
        Image.fromarray((picture(index) // 16).astype(np.uint8)).save(root / f"{index}.png")
    rows = [(f"x{index}", f"{index}.png", f"p{index}", 0, index % 2) for index in range(3)]
    pd.DataFrame(rows, columns=["image_id", "file", "who", "visit", "air"]).to_csv(root / "manifest.csv", index=False)
    (root / "boxes.csv").write_text("image_id,finding,x,y,w,h\nx1,air,3,4,10,20.5\n")
    write_inventory(root)
    return root


def write_nih(root):
    root.mkdir()
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    entries = ["00000001_000.png,Edema|Mass,0,1,58,M,PA", "00000002_000.png,No Finding,12,2,81,F,AP"]
    (root / "Data_Entry_2017.csv").write_text("\n".join([header, *entries, ""]))
    (root / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Mass,4,6,10.5,12,,,\n"
    )
    (root / "train_val_list.txt").write_text("00000001_000.png\n")
    (root / "test_list.txt").write_text("00000002_000.png\n")
    write_inventory(root)
    return root


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A small data set of each layout."""
    base = tmp_path_factory.mktemp("trees")
    trees = {"vindr": write_tree(base / "vindr"), "nih": write_nih(base / "nih"), "table": write_table(base / "table")}
    pd.read_csv(trees["table"] / "manifest.csv").to_parquet(base / "manifest.parquet")
    return trees


COMPRESSIONS = ("RLELossless", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@contextmanager
def refusing_only_by(*names):
    """Let a UserError pass that names one of the files, which may contradict each other, and no other exception."""
    try:
        yield
    except UserError as error:
        if not any(name in str(error) for name in names):
            raise


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_table_of_ours_is_read_or_named(folder, name):
    read, whole = READERS[name]

    @settings(max_examples=40, deadline=None)
    @given(DAMAGE)
    def survives(damage):
        (folder / name).write_bytes(damage(whole.encode()))
        with refusing_only_by(name):
            read(folder / name)

    survives()


@pytest.mark.parametrize(("layout", "name"), TABLES)
def test_a_damaged_table_of_a_user_s_is_read_or_named(trees, layout, name):
    root, listed = trees[layout], read_inventory(trees[layout] / "inventory.csv")
    file = root / name
    whole = (file if file.is_file() else root.parent / name).read_bytes()
    if file.suffix == ".parquet":
        del listed["manifest.csv"]

    @settings(max_examples=25, deadline=None)
    @given(CUTS if file.suffix == ".parquet" else DAMAGE)
    def survives(damage):
        content = damage(whole)
        file.write_bytes(content)
        with refusing_only_by(*(table for one, table in TABLES if one == layout)):
            LAYOUTS[layout](root, {**listed, name: hashlib.sha256(content).hexdigest()})

    try:
        survives()
    finally:
        file.write_bytes(whole) if name in listed else file.unlink()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dicom", *COMPRESSIONS, "png"])
def test_a_damaged_image_is_converted_or_set_aside_for_one_reason(folder, kind):
    name = "x.png" if kind == "png" else "x.dicom"
    if kind == "png":
        Image.fromarray((picture(3) // 16).astype(np.uint8)).save(folder / name)
    else:
        write_dicom(folder / name, picture(3, 24, 20), PatientID="p1", WindowCenter=2000, WindowWidth=3000)
    whole = compressed(folder / name, kind) if kind in COMPRESSIONS else (folder / name).read_bytes()

    @settings(max_examples=100, deadline=None)
    @given(DAMAGE)
    def survives(damage):
        content = damage(whole)
        (folder / name).write_bytes(content)
        (folder / "note.json").unlink(missing_ok=True)
        digest = hashlib.sha256(content).hexdigest()
        job = room.Job(folder / name, digest, folder / "out.png", 24, "header", "code", folder / "note.json")
        found = room._convert(job)
        if isinstance(found, str):
            assert found
            assert found.isprintable()
        else:
            assert np.asarray(Image.open(folder / "out.png")).shape == (24, 24)

    survives()


def bomb(file):
    """Make the PNG ``file`` claim a size that would take gigabytes."""
    content = file.read_bytes()
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + content[24:29]
    file.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


def shorten(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def invert_header(file):
    content = file.read_bytes()
    file.write_bytes(content[:400] + bytes(255 - byte for byte in content[400:700]) + content[700:])


def outcome(out):
    """Each image's bytes, and why each other was set aside."""
    bad = pd.read_csv(out / "quarantine.csv").set_index("path")["reason"].to_dict()
    return {path.name: path.read_bytes() for path in (out / "images").iterdir()}, bad


@pytest.mark.filterwarnings("ignore")
def test_broken_dicoms_are_set_aside_and_the_others_are_as_without_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_tree(tmp_path / "raw")
    run(root)
    whole, none = outcome(tmp_path)
    assert not none
    shorten(root / "train" / "a.dicom")
    invert_header(root / "train" / "c.dicom")
    (root / "test" / "f.dicom").write_bytes(b"")
    write_inventory(root)
    run(root, max_bad=0.5)
    images, bad = outcome(tmp_path)
    assert images == {name: whole[name] for name in ("b.png", "d.png", "e.png")}
    assert sorted(bad) == ["test/f.dicom", "train/a.dicom", "train/c.dicom"]
    assert all(reason.isprintable() for reason in bad.values())
    assert re.fullmatch(r"can't be decoded: .* bytes of pixel data .*", bad["train/a.dicom"])
    assert bad["train/c.dicom"] == "no Rows", "its header is noise"
    assert bad["test/f.dicom"].startswith("can't be decoded: ")


def convert_table(root):
    section = Ingest(size=24, rule="any", window="header", max_bad=0.7, columns=COLUMNS, findings={"air": ["air"]})
    out = root.parent / "out"
    write_inventory(root)
    ingest(Data(str(root), "table"), section, root / "inventory.csv", out / "images", out, out / "metrics")
    return outcome(out)


@pytest.mark.filterwarnings("ignore")
def test_broken_pngs_are_set_aside_and_the_others_are_as_without_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_table(tmp_path / "root")
    whole, _ = convert_table(root)
    shorten(root / "0.png")
    bomb(root / "2.png")
    images, bad = convert_table(root)
    assert images == {"x1.png": whole["x1.png"]}
    assert "truncated" in bad["0.png"]
    assert "more than any radiograph has" in bad["2.png"] or "DecompressionBomb" in bad["2.png"]


@pytest.mark.parametrize(
    ("name", "end", "message"),
    [
        ("manifest.csv", -2, r"manifest.csv, row 4, column 'air': '' is neither 0 nor 1"),
        ("manifest.csv", -4, r"manifest.csv, row 4, column 'visit': '' is no whole number"),
        ("manifest.csv", 20, r"manifest.csv: no column 'visit', which params.yaml, ingest.columns.visit names"),
        ("manifest.csv", 0, r"manifest.csv: not a table \(No columns"),
        ("boxes.csv", -5, r"boxes.csv, row 2: x, y, w or h is no number"),
        ("boxes.csv", 10, r"boxes.csv: no column finding, x, y, w, h; its header must be"),
    ],
)
def test_a_table_that_was_cut_off_is_refused_with_its_row(tmp_path, monkeypatch, name, end, message):
    monkeypatch.chdir(tmp_path)
    root = write_table(tmp_path / "root")
    before = convert_table(root)
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[:end])
    with pytest.raises(UserError, match=message):
        convert_table(root)
    assert outcome(tmp_path / "out") == before, "what the last run made stays"
