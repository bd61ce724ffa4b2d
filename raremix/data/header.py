"""Other people's DICOM headers: what anonymisers and converters get wrong, put right before the picture is decoded."""

import io
import math
from collections.abc import Iterator

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from raremix.data.pixels import UnreadableError

NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
EMPTIED = ("RescaleSlope", "RescaleIntercept", "VOILUTFunction")  # an empty one means what its absence does
MEASURES = ("ExposureIndex", "BodyPartThickness", "DistanceSourceToDetector", "DistanceSourceToPatient")
PADDINGS = ("PixelPaddingValue", "PixelPaddingRangeLimit")
OVERLAYS = range(0x6000, 0x6020, 2)  # groups
PIXELS = {"<": b"\xe0\x7f\x10\x00", ">": b"\x7f\xe0\x00\x10"}  # how their element begins, by byte order


def mended(content: bytes) -> bytes:
    """``content``, a DICOM file, as it is, or with a header that says what was meant.

    Taken out are an empty rescale or window's function, measures that are no finite numbers, and padding that no pixel
    can have; padding of signed pixels that is written unsigned gets its sign, and of functions for each of several
    windows the first is kept. A deflated file is left alone, as it may inflate to any size.

    Raises:
        UnreadableError: a tag that tells how pixels are stored is missing, or pixels take more bits than it says.
        pydicom's own exceptions for damaged files.
    """
    with disable_value_validation():
        if deflated(content):
            return content
        file = io.BytesIO(content)
        header = dcmread(file, stop_before_pixels=True)
        if missing := [tag for tag in NEEDED if header.get(tag) in ("", None)]:
            raise UnreadableError(f"no {missing[0]}")
        _refuse_more_bits(header, content, file.tell())
        wrong, signed, function = set(_wrong(header)), _signed(header), header.get("VOILUTFunction")
        if not (wrong or signed or isinstance(function, MultiValue)):
            return content
        whole = dcmread(io.BytesIO(content))
        if isinstance(function, MultiValue):
            whole.VOILUTFunction = function[0]
        for tag in wrong | signed.keys():
            del whole[tag]
        for tag, value in signed.items():
            whole.add_new(tag, "SS", value)
        written = io.BytesIO()
        whole.save_as(written)
        return written.getvalue()


def deflated(content: bytes) -> bool:
    """Whether ``content`` is a file that dcmread would inflate as a whole, to any size, before it tells how large."""
    file = io.BytesIO(content)
    read_preamble(file, force=False)
    return bool(_read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _wrong(header: Dataset) -> Iterator[str]:
    """The tags that say nothing."""
    yield from (tag for tag in EMPTIED if tag in header and header[tag].value in ("", None))
    yield from (tag for tag in MEASURES if not _finite(header.get(tag)))
    if any(not -1 << header.BitsAllocated - 1 <= end < 1 << header.BitsAllocated for end in _padding(header)):
        yield from (tag for tag in PADDINGS if tag in header)


def _finite(value: object) -> bool:
    try:
        return value in ("", None) or math.isfinite(float(str(value)))
    except ValueError:
        return True  # words, of which nothing is made


def _padding(header: Dataset) -> list[int]:
    """The ends of what is padding, as they are written; none without a first one."""
    ends = [header.get(tag) for tag in PADDINGS]
    return [int(end) for end in ends if end not in ("", None)] if ends[0] not in ("", None) else []


def _signed(header: Dataset) -> dict[str, int]:
    """By tag the padding of signed pixels that is written as if they were not."""
    half, all_values = 1 << header.BitsAllocated - 1, 1 << header.BitsAllocated
    ends = zip(PADDINGS, _padding(header) if header.PixelRepresentation else [], strict=False)
    return {tag: end - all_values for tag, end in ends if half <= end < all_values}


def _may_overflow(header: Dataset) -> bool:
    """Whether pixels may take bits that the header does not count, and no overlay is there to hide in them."""
    if header.file_meta.TransferSyntaxUID.is_compressed:
        return False
    overlaid = any((group, 0x0102) in header and (group, 0x3000) not in header for group in OVERLAYS)
    return not overlaid and int(header.BitsAllocated) in (8, 16, 32) and header.BitsStored < header.BitsAllocated


def _refuse_more_bits(header: Dataset, content: bytes, at: int) -> None:
    """Refuse uncompressed pixels that BitsStored would cut off: beyond it are zeros, the sign, or unsigned padding.

    One such pixel is enough: it would be another grey. They are looked at in ``content``, where their element begins
    ``at``, as a copy would take longer than all else here.
    """
    if not _may_overflow(header):
        return
    stored, allocated = int(header.BitsStored), int(header.BitsAllocated)
    syntax, count = header.file_meta.TransferSyntaxUID, int(header.Rows) * int(header.Columns)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    start = at + (8 if syntax.is_implicit_VR else 12)
    if content[at : at + 4] != PIXELS[order] or not 0 < count * allocated // 8 <= len(content) - start:
        return  # the decoder says what is wrong
    pixels = np.frombuffer(content, f"{order}u{allocated // 8}", count, start)
    if not int(pixels.max()) >> stored:
        return
    beyond = pixels >> stored
    allowed = beyond == 0
    if header.PixelRepresentation:
        allowed |= (beyond == (1 << allocated - stored) - 1) & (pixels >> stored - 1 & 1 == 1)
    elif ends := [end % (1 << allocated) for end in _padding(header)]:
        allowed |= (pixels >= min(ends)) & (pixels <= max(ends))
    if not allowed.all():
        raise UnreadableError(f"its pixels take more bits than the {stored} of BitsStored")
