from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from altered import SLIGHT, phantoms
from PIL import Image

from raremix.data import images
from raremix.data.duplicates import COLUMNS, LEFT_OUT, across, refuse, without
from raremix.data.leaks import NEAR
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256

PARTS = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4 + ["reserve"] * 2
TRAIN, VALIDATION, TEST, RESERVE = 3, 9, 14, 17  # a place in each part


@pytest.fixture
def pictures():
    return phantoms(0, len(PARTS))


@pytest.fixture
def audit(tmp_path):
    """The pairs among ``pictures``, written as files."""

    def _audit(pictures, parts=PARTS):
        files = [str(tmp_path / f"{index}.png") for index in range(len(pictures))]
        for picture, file in zip(pictures, files, strict=True):
            images.save(picture, file)
        checksums = {file: sha256(Path(file)) for file in files}
        frame = pd.DataFrame({"image_id": [f"i{index}" for index in range(len(files))], "file": files})
        return across(frame, pd.Series(parts), checksums)

    return _audit


def enlarged(pictures):
    return np.stack([np.asarray(Image.fromarray(p).resize((256, 256), Image.Resampling.BICUBIC)) for p in pictures])


def test_different_patients_are_no_pair(audit, pictures, tmp_path):
    pairs = audit(pictures)
    assert list(pairs.columns) == COLUMNS
    assert pairs.empty
    assert refuse(pairs, tmp_path / "duplicates.csv") is None


@pytest.mark.parametrize("change", SLIGHT)
@pytest.mark.parametrize(
    ("one", "other"), [(VALIDATION, TRAIN), (TEST, TRAIN), (TEST, VALIDATION), (TEST, RESERVE), (VALIDATION, RESERVE)]
)
def test_a_copy_in_another_part_is_found_once(audit, pictures, change, one, other):
    pictures[one] = SLIGHT[change](pictures[other])
    (pair,) = audit(pictures).to_dict("records")
    assert [pair["part"], pair["image_id"]] == [PARTS[one], f"i{one}"]
    assert [pair["other_part"], pair["other_image_id"]] == [PARTS[other], f"i{other}"]
    assert 0 <= pair["distance"] < NEAR


@pytest.mark.parametrize(("one", "other"), [(TRAIN, TRAIN + 1), (TEST, TEST + 1), (TRAIN, RESERVE)])
def test_a_copy_within_a_part_or_among_what_trains_is_none(audit, pictures, one, other):
    pictures[one] = pictures[other]
    assert audit(pictures).empty


def test_what_is_left_out_leaves_no_other_out():
    frame = pd.DataFrame({"image_id": list("abcde")})
    parts = pd.Series(["test", "validation", "train", "validation", "train"])
    rows = [("test", "a", "validation", "b", 0.01), ("validation", "b", "train", "c", 0.02)]
    pairs = pd.DataFrame([*rows, ("validation", "d", "train", "e", 0.03)], columns=COLUMNS)
    assert without(pairs, frame, parts).tolist() == ["test", LEFT_OUT, "train", "validation", LEFT_OUT]


def test_larger_pictures_are_judged_alike(audit, pictures):
    pictures[VALIDATION] = SLIGHT["shift"](pictures[TRAIN])
    assert audit(enlarged(pictures))["image_id"].tolist() == [f"i{VALIDATION}"]


def test_the_nearest_pair_is_named_and_all_are_counted(audit, pictures, tmp_path):
    pictures[VALIDATION], pictures[TEST] = pictures[TRAIN], SLIGHT["noise"](pictures[TRAIN + 1])
    pairs = audit(pictures)
    assert pairs["distance"].is_monotonic_increasing
    with pytest.raises(
        UserError,
        match=r"^'i9' of validation and 'i3' of train are nearly the same image; .*duplicates.csv lists all 2 ",
    ):
        refuse(pairs, tmp_path / "duplicates.csv")


def test_a_part_without_images_has_no_pairs(audit, pictures):
    assert audit(pictures[:8], PARTS[:8]).empty
