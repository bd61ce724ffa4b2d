"""Other people's DICOM headers: what anonymisers and converters get wrong, put right before the picture is decoded."""

import io
import math
from collections.abc import Iterator

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from raremix.data.pixels import UnreadableError

NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
EMPTIED = ("RescaleSlope", "RescaleIntercept", "VOILUTFunction")  # an empty one means what its absence does
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # of a window (PS3.3 C.11.2.1.3); absent, it is the first
MEASURES = ("ExposureIndex", "BodyPartThickness", "DistanceSourceToDetector", "DistanceSourceToPatient")
PADDINGS = ("PixelPaddingValue", "PixelPaddingRangeLimit")
OVERLAYS = range(0x6000, 0x6020, 2)  # groups


def mended(content: bytes) -> bytes:
    """``content``, a DICOM file, as it is, or with a header that says what was meant.

    Taken out are an empty rescale, a window's function that is empty or unknown, and measures that are no finite
    numbers; padding of signed pixels that is written unsigned gets its sign. A deflated file is left alone, as it may
    inflate to any size.

    Raises:
        UnreadableError: a tag that tells how pixels are stored is missing, or pixels take more bits than it says.
        pydicom's own exceptions for damaged files.
    """
    with disable_value_validation():
        if _deflated(content):
            return content
        header = dcmread(io.BytesIO(content))
        if missing := [tag for tag in NEEDED if header.get(tag) in ("", None)]:
            raise UnreadableError(f"no {missing[0]}")
        _refuse_more_bits(header)
        wrong, unsigned = set(_wrong(header)), list(_unsigned(header))
        if not wrong and not unsigned:
            return content
        for tag in wrong:
            del header[tag]
        for tag in unsigned:
            value = int(header[tag].value) - (1 << int(header.BitsAllocated))
            del header[tag]
            header.add_new(tag, "SS", value)
        written = io.BytesIO()
        header.save_as(written)
        return written.getvalue()


def _deflated(content: bytes) -> bool:
    file = io.BytesIO(content)
    read_preamble(file, force=False)
    return bool(_read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _wrong(header: Dataset) -> Iterator[str]:
    """The tags that say nothing."""
    yield from (tag for tag in EMPTIED if tag in header and header[tag].value in ("", None))
    function = header.get("VOILUTFunction")
    if function and str(function).upper() not in FUNCTIONS:
        yield "VOILUTFunction"
    yield from (tag for tag in MEASURES if not _finite(header.get(tag)))


def _finite(value: object) -> bool:
    try:
        return value in ("", None) or math.isfinite(float(str(value)))
    except ValueError:
        return True  # words, of which nothing is made


def _unsigned(header: Dataset) -> Iterator[str]:
    """The paddings of signed pixels that no such pixel can have."""
    for tag in PADDINGS if header.PixelRepresentation else ():
        value = header.get(tag)
        if value not in ("", None) and int(value) >= 1 << int(header.BitsAllocated) - 1:
            yield tag


def _may_overflow(header: Dataset) -> bool:
    """Whether pixels may take bits that the header does not count, and no overlay is there to hide in them."""
    if header.file_meta.TransferSyntaxUID.is_compressed or "PixelData" not in header:
        return False
    overlaid = any((group, 0x0102) in header for group in OVERLAYS)
    return not overlaid and int(header.BitsAllocated) in (8, 16, 32) and header.BitsStored < header.BitsAllocated


def _refuse_more_bits(header: Dataset) -> None:
    """Refuse uncompressed pixels that BitsStored would cut off: beyond it are zeros, the sign, or padding."""
    if not _may_overflow(header):
        return
    stored, allocated = int(header.BitsStored), int(header.BitsAllocated)
    order = ">" if header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    pixels = np.frombuffer(header.PixelData, f"{order}u{allocated // 8}")
    if not pixels.size or not int(pixels.max()) >> stored:
        return
    beyond = pixels >> stored
    allowed = beyond == 0
    if header.PixelRepresentation:
        allowed |= (beyond == (1 << allocated - stored) - 1) & (pixels >> stored - 1 & 1 == 1)
    for tag in PADDINGS:
        if header.get(tag) not in ("", None):
            allowed |= pixels == int(header.get(tag)) % (1 << allocated)
    if not allowed.all():
        raise UnreadableError(f"its pixels take more bits than the {stored} of BitsStored")
