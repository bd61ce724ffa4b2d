"""DICOM files to PNGs: over all cores, and as a loop of pydicom and Pillow would do it."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from raremix.data.findings import DEVICES
from raremix.data.ingest import converted
from raremix.data.phantom.dicom import write
from raremix.data.records import Record
from raremix.runtime.cores import cores

IMAGES, HEIGHT, WIDTH, SIZE, ROUNDS = 48, 2500, 2048, 512, 3
TRUTH = {
    "attributes": {"male": 1, "ap": 0, "thickness": 22.0, "source_distance": 180.0, "exposure": 1.0}
    | dict.fromkeys(DEVICES, 0),
    "visit": 1,
    "spacing": 0.14,
}


@pytest.fixture
def radiographs(tmp_path):
    """A folder of smooth random fields at the size of VinDr-CXR's images, and their SHA-256 by name."""
    rng, listed = np.random.default_rng(0), {}
    for index in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (40, 32), np.uint8))
        field = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.uint16) * 257
        path = tmp_path / "raw" / f"{index:03d}.dicom"
        path.parent.mkdir(exist_ok=True)
        write(path, field, TRUTH, f"{index:03d}", f"{index:03d}")
        listed[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return tmp_path / "raw", listed


def by_a_loop(root, names, folder):
    """What a notebook does: no hashes, no boxes, no resuming."""
    folder.mkdir(exist_ok=True)
    for name in names:
        header = dcmread(root / name)
        grey = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header).astype(np.float32)
        grey = 255 * (grey - grey.min()) / (grey.max() - grey.min())
        grey = 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey
        picture = Image.fromarray(grey)
        picture.thumbnail((SIZE, SIZE), Image.Resampling.BOX, reducing_gap=None)
        picture.convert("L").save(folder / f"{name}.png")


def test_ingest_against_a_loop_of_pydicom(times_as_fast, radiographs, tmp_path):
    root, listed = radiographs
    records = [Record(name.removesuffix(".dicom"), name, "train", {}) for name in listed]

    def ours():
        with converted(records, root, listed, tmp_path / "images", SIZE, "header") as (seen, bad):
            assert (len(seen), bad) == (IMAGES, [])

    ratio = times_as_fast(ours, lambda: by_a_loop(root, listed, tmp_path / "loop"), ROUNDS)
    print(f"\ningest of {IMAGES} DICOM files of {HEIGHT} x {WIDTH}: {ratio:.2f} times as fast, {cores()} cores")
