"""One radiograph as a DICOM file, as the various devices of a hospital would write it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from raremix.data.findings import DEVICES
from raremix.runtime.seeds import generator

DETECTORS = ((12, "MONOCHROME2"), (14, "MONOCHROME2"), (16, "MONOCHROME2"), (12, "MONOCHROME1"), (14, "MONOCHROME1"))
ROOT = "2.25."  # UIDs from UUID-like numbers; ours come from the image id


def write(path: Path, image: NDArray[np.uint16], truth: Mapping[str, Any], image_id: str, patient_id: str) -> None:
    """Write ``image`` (16-bit, white is bone) with the header that the truth fills; the same bytes every time."""
    rng = generator("phantom", "device", image_id)
    bits, photometric = DETECTORS[rng.integers(len(DETECTORS))]
    values = image >> (16 - bits)
    if photometric == "MONOCHROME1":
        values = np.asarray(2**bits - 1 - values, dtype=np.uint16)
    file = _header(path, truth, image_id, patient_id)
    file.PhotometricInterpretation = photometric
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, bits, bits - 1
    file.Rows, file.Columns = image.shape
    if rng.random() < 0.4:
        file.WindowCenter, file.WindowWidth = 2 ** (bits - 1), 2**bits
    file.PixelData = values.astype("<u2").tobytes()
    file.save_as(path, enforce_file_format=True)


def _header(path: Path, truth: Mapping[str, Any], image_id: str, patient_id: str) -> FileDataset:
    uid = generate_uid(prefix=ROOT, entropy_srcs=[image_id])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), Dataset(), file_meta=meta, preamble=bytes(128))
    attributes = truth["attributes"]
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, uid
    file.StudyInstanceUID, file.SeriesInstanceUID = (
        generate_uid(prefix=ROOT, entropy_srcs=[image_id, level]) for level in ("study", "series")
    )
    file.Modality = "DX"
    file.PatientID = patient_id
    file.StudyID = str(truth["visit"])
    file.PatientSex = "M" if attributes["male"] else "F"
    file.ViewPosition = "AP" if attributes["ap"] else "PA"
    file.BodyPartThickness = f"{10 * attributes['thickness']:.0f}"
    file.DistanceSourceToDetector = f"{10 * attributes['source_distance']:.0f}"
    file.ExposureIndex = f"{400 * attributes['exposure']:.0f}"
    devices = [word for word in DEVICES if attributes[word]]
    if devices:
        file.ImageComments = " ".join(devices)
    file.SamplesPerPixel, file.PixelRepresentation = 1, 0
    file.PixelSpacing = [truth["spacing"], truth["spacing"]]
    return file
