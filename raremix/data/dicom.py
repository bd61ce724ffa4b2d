"""One DICOM radiograph: its pixels as they are meant to be seen, and the few facts of its header that we keep."""

import io
import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from raremix.data import codestream
from raremix.data.findings import DEVICES
from raremix.data.header import deflated
from raremix.data.pixels import Grey, UnreadableError, check_size, robust, stretch

# Said of an image that is set aside; what else a header has in their place may be anyone's name.
KINDS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
FAR = 1e9  # beyond any stored value
ROWS = 32  # of an image, looked up at once

Window = Literal["header", "percentiles"]  # what of an image is black and what is white


def decode(content: bytes, window: Window) -> tuple[Grey, dict[str, str]]:
    """Pixels ``[height, width]`` in 0..255, dense bright whatever the tag says, and facts (see ``facts``).

    Rescale is applied, and, if the ``window`` is the header's, its VOI LUT or window; if there is none, if it leaves
    one grey of all pixels, or if the ``window`` is percentiles, those of 0.5 and 99.5 are its ends. Padding has no say
    in that and is black (PS3.3 C.7.5.1.1.2).

    Raises:
        UnreadableError: deflated, several frames, colour, of a kind that is not told, one value everywhere, nothing but
        padding, far too many pixels, or other ones than the header says. pydicom's own exceptions for damaged files.
    """
    with disable_value_validation():
        if deflated(content):
            raise UnreadableError("a deflated file; store it in another transfer syntax")
        header = dcmread(io.BytesIO(content))
        _refuse(header)
        codestream.check(header)
        whole = header.pixel_array
        padding = _padding(whole, header)
        stored = whole if padding is None else whole[~padding][np.newaxis]
        if stored.size == 0:
            raise UnreadableError("every pixel is padding")
        values = apply_modality_lut(_levels(stored), header)
        if np.ptp(values) == 0:
            raise UnreadableError("every pixel has the same value")
        shown = _shown(values, header) if window == "header" and _has_window(header) else None
        if shown is None or np.ptp(shown) == 0:
            shown = robust(values, _counts(stored) if len(values) < stored.size else None)
        grey = _pixels(shown, stored)
        grey = 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey
        return grey if padding is None else _padded(grey, padding), facts(header)


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
    if not header.get("PhotometricInterpretation"):
        raise UnreadableError("no PhotometricInterpretation, so dense may be white or black")
    if int(header.get("SamplesPerPixel") or 1) > 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        told = kind if kind in KINDS else "of no kind that DICOM knows"
        raise UnreadableError(f"a colour image ({told}); only grey radiographs are read")


def _padding(stored: NDArray[Any], header: Dataset) -> NDArray[np.bool_] | None:
    """Where ``stored`` is padding, as a detector's corners may be; None where nothing is."""
    first, last = (header.get(tag) for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if first in ("", None):
        return None
    ends = int(first), int(first if last in ("", None) else last)
    if not header.PixelRepresentation:  # of unsigned pixels pydicom leaves the bits that are stored
        ends = ends[0] & (1 << header.BitsStored) - 1, ends[1] & (1 << header.BitsStored) - 1
    low, high = sorted(ends)
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _padded(grey: Grey, padding: NDArray[np.bool_]) -> Grey:
    """``grey [1, n]`` where there is no padding, black where there is."""
    whole = np.zeros(padding.shape, grey.dtype)
    whole[~padding] = grey.ravel()
    return whole


def _levels(stored: NDArray[Any]) -> NDArray[Any]:
    """All values from the least of ``stored`` to the greatest: what is done to these need not be done to each pixel.

    Values of which there may be more than pixels, or that are no whole numbers, are their own levels, pixel by pixel.
    """
    if stored.dtype.kind in "iu" and int(stored.max()) - int(stored.min()) < stored.size - 1:
        return np.arange(int(stored.min()), int(stored.max()) + 1).astype(stored.dtype)
    return stored.ravel()


def _pixels(of_levels: NDArray[Any], stored: NDArray[Any]) -> NDArray[Any]:
    """For each pixel what became of its level, some rows at a time, so that their places stay in the core's cache."""
    if len(of_levels) == stored.size:
        return of_levels.reshape(stored.shape)
    low, pixels = int(stored.min()), np.empty(stored.shape, of_levels.dtype)
    for top in range(0, len(stored), ROWS):
        rows = slice(top, top + ROWS)
        np.take(of_levels, stored[rows].astype(np.intp) - low, out=pixels[rows], mode="clip")
    return pixels


def _counts(stored: NDArray[Any]) -> NDArray[np.int64]:
    """How often each value from the least of ``stored`` to the greatest is there."""
    low, span = int(stored.min()), int(stored.max()) - int(stored.min()) + 1
    counts = np.zeros(span, np.int64)
    for top in range(0, len(stored), ROWS):
        counts += np.bincount((stored[top : top + ROWS].astype(np.intp) - low).ravel(), minlength=span)
    return counts


def _has_window(header: Dataset) -> bool:
    if header.get("VOILUTSequence"):
        return True
    centre, width = (_first(header.get(tag)) for tag in ("WindowCenter", "WindowWidth"))
    linear = header.get("VOILUTFunction", "LINEAR") == "LINEAR"
    return None not in (centre, width) and (width >= 1 if linear else width > 0)  # what PS3.3 C.11.2.1.2 allows


def _first(value: Any) -> Any:
    """Of several windows the one that is applied; None for an empty one."""
    value = value[0] if isinstance(value, MultiValue) and len(value) else value
    return None if value in ("", None) else value


def _shown(values: NDArray[Any], header: Dataset) -> Grey:
    """``values [n]`` through the header's window, in 0..255."""
    if header.get("VOILUTSequence"):
        values = values.astype(np.int64)
        ends: list[float] = [values.min(), values.max()]
    else:
        values = values.astype(np.float64)
        ends = [-FAR, FAR]
    with np.errstate(over="ignore"):  # a sigmoid window, far below its centre
        shown = apply_voi_lut(np.append(values, ends).astype(values.dtype), header)
    # pydicom returns the window in units that depend on the bits stored, and on the sign of a rescale slope; the two
    # appended values are its ends. A table that falls is meant to.
    black, white = float(shown[-2]), float(shown[-1])
    if header.get("VOILUTSequence"):
        black, white = min(black, white), max(black, white)
    if black == white:
        return np.zeros(len(shown) - 2, np.float32)
    return stretch(shown[:-2], black, white) if white > black else stretch(-shown[:-2], -black, -white)


def _one_of(value: object, choice: tuple[str, ...]) -> str:
    word = str(value or "").strip().upper()
    return word if word in choice else ""


def _number(value: object) -> str:
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return ""
