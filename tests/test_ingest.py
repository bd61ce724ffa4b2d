import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from vindr_tree import CORNERS, picture, run, write_dicom, write_inventory, write_tree

from raremix.data import ingest as room
from raremix.data import vindr
from raremix.data.manifest import findings, read_manifest, read_votes
from raremix.data.records import read_inventory
from raremix.runtime.errors import UserError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tree(tmp_path / "raw")


def edit(root, name, change):
    table = pd.read_csv(root / "annotations" / name, dtype=str, keep_default_na=False)
    change(table).to_csv(root / "annotations" / name, index=False)
    write_inventory(root)


def test_manifest_says_who_what_and_where(tree):
    frame = run(tree)
    assert list(frame.index) == list("abcdef")
    assert frame["patient_id"].tolist() == ["p0", "p0", "p1", "p2", "p3", "f"]
    assert frame["visit"].tolist() == [1, 0, 0, 0, 0, 0]
    assert frame["official_part"].tolist() == ["train"] * 4 + ["test"] * 2
    assert frame["reader_trio"].tolist() == ["R10|R8|R9", "R1|R2|R3", "R10|R8|R9", "R10|R8|R9", "", ""]
    assert len(findings(frame.reset_index())) == 14
    assert np.asarray(Image.open(frame["file"]["a"])).shape == (24, 24)


@pytest.mark.parametrize(
    ("rule", "nodules", "pneumothoraces"), [("any", "ad", "c"), ("majority", "d", "c"), ("unanimous", "d", "")]
)
def test_the_rule_makes_the_labels(tree, rule, nodules, pneumothoraces):
    frame = run(tree, rule)
    assert "".join(frame.index[frame["nodule_mass"] == 1]) == nodules
    assert "".join(frame.index[frame["pneumothorax"] == 1]) == pneumothoraces
    assert "".join(frame.index[frame["pleural_effusion"] == 1]) == "e"


def test_votes_boxes_metadata_and_summary(tree):
    frame = run(tree).reset_index()
    votes = read_votes(tree.parent / "votes.csv", frame).set_index("image_id")
    assert votes.loc["a", ["cardiomegaly", "nodule_mass"]].tolist() == [3, 1]
    boxes = pd.read_csv(tree.parent / "boxes.csv", keep_default_na=False)
    first = boxes[(boxes["image_id"] == "a") & (boxes["reader"] == "R8")].iloc[0]
    assert first[CORNERS].tolist() == [7.0, 6.0, 17.0, 18.0]
    assert set(boxes.loc[boxes["image_id"] == "e", "reader"]) == {""}
    metadata = pd.read_csv(tree.parent / "metadata.csv", keep_default_na=False)
    assert list(metadata.columns) == [
        "image_id",
        "view",
        "sex",
        "exposure_index",
        "body_thickness",
        "source_distance",
        "devices",
    ]
    assert set(metadata["sex"]) == {"F"}
    summary = json.loads((tree.parent / "metrics" / "summary.json").read_text())
    assert (summary["rule"], summary["images"], summary["patients"], summary["quarantined"]) == ("majority", 6, 5, 0)
    assert summary["positives"]["train"]["nodule_mass"] == 1
    assert summary["positives"]["test"]["pleural_effusion"] == 1
    assert summary["agreement"]["nodule_mass"] == {"any": 2, "two": 1, "ratio": 0.5}


def test_of_a_box_across_the_edge_its_part_in_the_picture_is_left(tree):
    file = tree / "annotations" / "annotations_train.csv"
    drawn = pd.read_csv(file)
    d = drawn["image_id"] == "d"
    drawn.loc[d & (drawn["rad_id"] == "R8"), "x_min"] = -20
    drawn.loc[d & (drawn["rad_id"] == "R9"), ["x_min", "x_max"]] = 60, 80
    drawn.to_csv(file, index=False)
    write_inventory(tree)
    run(tree)
    boxes = pd.read_csv(tree.parent / "boxes.csv").set_index(["image_id", "reader"]).sort_index().loc["d"]
    assert boxes[CORNERS].to_numpy().tolist() == [[7.0, 6.0, 17.0, 18.0], [0.0, 6.0, 17.0, 18.0]]
    assert list(boxes.index) == ["R10", "R8"]


def test_bytes_do_not_depend_on_workers(tree, tmp_path, monkeypatch):
    inventory = read_inventory(tree / "inventory.csv")
    source = vindr.read(tree, inventory)
    runs = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        monkeypatch.setattr(room, "cores", lambda count=workers: count)
        with room.converted(source.records, tree, inventory, folder, 24, "header") as (seen, bad):
            assert len(seen) == 6
        runs.append(([s.facts for s in seen], bad, [(p.name, p.read_bytes()) for p in sorted(folder.iterdir())]))
    assert runs[0] == runs[1]
    assert len(runs[0][2]) == 6


