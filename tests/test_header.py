"""What anonymisers and converters do to DICOM headers, and what the picture is then."""

import io

import numpy as np
import pytest
from pydicom import dcmread
from vindr_tree import compressed, picture, write_dicom

from raremix.data.dicom import decode
from raremix.data.header import NEEDED, mended
from raremix.data.pixels import UnreadableError

WINDOW = {"WindowCenter": 2000, "WindowWidth": 3000}


@pytest.fixture
def file(tmp_path):
    def _file(pixels, bits=12, **tags):
        write_dicom(tmp_path / "x.dicom", pixels, bits=bits, **tags)
        return (tmp_path / "x.dicom").read_bytes()

    return _file


def without(content, tag):
    header = dcmread(io.BytesIO(content))
    del header[tag]
    header.save_as(written := io.BytesIO())
    return written.getvalue()


def seen(content):
    return decode(mended(content), "header")


def test_a_header_in_order_is_left_alone(file):
    content = file(picture(0), **WINDOW, RescaleSlope=2, RescaleIntercept=-9, VOILUTFunction="SIGMOID")
    assert mended(content) is content


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": None, "RescaleIntercept": "0"},
        {"VOILUTFunction": ""},
        {"PixelPaddingValue": None},
    ],
    ids=lambda tags: "-".join(map(str, tags.values())),
)
def test_what_is_emptied_counts_as_absent(file, tags):
    plain, _ = decode(file(picture(0), **WINDOW), "header")
    assert np.array_equal(seen(file(picture(0), **WINDOW, **tags))[0], plain)


