"""Padding of a DICOM radiograph, which is no part of the picture."""

import numpy as np
import pytest
from vindr_tree import picture, write_dicom

from raremix.data.dicom import decode
from raremix.data.pixels import UnreadableError


@pytest.fixture
def read(tmp_path):
    def _read(pixels, window="header", **tags):
        write_dicom(tmp_path / "x.dicom", pixels, **tags)
        return decode((tmp_path / "x.dicom").read_bytes(), window)

    return _read


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", ["header", "percentiles"])
@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 2000, "WindowWidth": 2001}])
def test_padding_is_black_and_has_no_say_in_what_else_is(read, kind, window, tags):
    half, padded = picture(0)[:40], picture(0).copy()
    alone, _ = read(half, window, PhotometricInterpretation=kind, **tags)
    padded[40:] = 4095
    padded[-1] = 4090
    grey, _ = read(
        padded, window, PhotometricInterpretation=kind, PixelPaddingValue=4095, PixelPaddingRangeLimit=4090, **tags
    )
    assert np.array_equal(grey[:40], alone)
    assert (grey[40:] == 0).all()


@pytest.mark.parametrize("value", [4095, 65535])
def test_padding_of_more_bits_than_are_stored_is_padding(read, value):
    padded = picture(0).copy()
    padded[40:] = value
    grey, _ = read(padded, PixelPaddingValue=65535)
    assert np.array_equal(grey[:40], read(picture(0)[:40])[0])


def test_padding_below_zero_is_told_from_what_else_is_signed(read):
    padded = picture(0).astype(np.int64) - 1000
    padded[40:] = -2000
    grey, _ = read(padded, bits=16, PixelRepresentation=1, PixelPaddingValue=-2000)
    assert np.array_equal(grey[:40], read(picture(0)[:40])[0])
    assert (grey[40:] == 0).all()


def test_padding_that_is_nowhere_changes_nothing_and_padding_everywhere_is_no_picture(read):
    assert np.array_equal(read(picture(0), PixelPaddingValue=4095)[0], read(picture(0))[0])
    with pytest.raises(UnreadableError, match=r"^every pixel is padding$"):
        read(np.full((20, 20), 7), PixelPaddingValue=7)
