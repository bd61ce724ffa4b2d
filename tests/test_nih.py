"""NIH ChestX-ray14 as it is released: twelve folders of images, one table of entries, lists of parts, boxes."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from vindr_tree import write_inventory

from raremix.data import nih
from raremix.data.manifest import read_manifest
from raremix.data.records import read_inventory
from raremix.runtime.errors import UserError
from stages.acquire import acquire
from stages.ingest import Ingest, ingest
from stages.sections import Data

HEADER = [
    "Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position",
    "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]", "Unnamed: 11",
]  # fmt: skip
ENTRIES = [
    ("00000001_000.png", "Cardiomegaly", 0, 1, 58, "M", "PA"),
    ("00000001_001.png", "Cardiomegaly|Emphysema", 1, 1, 58, "M", "PA"),
    ("00000002_000.png", "No Finding", 0, 2, 81, "F", "AP"),
    ("00000003_000.png", "Mass|Nodule", 0, 3, 44, "F", "PA"),
]
BOXES = [("00000003_000.png", "Mass", 4, 6, 10, 12), ("00000001_000.png", "Infiltrate", 1, 1, 4, 4)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "nih"
    for place, (name, *_) in enumerate(ENTRIES):
        folder = root / f"images_{1 + place % 2:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (np.arange(40 * 40) // 8 + 5 * place).reshape(40, 40).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    rows = [[*entry, 2682, 2749, 0.143, 0.143, ""] for entry in ENTRIES]
    pd.DataFrame(rows, columns=HEADER).to_csv(root / "Data_Entry_2017.csv", index=False)
    boxes = [",".join(map(str, box)) + ",,," for box in BOXES]
    (root / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *boxes]) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(entry[0] for entry in ENTRIES[:3]))
    (root / "test_list.txt").write_text(ENTRIES[3][0] + "\n")
    write_inventory(root)
    return root


def read(root, findings=None):
    return nih.read(root, read_inventory(root / "inventory.csv"), findings or {})


def edit(root, change):
    table = pd.read_csv(root / "Data_Entry_2017.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(root / "Data_Entry_2017.csv", index=False)
    write_inventory(root)


def test_entries_are_records_wherever_their_images_lie(root):
    source = read(root)
    assert len(source.findings) == 14
    assert not source.bad
    assert [record.path for record in source.records][:2] == [
        "images_001/images/00000001_000.png",
        "images_002/images/00000001_001.png",
    ]
    second, third, fourth = source.records[1:]
    assert second.image_id == "00000001_001"
    assert {finding for finding, vote in second.votes.items() if vote} == {"cardiomegaly", "emphysema"}
    assert second.facts == {"patient_id": "1", "visit": "1", "view": "PA", "sex": "M"}
    assert not any(third.votes.values())
    assert [record.part for record in source.records] == ["train", "train", "train", "test"]
    assert [(box.finding, box.corners) for box in fourth.boxes] == [("mass", (4, 6, 14, 18))]
    assert [box.finding for box in source.records[0].boxes] == ["infiltration"], "boxes spell it otherwise"


def test_findings_may_be_joined(root):
    source = read(root, {"nodule_mass": ["Nodule", "Mass"], "cardiomegaly": ["Cardiomegaly"]})
    assert source.findings == ["nodule_mass", "cardiomegaly"]
    assert [record.votes["nodule_mass"] for record in source.records] == [0, 0, 0, 1]
    assert [box.finding for box in source.records[3].boxes] == ["nodule_mass"]


def test_the_release_of_2020_and_one_without_lists_or_boxes(root):
    edit(root, lambda table: table.rename(columns={"Patient Gender": "Patient Sex"}))
    (root / "Data_Entry_2017.csv").rename(root / "Data_Entry_2017_v2020.csv")
    for name in ("train_val_list.txt", "BBox_List_2017.csv"):
        (root / name).unlink()
    write_inventory(root)
    source = read(root)
    assert source.records[0].facts["sex"] == "M"
    assert {record.part for record in source.records} == {""}
    assert not any(record.boxes for record in source.records)


def test_an_image_that_was_not_downloaded_is_set_aside(root):
    (root / "images_001" / "images" / "00000002_000.png").unlink()
    write_inventory(root)
    source = read(root)
    assert [(bad.path, bad.reason) for bad in source.bad] == [
        ("00000002_000.png", "listed in Data_Entry_2017.csv, but missing")
    ]
    assert len(source.records) == 3


def test_images_without_an_entry_are_left_out_and_counted(root, capsys):
    edit(root, lambda table: table.drop(index=3))
    assert len(read(root).records) == 3
    assert "1 images have no row in Data_Entry_2017.csv and are left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Finding Labels", "Cardiomegaly|Effusions", r"row 3: 'Effusions' is no label of ChestX-ray14"),
        ("Finding Labels", "", r"row 3: '' is no label"),
        ("Image Index", "00000001_000.png", r"row 3: image '00000001_000.png' is there twice"),
        ("Image Index", "../../etc/pass wd.png", r"row 3: image id 'pass wd' is not of letters"),
        ("Image Index", "null.png", r"row 3: image id 'null' stands for none; give the image another"),
        ("Follow-up #", "one", r"row 3, column 'Follow-up #': 'one' is no whole number"),
        ("Follow-up #", "9" * 30, r"row 3, column 'Follow-up #': '9{30}' is no whole number"),
    ],
)
def test_a_row_that_is_wrong_is_named(root, column, value, message):
    def change(table):
        table.loc[1, column] = value
        return table

    edit(root, change)
    with pytest.raises(UserError, match=rf"Data_Entry_2017.csv, {message}"):
        read(root)


def test_a_path_that_climbs_out_of_the_folder_is_no_image(root):
    (root.parent / "secret.png").write_bytes((root / "images_001" / "images" / "00000001_000.png").read_bytes())
    edit(root, lambda table: table.assign(**{"Image Index": ["../secret.png", *table["Image Index"][1:]]}))
    assert [bad.path for bad in read(root).bad] == ["../secret.png"]


@pytest.mark.parametrize("value", ["wide", "nan", "inf", ""])
def test_a_box_that_is_none_is_named(root, value):
    boxes = (root / "BBox_List_2017.csv").read_text()
    (root / "BBox_List_2017.csv").write_text(boxes.replace("Infiltrate,1,", f"Infiltrate,{value},"))
    write_inventory(root)
    with pytest.raises(UserError, match=r"BBox_List_2017.csv, row 3: x, y, w or h is no number; correct it"):
        read(root)


def test_what_is_no_release_is_named(root):
    with pytest.raises(UserError, match=r"ingest.findings.mass: 'Masses' is no label of ChestX-ray14; choose among"):
        read(root, {"mass": ["Masses"]})
    edit(root, lambda table: table.drop(columns=["View Position", "Patient Gender"]))
    with pytest.raises(UserError, match=r"no column View Position, Patient Gender; its header must be"):
        read(root)
    again = root / "again"
    again.mkdir()
    (again / "00000003_000.png").write_bytes(b"")
    write_inventory(root)
    edit(root, lambda table: table.assign(**{"View Position": "PA", "Patient Gender": "M"}))
    with pytest.raises(UserError, match=r"image '00000003_000.png' is there twice"):
        read(root)
    (root / "Data_Entry_2017.csv").unlink()
    write_inventory(root)
    with pytest.raises(UserError, match=r"one Data_Entry_2017\*.csv is needed, there is none"):
        read(root)


def test_stages_take_the_release_as_it_is(root, tmp_path):
    data = Data(str(root), "nih")
    (root / "inventory.csv").unlink()
    acquire(data, None, None, tmp_path / "raw")
    section = Ingest(size=24, rule="any", window="header", max_bad=0.0, columns={}, findings={})
    out = tmp_path / "out"
    ingest(data, section, tmp_path / "raw" / "inventory.csv", out / "images", out, out / "metrics")
    frame = read_manifest(out / "manifest.csv").set_index("image_id")
    assert frame["patient_id"].tolist() == ["1", "1", "2", "3"]
    assert frame["official_part"].tolist() == ["train"] * 3 + ["test"]
    assert frame["mass"].tolist() == [0, 0, 0, 1]
    boxes = pd.read_csv(out / "boxes.csv").set_index("finding")
    assert boxes.loc["mass", ["x_min", "y_min", "x_max", "y_max"]].tolist() == pytest.approx([2.4, 3.6, 8.4, 10.8])
