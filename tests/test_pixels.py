import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raremix.data.pixels import UnreadableError, decode_picture, fit, robust


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-500, 500), st.integers(0, 40)), min_size=1, max_size=60, unique_by=lambda at: at[0])
)
def test_percentiles_of_counted_values_are_numpy_s_to_the_last_digit(counted):
    values, counts = (np.array(column) for column in zip(*counted, strict=True))
    repeated = np.repeat(values, counts)
    if len(np.unique(repeated)) < 2:
        return
    assert np.array_equal(np.repeat(robust(values, counts), counts), robust(repeated))


def png(array, mode=None):
    buffer = io.BytesIO()
    Image.fromarray(array, mode).save(buffer, "PNG")
    return buffer.getvalue()


def claiming(content, width, height):
    """A PNG whose header claims another size."""
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def test_a_picture_that_would_decompress_to_gigabytes_is_refused_before_it_does():
    small = png(np.zeros((4, 4), np.uint8))
    with pytest.raises(UnreadableError, match="9000 x 9500 pixels"):
        decode_picture(claiming(small, 9000, 9500))
    with pytest.raises((UnreadableError, Image.DecompressionBombError)):
        decode_picture(claiming(small, 100_000, 100_000))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "PPM", "WEBP", "ICO"])
def test_a_picture_of_another_format_is_refused_whatever_it_is_called(kind):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(buffer, kind)
    with pytest.raises(UnreadableError, match=r"^no PNG or JPEG, whatever its name says"):
        decode_picture(buffer.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_read_whatever_it_is_called(kind):
    buffer = io.BytesIO()
    grey = np.repeat(np.arange(256, dtype=np.uint8), 16).reshape(64, 64)
    Image.fromarray(grey).save(buffer, kind)
    assert np.abs(decode_picture(buffer.getvalue()) - grey).max() < 10


def test_pictures_keep_grey_levels_and_refuse_colour():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode_picture(png(grey)), grey)
    assert np.array_equal(decode_picture(png(np.stack([grey] * 3, 2))), grey)
    with pytest.raises(UnreadableError, match="colour"):
        decode_picture(png(np.stack([grey, grey.T, grey], 2)))


def test_a_16_bit_picture_is_stretched():
    grey = decode_picture(png(np.linspace(100, 60000, 10000).astype(np.uint16).reshape(100, 100)))
    assert (grey.min(), grey.max()) == (0, 255)
    assert grey[50, 0] == pytest.approx(128, abs=2)


def test_fit_averages_areas_pads_with_zeros_and_takes_boxes_along():
    image = np.zeros((40, 20), np.float32)
    image[::2] = 200
    square, where = fit(image, 10)
    assert square.shape == (10, 10)
    assert square.dtype == np.uint8
    assert not square[:, :2].any()
    assert not square[:, 7:].any()
    assert set(np.unique(square[:, 2:7])) == {100}
    assert where.box((0, 0, 20, 40)) == (2, 0, 7, 10)


def test_fit_enlarges_what_is_smaller():
    square, where = fit(np.full((4, 8), 50, np.float32), 16)
    assert np.array_equal(np.unique(square[4:12]), [50])
    assert where.box((0, 0, 8, 4)) == (0, 4, 16, 12)