def test_bad_images_are_set_aside_with_their_reasons(tree):
    (tree / "train" / "a.dicom").write_bytes(b"not DICOM")
    write_inventory(tree)
    (tree / "train" / "b.dicom").unlink()
    write_dicom(tree / "train" / "c.dicom", picture(99))
    frame = run(tree, max_bad=0.5)
    assert list(frame.index) == list("def")
    bad = pd.read_csv(tree.parent / "quarantine.csv").set_index("path")["reason"]
    assert "can't be decoded" in bad["train/a.dicom"]
    assert "missing" in bad["train/b.dicom"]
    assert "sha256" in bad["train/c.dicom"]
    assert json.loads((tree.parent / "metrics" / "summary.json").read_text())["quarantined"] == 3
    assert not (tree.parent / "images" / "a.png").exists()


def test_too_many_bad_images_fail_and_are_listed(tree):
    (tree / "train" / "a.dicom").write_bytes(b"not DICOM")
    write_inventory(tree)
    with pytest.raises(UserError, match=r"1 of 6 images .* train/a.dicom: can't be decoded"):
        run(tree, max_bad=0.1)
    assert "train/a.dicom" in (tree.parent / "quarantine.csv").read_text()


def test_an_image_without_labels_is_set_aside(tree):
    write_dicom(tree / "train" / "z.dicom", picture(1))
    write_inventory(tree)
    run(tree, max_bad=0.5)
    assert "train/z.dicom,no row in" in (tree.parent / "quarantine.csv").read_text()


def test_a_second_run_leaves_no_image_of_the_first(tree):
    run(tree)
    (tree.parent / "images" / "old.png").write_bytes(b"")
    run(tree)
    assert len(list((tree.parent / "images").iterdir())) == 6
    assert not list(tree.parent.glob(".images*"))


def test_a_box_on_an_image_without_labels_is_named(tree):
    name = "annotations_train.csv"
    edit(tree, name, lambda t: pd.concat([t, t.tail(1).assign(image_id="nobody")]))
    rows = len(pd.read_csv(tree / "annotations" / name))
    with pytest.raises(UserError, match=rf"{name}, row {rows + 1}: image 'nobody' has no labels; get the file again"):
        run(tree)


def test_an_unknown_finding_is_named(tree):
    edit(tree, "image_labels_train.csv", lambda t: t.rename(columns={"ILD": "IDL"}))
    with pytest.raises(UserError, match=r"image_labels_train.csv, header: 'IDL' is no finding"):
        run(tree)


def test_a_missing_finding_is_named(tree):
    edit(tree, "image_labels_test.csv", lambda t: t.drop(columns="Pneumothorax"))
    with pytest.raises(UserError, match=r"image_labels_test.csv: no column for pneumothorax"):
        run(tree)


def test_a_second_row_of_one_reader_is_named(tree):
    edit(tree, "image_labels_train.csv", lambda t: pd.concat([t, t.head(1)]))
    with pytest.raises(UserError, match=r"row 14: a second row of R8 for image 'a'"):
        run(tree)


def test_a_mark_that_is_no_mark_is_named(tree):
    edit(tree, "image_labels_train.csv", lambda t: t.assign(Pneumothorax=["yes", *t["Pneumothorax"][1:]]))
    with pytest.raises(UserError, match=r"row 2, column 'Pneumothorax': 'yes'"):
        run(tree)


@pytest.mark.parametrize("corner", ["wide", "nan", "-inf", ""])
def test_a_box_that_is_none_is_named(tree, corner):
    edit(tree, "annotations_train.csv", lambda t: t.assign(x_max=["30", corner, *t["x_max"][2:]]))
    with pytest.raises(UserError, match=r"annotations_train.csv, row 3: a box's corner is no number"):
        run(tree)


def test_labels_changed_since_acquire_are_refused(tree):
    file = tree / "annotations" / "image_labels_train.csv"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(UserError, match=r"image_labels_train.csv: changed since acquire"):
        run(tree)


def test_another_directory_is_refused(tree):
    with pytest.raises(UserError, match="inventory is missing"):
        run(tree.parent / "nowhere")


def test_kaggle_layout(tree, tmp_path, monkeypatch):
    boxes = pd.read_csv(tree / "annotations" / "annotations_train.csv")
    kaggle = tmp_path / "kaggle"
    kaggle.mkdir()
    (tree / "train").rename(kaggle / "train")
    boxes.assign(class_id=0).to_csv(kaggle / "train.csv", index=False)
    write_inventory(kaggle)
    frame = run(kaggle, "any", layout="vindr")
    assert list(frame.index) == list("abcd")
    assert "".join(frame.index[frame["nodule_mass"] == 1]) == "ad"
    assert set(frame["official_part"]) == {"train"}
    assert frame["reader_trio"]["b"] == "R1|R2|R3"


def test_manifest_errors_name_file_and_row(tree):
    run(tree)
    file = tree.parent / "manifest.csv"
    good = file.read_text()
    for wrong, right, message in (
        ("a,", "b,", r"row 3: image id 'b'"),
        (",train,", ",dev,", r"row 2, column 'official_part': 'dev'"),
        (",1,train", ",first,train", r"row 2, column 'visit': 'first'"),
        ("R10|R8|R9,0", "R10|R8|R9,2", r"row 2, column 'aortic_enlargement': '2'"),
        ("patient_id", "patient", r"no column 'patient_id'"),
    ):
        file.write_text(good.replace(wrong, right, 1) if wrong != "a," else good.replace("\na,", "\nb,", 1))
        with pytest.raises(UserError, match=message):
            read_manifest(file)
