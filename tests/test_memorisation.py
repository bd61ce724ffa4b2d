"""Copies of training images among synthetic ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from altered import SLIGHT, phantoms
from scipy.ndimage import gaussian_filter

from raremix.evaluation.memorisation import Seen, memorised, worst_pairs
from raremix.runtime.errors import UserError

RATE = 0.05
TRAIN, HELD_OUT, NEW = (0, 110), (110, 160), (160, 180)


def extracted(pictures):
    """Features that a shift or noise hardly changes: coarse block means through a fixed random network."""
    blocks = pictures.reshape(len(pictures), 8, 8, 8, 8).mean((2, 4)).reshape(len(pictures), -1) / 255
    return np.maximum(blocks @ np.random.default_rng(0).normal(size=(64, 48)), 0)


def seen(pictures, prefix):
    return Seen([f"{prefix}{index}" for index in range(len(pictures))], pictures, extracted(pictures))


@pytest.fixture(scope="module")
def patients():
    return tuple(seen(phantoms(*part), prefix) for part, prefix in ((TRAIN, "t"), (HELD_OUT, "h"), (NEW, "n")))


@pytest.mark.parametrize("change", SLIGHT)
def test_a_planted_copy_is_caught_and_its_original_named(patients, change):
    training, held_out, new = patients
    pictures = new.pictures.copy()
    pictures[3] = SLIGHT[change](training.pictures[42])
    table = memorised(seen(pictures, "n"), training, held_out, RATE).synthetic
    assert list(table.columns) == ["image_id", "nearest", "feature_distance", "pixel_distance", "copy"]
    assert table.loc[3, ["image_id", "nearest", "copy"]].tolist() == ["n3", "t42", True]
    assert table.loc[3, "pixel_distance"] < 0.4
    assert table["copy"].sum() <= 2


def test_a_copy_in_feature_space_alone_is_caught(patients):
    training, held_out, new = patients
    features = new.features.copy()
    features[3] = training.features[42]
    table = memorised(replace(new, features=features), training, held_out, RATE).synthetic
    assert table.loc[3, ["nearest", "copy"]].tolist() == ["t42", True]
    assert table.loc[3, "feature_distance"] == pytest.approx(0, abs=1e-5)
    assert table.loc[3, "pixel_distance"] > 0.4


def test_ordinary_phantoms_are_no_copies(patients):
    training, held_out, new = patients
    found = memorised(new, training, held_out, RATE)
    assert found.synthetic["copy"].sum() <= 1
    assert found.held_out["image_id"].tolist() == list(held_out.names)
    assert found.rate == pytest.approx(2 / 51)


def fields(count, rng):
    """Pictures as alike as radiographs are: one mean and smooth deviations from it."""
    mean = gaussian_filter(np.random.default_rng(9).normal(size=(64, 64)), 8) * 400
    smooth = gaussian_filter(rng.normal(size=(count, 64, 64)), (0, 6, 6)) * 300
    return np.rint(128 + mean + smooth).clip(0, 255).astype(np.uint8)


def test_false_alarms_come_at_the_calibrated_rate():
    rng = np.random.default_rng(0)
    training, held_out, new = (
        seen(fields(count, rng), prefix) for count, prefix in ((150, "t"), (399, "h"), (800, "n"))
    )
    found = memorised(new, training, held_out, 0.1)
    assert found.rate == pytest.approx(0.1)
    assert 0.04 < found.synthetic["copy"].mean() < 0.14
    for space, threshold in found.thresholds.items():
        assert (found.held_out[f"{space}_distance"] < threshold).sum() == 19
        assert 0.02 < (found.synthetic[f"{space}_distance"] < threshold).mean() < 0.09


def test_the_order_of_images_changes_nothing(patients):
    training, held_out, new = patients
    new = seen(np.concatenate([new.pictures, training.pictures[:1]]), "n")
    table = memorised(new, training, held_out, RATE).synthetic

    def reversed_(part):
        return Seen(part.names[::-1], part.pictures[::-1], part.features[::-1])

    again = memorised(*(reversed_(part) for part in (new, training, held_out)), RATE).synthetic
    pd.testing.assert_frame_equal(again[::-1].reset_index(drop=True), table, atol=5e-3)  # single precision, next to 0


def test_every_copy_of_a_model_that_only_copies_is_caught(patients):
    training, held_out, _ = patients
    copies = replace(training, names=[f"n{index}" for index in range(110)])
    table = memorised(copies, training, held_out, RATE).synthetic
    assert table["copy"].all()
    assert table["nearest"].tolist() == list(training.names)


def test_constant_features_leave_the_pixels(patients):
    training, held_out, new = (replace(part, features=np.full((len(part.names), 5), 0.1)) for part in patients)
    found = memorised(replace(new, pictures=training.pictures[:20]), training, held_out, RATE)
    assert found.synthetic["copy"].all()
    assert found.synthetic["feature_distance"].isna().all()
    assert found.synthetic["nearest"].tolist() == list(training.names[:20])
    assert not memorised(new, training, held_out, RATE).held_out["copy"].any()


def part_of(whole, count):
    return Seen(whole.names[:count], whole.pictures[:count], whole.features[:count])


def test_one_synthetic_image_is_enough(patients):
    training, held_out, new = patients
    assert len(memorised(part_of(new, 1), training, held_out, RATE).synthetic) == 1


def test_three_training_images_are_enough_to_tell_a_copy_and_two_are_not(patients):
    training, held_out, _ = patients
    three = part_of(training, 3)
    assert memorised(three, three, held_out, RATE).synthetic["copy"].all()
    with pytest.raises(UserError, match=r"^2 training images, three needed"):
        memorised(three, part_of(training, 2), held_out, RATE)


def edits(training, of):
    """Copies of the first training images, known as edits of the training images ``of``."""
    names = [f"n{index}" for index in range(len(of))]
    originals = ["" if index is None else training.names[index] for index in of]
    return replace(part_of(training, len(of)), names=names, originals=originals)


def test_an_edit_may_be_like_its_original_and_like_no_other_training_image(patients):
    training, held_out, _ = patients
    table = memorised(edits(training, [0, 50, None]), training, held_out, RATE).synthetic
    assert table["copy"].tolist() == [False, True, True]
    assert table["nearest"].tolist()[1:] == ["t1", "t2"]
    assert table["nearest"][0] != "t0"


def test_an_edit_is_measured_as_if_its_original_did_not_train(patients):
    training, held_out, _ = patients
    table = memorised(edits(training, [0]), training, held_out, RATE).synthetic
    rest = Seen(training.names[1:], training.pictures[1:], training.features[1:])
    without = memorised(replace(edits(training, [0]), originals=[]), rest, held_out, RATE).synthetic
    assert table["nearest"].tolist() == without["nearest"].tolist()
    assert table["pixel_distance"].item() == pytest.approx(without["pixel_distance"].item())


def test_too_few_held_out_images_can_calibrate_nothing(patients):
    training, held_out, new = patients
    with pytest.raises(UserError, match=r"^38 held-out images can't calibrate 0\.05 false alarms, 39 can; allow more"):
        memorised(new, training, part_of(held_out, 38), RATE)
    assert memorised(new, training, part_of(held_out, 39), RATE).rate == pytest.approx(0.05)


def test_held_out_images_that_train_are_refused(patients):
    training, held_out, new = patients
    leaked = replace(held_out, pictures=training.pictures[:50], features=training.features[:50])
    with pytest.raises(UserError, match=r"'h\d+' is 't\d+'; remove duplicates"):
        memorised(new, training, leaked, RATE)


def test_the_worst_pairs_stand_side_by_side(patients):
    training, held_out, new = patients
    pictures = new.pictures.copy()
    pictures[3], pictures[8] = training.pictures[42], SLIGHT["noise"](training.pictures[7])
    synthetic = seen(pictures, "n")
    found = memorised(synthetic, training, held_out, RATE)
    picture = worst_pairs(found, synthetic, training, 8)
    assert picture.shape == (2 * 64, 8 * 64)
    for place, mine, theirs in ((0, 3, 42), (1, 8, 7)):
        pair = picture[:64, 128 * place : 128 * place + 128]
        assert np.array_equal(pair, np.hstack([pictures[mine], training.pictures[theirs]]))
    assert worst_pairs(found, synthetic, training, 2).shape == (64, 4 * 64)
