"""What a compressed DICOM picture says of its own size, read before it is decompressed.

A DICOM header and the JPEG in it each tell how large the picture is, and a decoder believes the JPEG: a kilobyte that
says 13,300 x 13,300 takes gigabytes, whatever its header says.
"""

from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from raremix.data.pixels import UnreadableError

COMPRESSED = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes}
JPEG = b"\xff\xd8"
SIZ = b"\xff\x4f\xff\x51"  # JPEG 2000's first two markers (ISO/IEC 15444-1, annex A)
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # JPEG's and JPEG-LS' frame headers (ITU-T T.81, T.87)
ALONE = {0x01, *range(0xD0, 0xD9)}  # JPEG's markers without a segment


def check(header: Dataset) -> None:
    """Refuse a DICOM image, of one frame, whose JPEG, JPEG-LS or JPEG 2000 is of another size than its ``header`` says.

    Raises:
        UnreadableError: it is. pydicom's own exceptions for damaged files.
    """
    if header.file_meta.get("TransferSyntaxUID") not in COMPRESSED:
        return
    stream = get_frame(header.PixelData, 0, number_of_frames=1)
    said, found = (int(header.Columns), int(header.Rows)), size(stream)
    if found != said and all(found):
        raise UnreadableError(
            f"its header says {said[0]} x {said[1]} pixels, the picture in it {found[0]} x {found[1]}"
        )


def size(stream: bytes) -> tuple[int, int]:
    """Width and height that a JPEG, JPEG-LS or JPEG 2000 ``stream`` begins with; 0 for what it does not tell."""
    start = stream.find(SIZ)
    if not stream.startswith(JPEG) and start >= 0:
        corners = [int.from_bytes(stream[at : at + 4], "big") for at in range(start + 8, start + 24, 4)]
        return corners[0] - corners[2], corners[1] - corners[3]
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in FRAMES:
            return int.from_bytes(stream[at + 7 : at + 9], "big"), int.from_bytes(stream[at + 5 : at + 7], "big")
        at += 1 if marker == 0xFF else 2 if marker in ALONE else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return 0, 0