@pytest.mark.parametrize("value", ["NaN", "inf", "-inf"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_a_measure_that_is_no_finite_number_is_none(file, value):
    known = {"ExposureIndex": "3", "BodyPartThickness": "4", "DistanceSourceToPatient": "5"}
    assert seen(file(picture(0), **known, DistanceSourceToDetector=value))[1]["source_distance"] == "5"
    _, facts = seen(file(picture(0), **known | {"ExposureIndex": value}))
    assert (facts["exposure_index"], facts["body_thickness"]) == ("", "4")


@pytest.mark.parametrize("tag", NEEDED)
def test_a_missing_tag_is_named(file, tag):
    with pytest.raises(UnreadableError, match=rf"^no {tag}$"):
        mended(without(file(picture(0)), tag))


@pytest.mark.parametrize("signed", [0, 1])
def test_pixels_of_more_bits_than_the_header_says_are_refused(file, signed):
    ramp = np.linspace(0, 16000, 64 * 64).reshape(64, 64)
    with pytest.raises(UnreadableError, match=r"^its pixels take more bits than the 12 of BitsStored$"):
        mended(file(ramp, PixelRepresentation=signed))
    assert seen(file(ramp, bits=14 + signed, PixelRepresentation=signed))[0].ravel()[-1] == 255


def test_signs_padding_and_overlays_may_fill_the_bits_that_are_not_stored(file):
    signed = picture(0).astype(np.int16) - 2000
    plain, _ = decode(file(picture(0), **WINDOW), "header")
    for pixels in (signed, signed & 0x0FFF):  # the sign's bits, and zeros
        grey, _ = seen(file(pixels, PixelRepresentation=1, WindowCenter=0, WindowWidth=3000))
        assert grey == pytest.approx(plain, abs=0.1)
    padded = picture(0)
    padded[:5] = 0xFFFF
    assert (seen(file(padded, **WINDOW, PixelPaddingValue=0xFFFF))[0][:5] == 0).all()
    overlaid = picture(0) | 0x8000
    content = file(overlaid, **WINDOW)
    header = dcmread(io.BytesIO(content))
    header.add_new(0x60000102, "US", 15)
    header.save_as(written := io.BytesIO())
    assert np.array_equal(seen(written.getvalue())[0], plain)


@pytest.mark.filterwarnings("ignore:The pixel data is")
def test_bytes_behind_the_pixels_are_none(file):
    plain = seen(file(picture(0), **WINDOW))[0]
    for behind in (b"\xff", b"\xff\xff", b" " * 512):
        content = file(picture(0), **WINDOW, PixelData=picture(0).astype("<u2").tobytes() + behind)
        assert np.array_equal(seen(content)[0], plain)
    with pytest.raises(ValueError, match="pixel data"):
        seen(file(picture(0), **WINDOW, PixelData=b"\xff\xff"))


def test_an_overlay_of_its_own_hides_in_no_pixel(file):
    header = dcmread(io.BytesIO(file(picture(0) | 0x8000, **WINDOW)))
    header.add_new(0x60000102, "US", 0)
    header.add_new(0x60003000, "OW", b"\0\0")
    header.save_as(written := io.BytesIO())
    with pytest.raises(UnreadableError, match="more bits than the 12"):
        mended(written.getvalue())


def test_a_range_of_padding_is_padding_and_of_signed_pixels_it_must_fit(file):
    padded = picture(0)
    padded[:5] = 0xFFF5
    ends = {"PixelPaddingValue": 0xFFF0, "PixelPaddingRangeLimit": 0xFFFF}
    assert (seen(file(padded, **WINDOW, **ends))[0][:5] == 0).all()
    with pytest.raises(UnreadableError, match="more bits than the 12"):
        mended(file(padded, **WINDOW))
    low = picture(0).astype(np.int16) - 2000
    low[:5] = -32768
    with pytest.raises(UnreadableError, match="more bits than the 12"):
        mended(file(low, PixelRepresentation=1, PixelPaddingValue=-32768))


def test_padding_that_no_pixel_can_have_is_none(file):
    small = (picture(0) >> 4).astype(np.uint8)
    plain = file(small, bits=8, BitsAllocated=8, PixelData=small.tobytes())
    header = dcmread(io.BytesIO(plain))
    header.add_new("PixelPaddingValue", "US", 65535)
    header.save_as(written := io.BytesIO())
    assert np.array_equal(seen(written.getvalue())[0], seen(plain)[0])


def test_of_functions_for_several_windows_the_first_is_kept(file):
    windows = {"WindowCenter": [2000, 900], "WindowWidth": [3000, 10]}
    several = seen(file(picture(0), **windows, VOILUTFunction=["SIGMOID", "LINEAR"]))[0]
    assert np.array_equal(several, seen(file(picture(0), **WINDOW, VOILUTFunction="SIGMOID"))[0])
    assert not np.array_equal(several, seen(file(picture(0), **WINDOW))[0])


def test_padding_of_signed_pixels_that_is_written_unsigned_is_padding(file):
    pixels = picture(0).astype(np.int16) - 2000
    pixels[:5] = -32000
    tags = {"PixelRepresentation": 1, "bits": 16}
    header = dcmread(io.BytesIO(file(pixels, **tags)))
    header.add_new("PixelPaddingValue", "US", 2**16 - 32000)
    header.save_as(written := io.BytesIO())
    assert np.array_equal(seen(written.getvalue())[0], seen(file(pixels, **tags, PixelPaddingValue=-32000))[0])
    assert (seen(written.getvalue())[0][:5] == 0).all()


def test_a_compressed_picture_is_left_to_its_decoder(file, tmp_path):
    file(picture(3, 64, 48), **WINDOW, RescaleSlope=1, RescaleIntercept=0)
    content = compressed(tmp_path / "x.dicom", "JPEG2000Lossless")
    assert mended(content) is content


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "ExplicitVRBigEndian"])
def test_pixels_are_looked_at_in_every_byte_order(file, tmp_path, syntax):
    plain, _ = decode(file(picture(0), **WINDOW), "header")
    content = compressed(tmp_path / "x.dicom", syntax)
    assert mended(content) is content
    assert np.array_equal(decode(content, "header")[0], plain)
    file(picture(0) + 4000, **WINDOW)
    with pytest.raises(UnreadableError, match="more bits than the 12"):
        mended(compressed(tmp_path / "x.dicom", syntax))


@pytest.mark.parametrize("cut", [1, 2000])
def test_a_file_that_is_cut_off_is_left_to_the_decoder(file, cut):
    content = file(picture(0), **WINDOW)[:-cut]
    assert mended(content) is content
