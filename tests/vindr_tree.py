"""Tiny trees in VinDr-CXR's form, and other data, for tests."""

import hashlib
from pathlib import Path

import gdcm
import numpy as np
import pandas as pd
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from raremix.data.findings import NAMES
from raremix.data.manifest import read_manifest
from stages.ingest import Ingest, ingest
from stages.sections import Data

CORNERS = ["x_min", "y_min", "x_max", "y_max"]


def write_dicom(path: Path, pixels: np.ndarray, bits: int = 12, kind: str = "MONOCHROME2", **tags: object) -> None:
    """``pixels [height, width]`` or ``[frames, height, width]`` as an uncompressed DICOM file with ``tags``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.Rows, header.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        header.NumberOfFrames = len(pixels)
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, kind, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, bits, bits - 1
    header.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(header, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def picture(index: int, height: int = 48, width: int = 40) -> np.ndarray:
    """A 12-bit gradient with dashes in a row, which differs for each index."""
    pixels = np.linspace(0, 4000, height * width).reshape(height, width).astype(np.uint16)
    pixels[index % height, ::2] = 2000
    return pixels


def compressed(path: Path, syntax: str) -> bytes:
    """The file's bytes in another transfer syntax, by gdcm's name for it."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path.with_suffix(".compressed")))
    assert writer.Write()
    return path.with_suffix(".compressed").read_bytes()


def write_inventory(root: Path, file: Path | None = None) -> Path:
    """List all files under ``root`` as acquire does."""
    file = file or root / "inventory.csv"
    rows = [
        (path.relative_to(root).as_posix(), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "inventory.csv"
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["path", "size", "sha256"]).to_csv(file, index=False)
    return file


def label_rows(marks: dict[str, dict[str, list[str]]], reader: str = "rad_id") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Label and box tables from ``marks[image][reader]``, a reader's names; reader '' leaves his column out."""
    labels, boxes = [], []
    for image, readers in marks.items():
        for who, names in readers.items():
            labels.append({"image_id": image, reader: who} | {name: int(name in names) for name in NAMES})
            labels[-1] |= {"Pneumonia": 0, "No finding": int(not names)}
            for name in names or ["No finding"]:
                corners = dict(zip(CORNERS, [10, 12, 30, 36] if names else [""] * 4, strict=True))
                boxes.append({"image_id": image, reader: who, "class_name": name} | corners)
    tables = pd.DataFrame(labels), pd.DataFrame(boxes)
    return tables if reader else tuple(table.drop(columns="") for table in tables)


def write_tree(root: Path, reader: str = "rad_id") -> Path:
    """Four images of train (patients p0 with two visits, p1, p2) and two of test (p3, none)."""
    trio = ("R8", "R9", "R10")
    train = {
        "a": dict(zip(trio, (["Cardiomegaly"], ["Cardiomegaly"], ["Cardiomegaly", "Nodule/Mass"]), strict=True)),
        "b": {"R1": [], "R2": [], "R3": []},
        "c": dict(zip(trio, (["Pneumothorax"], [], ["Pneumothorax"]), strict=True)),
        "d": dict(zip(trio, (["Nodule/Mass"],) * 3, strict=True)),
    }
    test = {"e": {"": ["Pleural effusion"]}, "f": {"": []}}
    patients = {"a": "p0", "b": "p0", "c": "p1", "d": "p2", "e": "p3", "f": ""}
    dates = {"a": "20200202", "b": "20200101"}
    for part, marks, column in (("train", train, reader), ("test", test, "")):
        for image in marks:
            tags = {"PatientID": patients[image], "StudyDate": dates.get(image, "20200101"), "PatientSex": "F"}
            write_dicom(root / part / f"{image}.dicom", picture(ord(image)), **tags)
        labels, boxes = label_rows(marks, column)
        (root / "annotations").mkdir(exist_ok=True)
        labels.to_csv(root / "annotations" / f"image_labels_{part}.csv", index=False)
        boxes.to_csv(root / "annotations" / f"annotations_{part}.csv", index=False)
    write_inventory(root)
    return root


def run(root, rule="majority", max_bad=0.0, layout="phantom"):
    """The manifest that ingest makes of the tree at ``root``, beside it."""
    section = Ingest(size=24, rule=rule, window="header", max_bad=max_bad, columns={}, findings={})
    out = root.parent
    ingest(Data(str(root), layout), section, root / "inventory.csv", out / "images", out, out / "metrics")
    return read_manifest(out / "manifest.csv").set_index("image_id")
