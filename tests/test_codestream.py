import io

import pandas as pd
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from vindr_tree import compressed, picture, run, write_dicom, write_inventory, write_tree

from raremix.data.codestream import check, size
from raremix.data.pixels import UnreadableError

SYNTAXES = ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEGLSNearLossless", "JPEG2000Lossless", "JPEG2000")


@pytest.fixture
def file(tmp_path):
    """A DICOM file of 48 x 64 pixels, uncompressed."""
    write_dicom(tmp_path / "x.dicom", picture(3, 64, 48))
    return tmp_path / "x.dicom"


def lying(file, side):
    """The bytes of ``file`` with another picture in it, black and of ``side`` squared."""
    header = dcmread(io.BytesIO(compressed(file, "JPEG2000")))
    stream = io.BytesIO()
    Image.new("L", (side, side)).save(stream, "JPEG2000")
    header.PixelData = encapsulate([stream.getvalue()])
    out = io.BytesIO()
    header.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_picture_of_its_header_s_size_passes(file, syntax):
    header = dcmread(io.BytesIO(compressed(file, syntax)))
    assert check(header) is None
    header.Rows = 63
    with pytest.raises(UnreadableError, match=r"^its header says 48 x 63 pixels, the picture in it 48 x 64$"):
        check(header)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_sizes_are_those_of_the_pictures(kind):
    stream = io.BytesIO()
    Image.new("L", (123, 45)).save(stream, kind, comment=b"\xff\x4f\xff\x51 " * 9)
    assert size(stream.getvalue()) == (123, 45)


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51", b"no picture at all"])
def test_what_tells_no_size_has_none(stream):
    assert size(stream) == (0, 0)


def test_uncompressed_and_run_lengths_are_left_to_pydicom(file):
    for content in (file.read_bytes(), compressed(file, "RLELossless")):
        assert check(dcmread(io.BytesIO(content))) is None


def test_a_kilobyte_that_claims_gigabytes_is_set_aside_before_it_takes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = write_tree(tmp_path / "raw")
    bomb = lying(tree / "train" / "a.dicom", 9000)
    assert len(bomb) < 2000
    (tree / "train" / "a.dicom").write_bytes(bomb)
    write_inventory(tree)
    run(tree, max_bad=0.5)
    bad = pd.read_csv(tree.parent / "quarantine.csv").set_index("path")["reason"]
    assert bad["train/a.dicom"] == "its header says 40 x 48 pixels, the picture in it 9000 x 9000"
