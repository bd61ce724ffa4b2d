"""One DICOM radiograph: its pixels as they are meant to be seen, and the few facts of its header that we keep."""

import io
import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from raremix.data.findings import DEVICES
from raremix.data.pixels import Grey, UnreadableError, check_size, robust, stretch

FAR = 1e9  # beyond any stored value

Window = Literal["header", "percentiles"]  # what of an image is black and what is white


def decode(content: bytes, window: Window) -> tuple[Grey, dict[str, str]]:
    """Pixels ``[height, width]`` in 0..255, dense bright whatever the tag says, and facts (see ``facts``).

    Rescale is applied, and, if the ``window`` is the header's, its VOI LUT or window; if there is none, or if the
    ``window`` is percentiles, those of 0.5 and 99.5 are its ends.

    Raises:
        UnreadableError: several frames, colour, one value everywhere, or far too many pixels. pydicom's own exceptions
        for damaged files.
    """
    with disable_value_validation():
        header = dcmread(io.BytesIO(content))
        _refuse(header)
        values = apply_modality_lut(header.pixel_array, header)
        if np.ptp(values) == 0:
            raise UnreadableError("every pixel has the same value")
        grey = _shown(values, header) if window == "header" else robust(values)
        return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey, facts(header)


def facts(header: Dataset) -> dict[str, str]:
    """The header's patient id, order among the patient's images and acquisition facts; '' for what it does not say."""
    words = set(re.findall(r"[a-z]+", str(header.get("ImageComments") or "").lower()))
    return {
        "patient_id": str(header.get("PatientID") or "").strip(),
        "order": _order(header),
        "view": _one_of(header.get("ViewPosition"), ("PA", "AP")),
        "sex": _one_of(header.get("PatientSex"), ("M", "F")),
        "exposure_index": _number(header.get("ExposureIndex")),
        "body_thickness": _number(header.get("BodyPartThickness")),
        "source_distance": _number(header.get("DistanceSourceToDetector") or header.get("DistanceSourceToPatient")),
        "devices": "|".join(word for word in DEVICES if word in words),
    }


def _order(header: Dataset) -> str:
    """A text that sorts a patient's images by date, time and number of the study."""
    date, time, number = (str(header.get(tag) or "").strip() for tag in ("StudyDate", "StudyTime", "StudyID"))
    return f"{date} {time} {number.zfill(16)}"


def _refuse(header: Dataset) -> None:
    frames, kind = int(header.get("NumberOfFrames") or 1), str(header.get("PhotometricInterpretation"))
    if frames > 1:
        raise UnreadableError(f"{frames} frames; only single images are read")
    check_size(int(header.Columns), int(header.Rows))
    if int(header.get("SamplesPerPixel") or 1) > 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableError(f"a colour image ({kind}); only grey radiographs are read")


def _shown(values: NDArray[Any], header: Dataset) -> Grey:
    if header.get("VOILUTSequence"):
        values = values.astype(np.int64)
        ends: list[float] = [values.min(), values.max()]
    elif header.get("WindowCenter") is not None and header.get("WindowWidth") is not None:
        values = values.astype(np.float64)
        ends = [-FAR, FAR]
    else:
        return robust(values)
    with np.errstate(over="ignore"):  # a sigmoid window, far below its centre
        shown = apply_voi_lut(np.append(values, ends).astype(values.dtype), header)
    # pydicom returns the window in units that depend on the bits stored; the two appended values are its ends.
    return stretch(shown[:-2].reshape(values.shape), float(shown[-2]), float(shown[-1]))


def _one_of(value: object, choice: tuple[str, ...]) -> str:
    word = str(value or "").strip().upper()
    return word if word in choice else ""


def _number(value: object) -> str:
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return ""
