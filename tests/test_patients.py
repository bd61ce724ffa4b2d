import pytest
from vindr_tree import picture, run, write_dicom, write_inventory, write_tree

from raremix.data import tables
from raremix.data.manifest import read_manifest
from stages.ingest import Ingest, ingest
from stages.sections import Data


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tree(tmp_path / "raw")


SECRETS = {
    "PatientID": "SECRET-MRN",
    "PatientName": "SECRET^NAME",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "SECRET-ACC",
    "InstitutionName": "SECRET HOSPITAL",
    "ReferringPhysicianName": "SECRET^DOCTOR",
    "StudyDate": "19020304",
    "StudyDescription": "SECRET STUDY",
    "ImageComments": "SECRET words beside a pacemaker",
    "OtherPatientIDs": "SECRET-OTHER",
}


def test_nothing_of_a_real_patient_s_header_reaches_an_output(tree):
    for name in "ab":
        write_dicom(tree / "train" / f"{name}.dicom", picture(ord(name)), **SECRETS)
    write_inventory(tree)
    frame = run(tree, layout="vindr")
    assert frame["patient_id"].tolist() == ["patient#0", "patient#0", "patient#1", "patient#2", "patient#3", "f"]
    written = [path for path in tree.parent.rglob("*") if path.is_file() and tree not in path.parents]
    assert len(written) > 10
    for path in written:
        content = path.read_bytes()
        assert not any(word in content for word in (b"SECRET", b"19010203", b"19020304")), path


def test_visits_of_numbered_patients_are_those_of_their_dates(tree):
    named, numbered = run(tree), run(tree, layout="vindr")
    assert named["visit"].tolist() == numbered["visit"].tolist() == [1, 0, 0, 0, 0, 0]
    assert named.drop(columns="patient_id").equals(numbered.drop(columns="patient_id"))


@pytest.mark.parametrize("nobody", ["ANONYMOUS", "anonymized", "Unknown^Patient", "0000", "N/A"])
def test_a_word_that_stands_for_no_patient_makes_none_of_many(tree, nobody):
    for name in "abc":
        write_dicom(tree / "train" / f"{name}.dicom", picture(ord(name)), PatientID=nobody)
    write_inventory(tree)
    assert run(tree, layout="vindr")["patient_id"].tolist() == ["a", "b", "c", "patient#0", "patient#1", "f"]


def test_a_pseudonym_is_a_patient_s_whatever_it_begins_with(tree):
    for name, pseudonym in (("a", "ANON0001"), ("b", "ANON0002"), ("c", "ANON0001")):
        write_dicom(tree / "train" / f"{name}.dicom", picture(ord(name)), PatientID=pseudonym)
    write_inventory(tree)
    assert run(tree, layout="vindr")["patient_id"].tolist()[:3] == ["patient#0", "patient#1", "patient#0"]


def test_where_a_table_leaves_the_patient_out_the_header_s_is_meant(tmp_path, monkeypatch):
    """e is the patient whom the table names beside a; b and c are one whom headers alone name; d is nobody's."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "root"
    headers = {"a": "SECRET-1", "b": "SECRET-2", "c": "SECRET-2", "d": "", "e": "told"}
    for name, patient in headers.items():
        write_dicom(root / f"{name}.dcm", picture(ord(name)), PatientID=patient)
    rows = [f"{name},{name}.dcm,{'told' if name == 'a' else ''},0" for name in headers]
    (root / "manifest.csv").write_text("\n".join(["id,path,who,Mass", *rows]))
    columns = {"image_id": "id", "file": "path", "patient_id": "who"}
    section = Ingest(40, "majority", "header", 0.0, columns, {"nodule_mass": ["Mass"]})
    listed = write_inventory(root, tmp_path / "inventory.csv")
    ingest(Data(str(root), "table"), section, listed, tmp_path / "images", tmp_path, tmp_path / "metrics")
    named = read_manifest(tmp_path / "manifest.csv")["patient_id"].tolist()
    assert named == ["told", "patient#0", "patient#0", "d", "told"]


def test_a_patient_with_more_images_than_one_has_is_said(tree, monkeypatch, capsys):
    run(tree)
    assert "PatientID" not in capsys.readouterr().out
    monkeypatch.setattr(tables, "CROWD", 2)
    run(tree)
    assert (
        "2 of 6 images have one PatientID in their headers, so they count as one person's; if"
        in capsys.readouterr().out
    )
