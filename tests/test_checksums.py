import subprocess

import numpy as np
import pytest
from PIL import Image

from raremix.data import images
from raremix.data.checksums import read_checksums, write_checksums
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256


def test_sha256sum_checks_the_list_and_it_comes_back(tmp_path):
    (tmp_path / "an image.png").write_bytes(b"pixels")
    listed = {"an image.png": sha256(tmp_path / "an image.png")}
    write_checksums(listed, tmp_path / "images.sha256")
    assert read_checksums(tmp_path / "images.sha256") == listed
    check = ["sha256sum", "--check", "--strict", "images.sha256"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "an image.png").write_bytes(b"others")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 1


@pytest.mark.parametrize("line", ["", "abc  a.png", "0" * 64 + " a.png", "0" * 64 + "  "])
def test_a_line_that_is_no_checksum_is_named(tmp_path, line):
    (tmp_path / "images.sha256").write_text(f"{'0' * 64}  fine.png\n{line}\n")
    with pytest.raises(UserError, match=r"images\.sha256, line 2: not a SHA-256"):
        read_checksums(tmp_path / "images.sha256")


def test_a_list_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"images\.sha256: missing; run `dvc repro`"):
        read_checksums(tmp_path / "images.sha256")


def test_only_a_png_is_read_even_if_another_picture_has_the_listed_bytes(tmp_path):
    grey, file = np.arange(256, dtype=np.uint8).reshape(16, 16), str(tmp_path / "a.png")
    images.save(grey, file)
    assert np.array_equal(images.load([file], {file: sha256(tmp_path / "a.png")}), grey[None])
    Image.fromarray(grey).save(file, "TIFF")
    with pytest.raises(UserError, match=r"a\.png: can't be decoded"):
        images.load([file], {file: sha256(tmp_path / "a.png")})
