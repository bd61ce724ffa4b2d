import re

import pandas as pd
import pytest
from vindr_tree import run, write_inventory, write_tree

from raremix.data.findings import FINDINGS, NAMES
from raremix.data.records import read_inventory
from raremix.data.vindr import read
from raremix.data.vindr.names import LABELS, finding
from raremix.runtime.errors import UserError

LOCAL = (*NAMES, "Clavicle fracture", "Edema", "Emphysema", "Enlarged PA", "Lung cavity", "Lung cyst")
LOCAL += ("Mediastinal shift", "Rib fracture")
GLOBAL = ("COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tree(tmp_path / "raw")


def respelled(root, **names):
    """The tree with other headers in the label files of train."""
    for name in ("image_labels_train.csv", "annotations_train.csv"):
        file = root / "annotations" / name
        pd.read_csv(file, dtype=str, keep_default_na=False).rename(columns=names).to_csv(file, index=False)
    write_inventory(root)


def as_kaggle(root):
    """The same tree with train.csv, as Kaggle has it, for PhysioNet's tables."""
    (root / "annotations" / "annotations_train.csv").rename(root / "train.csv")
    for file in (root / "annotations").iterdir():
        file.unlink()
    return root


def climbing(file, image="b"):
    """The rows of ``image`` in the CSV ``file`` now name what lies one folder up."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    table.replace({"image_id": {image: "../x"}}).to_csv(file, index=False)
    return file


def test_all_28_labels_of_physionet_are_known(tmp_path):
    assert (len(LOCAL), len(GLOBAL)) == (22, 6)
    said = {name: finding(name, tmp_path, "header") for name in (*LOCAL, *GLOBAL)}
    assert {said[name] for name in NAMES} == set(FINDINGS), "each of the fourteen is itself"
    assert {said[name] for name in LOCAL[len(NAMES) :]} == {"other_lesion"}
    assert {said[name] for name in GLOBAL} == {None}
    assert set(LABELS.values()) == {*FINDINGS, ""}


def test_a_whole_header_of_physionet_is_read(tree):
    file = tree / "annotations" / "image_labels_train.csv"
    labels = pd.read_csv(file).assign(**dict.fromkeys(set(LOCAL + GLOBAL) - {"Pneumonia", "No finding", *NAMES}, 0))
    labels["Lung cyst"] = (labels["image_id"] == "b").astype(int)
    labels.to_csv(file, index=False)
    write_inventory(tree)
    assert run(tree)["other_lesion"].tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("reader", ["rad_ID", "radID", "rad id", "Rad-Id ", "radiologist_id", "reader"])
def test_other_spellings_of_readers_are_taken_and_said(tree, reader, capsys):
    respelled(tree, rad_id=reader)
    assert run(tree)["reader_trio"]["a"] == "R10|R8|R9"
    file = tree / "annotations" / "image_labels_train.csv"
    assert f"{file}: takes the column '{reader}' for the reader\n" in capsys.readouterr().out


def test_other_spellings_of_images_are_taken_and_said(tree, capsys):
    respelled(tree, image_id="image_ID")
    assert len(run(tree)) == 6
    assert "takes the column 'image_ID' for the image_id" in capsys.readouterr().out


def test_the_usual_spelling_is_not_worth_a_word(tree, capsys):
    run(tree)
    assert "takes the column" not in capsys.readouterr().out


def test_two_columns_that_may_be_the_reader_are_named(tree):
    file = tree / "annotations" / "image_labels_train.csv"
    table = pd.read_csv(file)
    table.assign(rad_ID=table["rad_id"]).to_csv(file, index=False)
    write_inventory(tree)
    with pytest.raises(UserError, match=rf"^{file}: the columns 'rad_id' and 'rad_ID' may both be the reader; keep"):
        run(tree)


def test_labels_without_their_image_are_set_aside(tree):
    for image in "ae":
        next(tree.glob(f"*/{image}.dicom")).unlink()
    write_inventory(tree)
    assert list(run(tree, max_bad=0.5).index) == list("bcdf")
    bad = pd.read_csv(tree.parent / "quarantine.csv").set_index("path")["reason"]
    assert bad["train/a.dicom"] == "listed in annotations/image_labels_train.csv, but missing"
    assert bad["test/e.dicom"] == "listed in annotations/image_labels_test.csv, but missing"


def test_images_may_have_upper_case_endings(tree):
    (tree / "train" / "a.dicom").rename(tree / "train" / "a.DCM")
    write_inventory(tree)
    assert list(run(tree).index) == list("abcdef")


def test_an_image_of_two_parts_is_refused(tree):
    (tree / "test" / "e.dicom").rename(tree / "test" / "a.dicom")
    write_inventory(tree)
    with pytest.raises(UserError, match=r"image 'a' is there twice, train/a.dicom and test/a.dicom; remove one"):
        run(tree)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x_min": ""}, r"row 2: a box's corner is no number; correct it or leave all four empty"),
        ({"x_min": "50"}, r"row 2: a box's corner max is before its min; correct it"),
        ({"y_max": "1"}, r"row 2: a box's corner max is before its min; correct it"),
    ],
)
def test_a_box_that_is_none_is_named(tree, values, message):
    file = tree / "annotations" / "annotations_train.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    table.loc[0, list(values)] = list(values.values())
    table.to_csv(file, index=False)
    write_inventory(tree)
    with pytest.raises(UserError, match=rf"^{file}, {message}"):
        run(tree)


def test_a_part_may_have_no_image_but_not_all_parts(tree):
    for file in (tree / "test").iterdir():
        file.unlink()
    write_inventory(tree)
    assert list(run(tree, max_bad=0.5).index) == list("abcd")
    for file in (tree / "train").iterdir():
        file.unlink()
    write_inventory(tree)
    with pytest.raises(UserError, match=rf"^{tree}: no image train/<image_id>.dicom; is data.root VinDr-CXR's own"):
        run(tree, max_bad=1.0)


def test_labels_without_their_images_count_against_max_bad(tree):
    (tree / "train" / "a.dicom").unlink()
    write_inventory(tree)
    with pytest.raises(UserError, match=r"^1 of 6 images can't be used, .* the first: train/a.dicom: listed in"):
        run(tree, max_bad=0.1)


def test_kaggle_s_images_without_labels_are_left_out_and_counted(tree, tmp_path, capsys):
    source = read(as_kaggle(tree), read_inventory(write_inventory(tree)))
    assert [record.image_id for record in source.records] == list("abcd")
    assert re.search(r"test: 2 files left out, as Kaggle's release has no labels of them", capsys.readouterr().out)


@pytest.mark.parametrize(("part", "image", "row"), [("train", "c", 9), ("test", "f", 3)])
def test_a_box_of_an_image_that_climbs_out_is_named_with_its_row(tree, part, image, row):
    file = climbing(tree / "annotations" / f"annotations_{part}.csv", image)
    write_inventory(tree)
    with pytest.raises(UserError, match=rf"^{file}, row {row}: image '\.\./x' has no labels"):
        run(tree)


@pytest.mark.parametrize("release", ["physionet", "kaggle"])
def test_labels_of_an_image_that_climbs_out_reach_no_file(tree, release):
    if release == "kaggle":
        file = climbing(as_kaggle(tree) / "train.csv")
    else:
        file = climbing(tree / "annotations" / "image_labels_train.csv")
        climbing(tree / "annotations" / "annotations_train.csv")
    (tree / "train" / "b.dicom").rename(tree / "x.dicom")
    write_inventory(tree)
    with pytest.raises(UserError) as refused:
        run(tree)
    assert "../x" in str(refused.value)
    assert file.relative_to(tree).as_posix() in str(refused.value)
    assert not list(tree.parent.rglob("x.png"))
