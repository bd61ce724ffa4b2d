import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from raremix.data.findings import NAMES, slug
from raremix.data.phantom import cohort, dataset, render
from raremix.runtime.errors import UserError
from stages.acquire import Phantom, acquire
from stages.sections import Data, Study

TABLES = Path(__file__).parents[1] / "data" / "phantom"
DATA = Data(str(TABLES), "phantom")
STUDY = Study(
    ["cardiomegaly", "pleural_effusion", "nodule_mass", "pneumothorax"],
    ["nodule_mass", "pneumothorax"],
    ["pleural_effusion", "nodule_mass", "pneumothorax"],
    ["vanilla"],
    [1],
    [0],
)
SMALL = Phantom(
    seed=3, train_images=120, test_images=4, test_positives=1, reserve_positives=0, height=24, enrich=1000.0
)
TINY = Phantom(seed=3, train_images=150, test_images=24, test_positives=4, reserve_positives=3, height=48, enrich=40.0)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    out = tmp_path_factory.mktemp("raw")
    acquire(DATA, TINY, STUDY, out)
    return out


def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
    table = cohort.tables(TABLES)
    images = cohort.training_part(table, 5, 20) + cohort.test_part(table, 5, 5, [], 0, 100)
    for workers in (1, 2):
        dataset.write(images, 5, 48, tmp_path / str(workers), workers)
    one, two = ({p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "12")
    assert len(one) == 25 + 5
    assert one == two


def test_inventory_lists_every_image_and_table_with_its_hash(raw):
    listed = rows(raw / "inventory.csv")
    assert [row["path"] for row in listed] == sorted(row["path"] for row in listed)
    there = {p.relative_to(raw).as_posix() for p in raw.rglob("*") if p.is_file()} - {"inventory.csv"}
    assert {row["path"] for row in listed} == there
    for row in listed[:5]:
        content = (raw / row["path"]).read_bytes()
        assert (int(row["size"]), row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_every_row_of_truth_renders_again_to_the_bit(raw):
    for row in rows(raw / "truth.csv")[:6]:
        image, truth = render(**dataset.again(row), seed=TINY.seed, height=TINY.height)
        (path,) = raw.glob(f"*/{row['image_id']}.dicom")
        file = pydicom.dcmread(path)
        stored = file.pixel_array
        if file.PhotometricInterpretation == "MONOCHROME1":
            stored = 2**file.BitsStored - 1 - stored
        assert np.array_equal(stored, image >> (16 - file.BitsStored))
        assert json.loads(row["geometry"])["lesions"] == truth["lesions"]


def test_headers_hold_what_a_hospital_would_send_and_no_name(raw):
    seen = set()
    for row in rows(raw / "truth.csv"):
        (path,) = raw.glob(f"*/{row['image_id']}.dicom")
        file = pydicom.dcmread(path)
        assert "PatientName" not in file
        assert not [element for element in file if element.VR in ("DA", "TM", "DT")]
        assert file.PatientID == row["patient_id"]
        assert file.PatientSex == ("M" if float(row["attr_male"]) else "F")
        assert file.ViewPosition == ("AP" if float(row["attr_ap"]) else "PA")
        assert float(file.BodyPartThickness) == pytest.approx(10 * float(row["attr_thickness"]), abs=1)
        assert file.PixelSpacing[0] > 1
        for word, name in (("pacemaker", "pacemaker"), ("tube", "tube"), ("leads", "leads")):
            assert (word in str(file.get("ImageComments", ""))) == bool(float(row[f"attr_{name}"]))
        assert file.pixel_array.max() < 2**file.BitsStored
        seen.add((file.BitsStored, file.PhotometricInterpretation))
    assert {bits for bits, _ in seen} == {12, 14, 16}
    assert {kind for _, kind in seen} == {"MONOCHROME1", "MONOCHROME2"}


def test_readers_marks_agree_with_labels_and_truth(raw):
    truth = {row["image_id"]: row for row in rows(raw / "truth.csv")}
    labels = rows(raw / "annotations" / "image_labels_train.csv")
    assert list(labels[0]) == ["image_id", "rad_id", *NAMES, "No finding"]
    marked = {}
    for mark in rows(raw / "annotations" / "annotations_train.csv"):
        marked.setdefault((mark["image_id"], mark["rad_id"]), set()).add(mark["class_name"])
        if mark["class_name"] != "No finding":
            assert float(mark["x_min"]) < float(mark["x_max"])
            assert float(mark["y_min"]) < float(mark["y_max"])
    readers = {}
    for row in labels:
        named = {name for name in (*NAMES, "No finding") if row[name] == "1"}
        assert marked[row["image_id"], row["rad_id"]] == named
        readers.setdefault(row["image_id"], []).append(named)
    for image, by_reader in readers.items():
        assert len(by_reader) == 3
        there = {name for name in NAMES if float(truth[image][f"finding_{slug(name)}"]) > 0}
        assert set.union(*by_reader) == (there or {"No finding"})
        assert len({"No finding" in named for named in by_reader}) == 1


def test_test_part_has_its_positives_and_patients_of_its_own(raw):
    labels = rows(raw / "annotations" / "image_labels_test.csv")
    assert "rad_id" not in labels[0]
    assert len(labels) == TINY.test_images
    for name in NAMES:
        if slug(name) in STUDY.findings:
            assert sum(row[name] == "1" for row in labels) >= TINY.test_positives
    part = {row["image_id"]: row for row in rows(raw / "truth.csv")}
    test = [part[row["image_id"]]["patient_id"] for row in labels]
    train = {row["patient_id"] for image, row in part.items() if image not in {label["image_id"] for label in labels}}
    assert len(set(test)) == len(test)
    assert not train & set(test)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"findings": []}, "study.findings: is empty; name at least one"),
        ({"minority": []}, "study.minority: is empty"),
        ({"synthesized": []}, "study.synthesized: is empty"),
        ({"arms": []}, "study.arms: is empty"),
        ({"shots": []}, "study.shots: is empty"),
        ({"trials": []}, "study.trials: is empty"),
        ({"findings": [*STUDY.findings, "cardiomegaly"]}, "study.findings: 'cardiomegaly' is there twice; remove one"),
        ({"shots": [5, 10, 5]}, "study.shots: '5' is there twice"),
        ({"trials": [0, 0]}, "study.trials: '0' is there twice"),
        (
            {"findings": ["nodule_mass", "pneumothorx"], "minority": ["nodule_mass"], "synthesized": ["nodule_mass"]},
            "study.findings: .* 'pneumothorx'",
        ),
        ({"minority": ["atelectasis"]}, "study.minority: unknown finding 'atelectasis'; choose among cardiomegaly"),
        (
            {"synthesized": ["atelectasis"]},
            "study.synthesized: unknown finding 'atelectasis'; choose among cardiomegaly",
        ),
        (
            {"arms": ["vanilla", "synthetic_only"]},
            "study.synthesized: synthetic_only has synthetic images of each finding; add 'cardiomegaly', or take",
        ),
        ({"arms": ["vanila"]}, "study.arms: unknown arm 'vanila'; choose among vanilla, undersample"),
    ],
)
@pytest.mark.parametrize("layout", ["phantom", "vindr"])
def test_a_study_that_can_not_be_carried_out_is_refused(tmp_path, changes, message, layout):
    with pytest.raises(UserError, match=f"^params.yaml, {message}"):
        acquire(Data(str(TABLES), layout), TINY, replace(STUDY, **changes), tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_table_has_findings_of_its_own(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"x")
    study = replace(STUDY, findings=["hernia", "edema"], minority=["hernia"], synthesized=["hernia"])
    acquire(Data(str(tmp_path / "real"), "table"), TINY, study, tmp_path / "raw")
    assert [row["path"] for row in rows(tmp_path / "raw" / "inventory.csv")] == ["a.png"]


def test_nothing_is_left_of_an_older_data_set_or_of_a_killed_run(tmp_path, monkeypatch):
    def killed(images, seed, height, out, workers):
        (out / "test").mkdir()
        (out / "test" / "half.dicom").write_bytes(b"x")
        raise KeyboardInterrupt

    (tmp_path / "raw" / "train").mkdir(parents=True)
    (tmp_path / "raw" / "train" / "old.dicom").write_bytes(b"x")
    (tmp_path / "raw" / "inventory.csv").write_text("path,size,sha256\n")
    with monkeypatch.context() as once:
        once.setattr(dataset, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            acquire(DATA, SMALL, STUDY, tmp_path / "raw")
    for name in ("raw", "fresh"):
        acquire(DATA, SMALL, STUDY, tmp_path / name)
    found, fresh = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("raw", "fresh")
    )
    assert found == fresh
    assert sum(path.suffix == ".dicom" for path in found) == 124


def test_a_directory_that_acquire_did_not_write_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"photos: holds files, but no inventory.csv; empty it"):
        acquire(DATA, TINY, STUDY, tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.png"]


@pytest.mark.parametrize("out", [".", "real"])
def test_the_directory_of_the_data_is_not_written_to(tmp_path, out):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.dicom").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds data.root, .*real; write to another directory"):
        acquire(Data(str(tmp_path / "real"), "vindr"), TINY, STUDY, tmp_path / out)
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["a.dicom"]


def test_too_few_images_for_the_shots_is_said_before_anything_is_rendered(tmp_path):
    with pytest.raises(UserError, match=r"train_images is 1000.*pneumothorax.*10 shots.*need 3126 images"):
        acquire(DATA, Phantom(1, 1000, 10, 1, 0, 48, 1.0), replace(STUDY, shots=[1, 10]), tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_test_part_too_small_for_its_positives_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"test_images is 10: 8 positives"):
        acquire(DATA, Phantom(1, 150, 10, 8, 0, 48, 40.0), STUDY, tmp_path)


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(UserError, match=r"label_sets.csv: no such table"):
        acquire(Data(str(tmp_path), "phantom"), TINY, STUDY, tmp_path / "raw")
