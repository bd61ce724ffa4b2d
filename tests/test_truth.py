"""The phantom's truth: the same pictures as the data set's, one attribute changed, and what that does."""

from pathlib import Path

import numpy as np
import pytest

from raremix.data import dicom
from raremix.data.phantom import cohort, dataset, mask, render
from raremix.data.phantom.attributes import draw
from raremix.data.pixels import fit
from raremix.diagnosis.truth import Scale, effects, lesion_masks, levels, pictures, reliability

TABLES = Path(__file__).parents[1] / "data" / "phantom"
SCALE = Scale(seed=5, height=48, size=32)


TABLE = cohort.tables(TABLES)
PATIENTS = cohort.training_part(TABLE, 5, 12)


def test_an_unchanged_picture_is_the_data_sets_to_the_bit(tmp_path):
    dataset.write(PATIENTS + cohort.test_part(TABLE, 5, 2, [], 0, 100), 5, 48, tmp_path, 1)
    (again,) = pictures(PATIENTS, [{}], SCALE)
    for patient, picture in zip(PATIENTS, again, strict=True):
        name = dataset.image_id(5, patient.patient, patient.visit)
        grey, _ = dicom.decode((tmp_path / "train" / f"{name}.dicom").read_bytes(), "header")
        np.testing.assert_array_equal(picture, fit(grey, 32)[0])


def test_pictures_come_by_change_then_by_patient():
    whole = pictures(PATIENTS[:3], [{"tube": 0.0}, {"tube": 1.0}], SCALE)
    assert whole.shape == (2, 3, 32, 32)
    (alone,) = pictures(PATIENTS[1:2], [{"tube": 1.0}], SCALE)
    np.testing.assert_array_equal(whole[1, 1], alone[0])
    assert (whole[0] != whole[1]).any(axis=(1, 2)).all()


def rendered(one, scale, **changes):
    """The picture without noise."""
    grey, _ = render(one.patient, one.visit, seed=scale.seed, height=scale.height, noise=False, **changes)
    return fit((grey / 257).astype(np.float32), scale.size)[0].astype(float)


@pytest.mark.parametrize(("finding", "least"), [("nodule_mass", 0.9), ("pneumothorax", 0.7)])
def test_masks_are_where_pictures_change_when_a_lesion_goes(finding, least):
    scale = Scale(seed=5, height=160, size=64)
    patients = [cohort.Image("test", patient, 0, {finding: 0.9}, {}) for patient in range(6)]
    found = []
    for one, there in zip(patients, lesion_masks(patients, finding, scale), strict=True):
        change = abs(rendered(one, scale, **one.severities) - rendered(one, scale))
        highest = change >= np.sort(change, axis=None)[-there.sum()]
        found.append((highest & there).sum() / (highest | there).sum())
    assert np.mean(found) > least


def test_masks_come_by_patient_and_are_empty_without_the_finding():
    patients = [cohort.Image("test", 3, 0, severities, {}) for severities in ({}, {"nodule_mass": 0.8}, {"ild": 0.8})]
    masks = lesion_masks(patients, "nodule_mass", SCALE)
    assert masks.shape == (3, 32, 32)
    assert masks.dtype == bool
    assert masks.any(axis=(1, 2)).tolist() == [False, True, False]


def test_a_lesion_too_small_for_half_a_pixel_is_not_lost():
    (there,) = lesion_masks([cohort.Image("test", 3, 0, {"nodule_mass": 0.3}, {})], "nodule_mass", Scale(5, 160, 8))
    assert mask(3, "nodule_mass", seed=5, height=160, nodule_mass=0.3).sum() < 200  # of 400 native ones a pixel
    assert 0 < there.sum() <= 2


def test_levels_are_quantiles_or_zero_and_one():
    assert levels(PATIENTS, "pacemaker", 5) == (0.0, 1.0)
    many = cohort.training_part(TABLE, 5, 400)
    low, high = levels(many, "thickness", 5)
    values = np.array([draw(5, one.patient, one.visit)["thickness"] for one in many])
    assert (values < low).mean() == pytest.approx(0.16, abs=0.01)
    assert (values > high).mean() == pytest.approx(0.16, abs=0.01)


def test_effects_are_mean_changes_with_an_interval_that_covers_them():
    rng = np.random.default_rng(0)
    covered = []
    for trial in range(100):
        before = rng.uniform(0.2, 0.4, size=(40, 2))
        after = before + rng.normal([0.1, 0.0], 0.05, size=(40, 2))
        found = effects(before, after, str(trial))
        np.testing.assert_allclose(found["effect"], (after - before).mean(axis=0))
        covered.append((found["low"] < [0.1, 0.0]) & (found["high"] > [0.1, 0.0]))
    assert 0.86 < np.mean(covered) < 0.99


def test_reliability_is_high_for_true_effects_and_none_for_noise():
    rng = np.random.default_rng(1)
    true = rng.normal(size=(12, 1, 4))
    assert min(reliability(true + 0.1 * rng.normal(size=(12, 64, 4)), "sure").values()) > 0.99
    assert max(reliability(rng.normal(size=(12, 64, 4)), "noise").values()) < 0.5
    noisy = true + 8 * rng.normal(size=(12, 64, 4))
    expected = 1 / (1 + 8**2 / 64)
    assert reliability(noisy, "so so") == pytest.approx({"pearson": expected, "spearman": expected}, abs=0.2)


def test_one_large_effect_is_no_reliable_order():
    rng = np.random.default_rng(2)
    changes = rng.normal(size=(12, 64, 4))
    changes[0] += 100.0
    found = reliability(changes, "one")
    assert found["pearson"] > 0.99
    assert found["spearman"] < 0.7


def test_a_classifier_that_nothing_moves_has_no_reliability():
    assert reliability(np.zeros((3, 8, 2)), "still") == {"pearson": 0, "spearman": 0}


def test_reliability_is_no_number_below_zero():
    """Halves that contradict each other: of two effects, one is large in one patient alone."""
    changes = np.zeros((2, 2, 1))
    changes[0, 0], changes[1, 1] = 1.0, 1.0
    assert reliability(changes, "contrary") == {"pearson": 0, "spearman": 0}
