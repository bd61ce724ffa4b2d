"""Edits of images on their way, methods of editing, and who looks at what they did."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch import nn

from raremix.data.manifest import FIXED
from raremix.diagnosis import deep
from raremix.diagnosis.editing import along, back, check_start, chosen, patients, selectivity
from raremix.diagnosis.eyes import Classifier, Eyes
from raremix.diagnosis.hspace import likeness
from raremix.diagnosis.implicit import Implicit
from raremix.diagnosis.modes import compared, guided, unguided
from raremix.diagnosis.readers import Units
from raremix.diagnosis.traversal import LEFT, LINE, SIDE, traversal
from raremix.generator.base import load
from raremix.generator.latents import roundtrip
from raremix.generator.sample import Sampling
from raremix.runtime.errors import UserError

START, STEPS, IMAGES = 1, 4, 3
SAMPLING = Sampling(STEPS, 2.0, 2, "float32")
UNITS = Units(["upper", "lower"], [128.0] * 2, [1.0] * 2, [125.0] * 2, [131.0] * 2)


class Halves(nn.Module):
    """It reads the mean of each half of a picture, in grey levels."""

    def forward(self, pictures):
        pictures = pictures.float()
        return torch.stack([part.mean((1, 2)) for part in pictures.chunk(2, 1)], 1)


def bright(pictures):
    """The probability of a finding, and of its contrary: how bright the upper half is."""
    upper = np.clip((pictures[:, :8].mean(axis=(1, 2)) - 128) / 200 + 0.5, 0, 1)
    return np.stack([upper, 1 - upper], 1)


@pytest.fixture(scope="module")
def way(base):
    return back(load(base), tiny.images(IMAGES), SAMPLING, 20, START)


@pytest.fixture(scope="module")
def function():
    """An implicit function that was taught nothing, but acts."""
    torch.manual_seed(0)
    untaught = Implicit(16, STEPS, 2, 8)
    nn.init.normal_(untaught.leave.weight, std=0.2)
    return untaught.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def moves():
    return np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def methods(function, moves):
    permuted = np.random.default_rng(1).normal(size=(2, 4, 4, 4)).astype(np.float32) * 5
    return [
        deep.hyperplane(moves, permuted, START, 2.0, count=3),
        deep.implicit(function, START, STEPS, 0.5, count=3),
    ]


@pytest.fixture(scope="module")
def eyes(way):
    thresholds = np.quantile(bright(way.images()), 0.5, axis=0)
    return Eyes(Halves(), UNITS, {"bright": Classifier(["upper", "not"], bright, thresholds)}, "float32")


def norm(edit, step, h):
    shift = edit.shifts[step]
    return float((shift if isinstance(shift, torch.Tensor) else shift(h)).norm())


@pytest.fixture(scope="module")
def h():
    return torch.randn(1, 16, 2, 2, generator=torch.Generator().manual_seed(1))


def test_real_images_are_walked_back_and_come_again_all_or_some(base, way):
    best = roundtrip(way.pipeline.vae, tiny.images(IMAGES), "float32")
    shown = way.images()
    assert likeness(shown, best).min() > 40
    assert way.sampling.guidance == 1
    assert (way.some(slice(1, 3)).images() == shown[1:]).all()
    edit = along(np.ones((4, 4, 4), np.float32), 0.0, START)
    assert (way.images(edit) == shown).all()
    assert (way.images(along(np.ones((4, 4, 4), np.float32), 3.0, START)) != shown).any()


def test_selectivity_is_how_many_times_the_target_moves_as_the_others_do():
    changes = np.array([[2.0, -1.0, 0.5, 9.0], [4.0, -1.0, 0.5, 9.0]])
    assert selectivity(changes, 0, [0, 1, 2]) == (0.75, 4.0)
    assert selectivity(-changes, 0, [0, 1, 2]) == (0.75, -4.0)
    others, ratio = selectivity(changes, 0, [0])
    assert np.isnan(others)
    assert np.isnan(ratio)


@pytest.fixture
def listed(tmp_path):
    """Ten images of six patients; P0 trains, P5 is of test."""
    names = [f"i{index}" for index in range(10)]
    patients = [f"P{index // 2}" for index in range(8)] + ["P4", "P5"]
    rows = pd.DataFrame(dict.fromkeys(FIXED, ""), index=range(10)).assign(image_id=names, visit=0, cardiomegaly=0)
    rows.assign(patient_id=patients, file=names).to_csv(tmp_path / "manifest.csv", index=False)
    parts = ["train"] * 2 + ["validation"] * 7 + ["test"]
    (tmp_path / "splits").mkdir()
    pd.DataFrame({"image_id": names, "part": parts, "shot_rank": ""}).to_csv(
        tmp_path / "splits" / "trial0.csv", index=False
    )
    return tmp_path / "manifest.csv", tmp_path / "splits"


def test_images_to_edit_are_of_validation_one_a_patient(listed):
    rows = patients(*listed)
    assert list(rows["image_id"]) == ["i2", "i4", "i6", "i8"]
    assert list(chosen(rows, 4)["image_id"]) == list(rows["image_id"])
    assert list(chosen(rows, 2)["image_id"]) == list(chosen(rows, 2)["image_id"])
    with pytest.raises(UserError, match=r"params\.yaml, editing\.images: 5 patients of validation are needed, not 4"):
        chosen(rows, 5)


def test_edits_that_start_at_the_end_are_refused():
    check_start(8, 10)
    with pytest.raises(UserError, match=r"editing\.start: 9 leaves no step to edit of latents\.sampling\.steps = 10"):
        check_start(9, 10)


def test_zero_doses_change_nothing_in_any_mode_or_method(way, methods, function, moves):
    shown = way.images()
    spaces = {"e": np.stack([moves] * STEPS), "h": np.ones((STEPS, 2, 16, 2, 2), np.float32)}
    for mode in unguided(spaces, function, START):
        assert (way.images(mode.edit(1, 0.0)) == shown).all(), mode
    for method in methods:
        assert (way.images(method.edit(1, 0.0)) == shown).all()
        assert (way.images(method.together(np.array([1.0, 2.0]), 0.0)) == shown).all()


def test_modes_edit_the_steps_that_they_name(function):
    spaces = {"e": np.zeros((10, 2, 4, 4, 4), np.float32), "h": np.zeros((10, 2, 16, 2, 2), np.float32)}
    learned = Implicit(16, 10, 2, 8)
    steps = {
        (mode.space, mode.what, mode.steps): list(mode.edit(0, 1.0).shifts) for mode in unguided(spaces, learned, 3)
    }
    assert steps["e", "hyperplane", "one"] == [3]
    assert steps["e", "hyperplane, a direction a step", "every"] == list(range(3, 10))
    assert steps["e", "hyperplane, a direction a step", "early half"] == [3, 4, 5]
    assert steps["e", "hyperplane, a direction a step", "late half"] == [6, 7, 8, 9]
    assert steps["h", "implicit", "every"] == list(range(3, 9)), "the last step was never learned"
    assert steps["h", "implicit", "early half"] + steps["h", "implicit", "late half"] == list(range(3, 9))
    assert [mode.edit(0, 1.0).branch for mode in guided(learned, 10)] == ["both", "prompt", "negative"]


def test_the_same_direction_is_that_of_the_start_and_others_are_each_steps_own(function):
    each = np.arange(STEPS, dtype=np.float32)[:, None, None, None, None] * np.ones((1, 2, 1, 1, 1), np.float32)
    spaces = {"e": each, "h": each}
    modes = {mode.what: mode.edit(0, 2.0) for mode in unguided(spaces, function, START) if mode.steps == "every"}
    own, same = (modes[f"hyperplane, {what}"].shifts for what in ("a direction a step", "the same direction"))
    assert [float(own[step]) for step in range(START, STEPS)] == [2, 4, 6]
    assert [float(same[step]) for step in range(START, STEPS)] == [2, 2, 2]


def test_modes_are_compared_by_what_a_reader_sees(way, function, moves):
    spaces = {"e": np.stack([moves] * STEPS), "h": np.ones((STEPS, 2, 16, 2, 2), np.float32)}
    mode = replace(unguided(spaces, function, START)[0], strengths=(0.0, 4.0))

    def reading(pictures):
        return Halves()(torch.from_numpy(pictures)).numpy().astype(float)

    table = compared([mode], way, reading, UNITS.attributes, [1], [0, 1])
    assert table["strength"].tolist() == [0, 4]
    assert set(table["attribute"]) == {"lower"}
    assert table.loc[0, ["moved", "others"]].tolist() == [0, 0]
    assert np.isnan(table.loc[0, "selectivity"])
    changes = (reading(way.images(mode.edit(1, 4.0))) - reading(way.images())).mean(axis=0)
    assert table.loc[1, ["moved", "others"]].tolist() == pytest.approx([changes[1], abs(changes[0])])


def test_what_means_nothing_is_as_long_as_what_does(methods, moves, h):
    hyperplane, implicit = methods
    mean = np.linalg.norm(moves.reshape(2, -1), axis=1).mean()
    assert hyperplane.kinds == 2 + 2, "there are two boundaries of permuted labels"
    for k in range(hyperplane.kinds):
        assert norm(hyperplane.pointless(k, -1.5), START, h) == pytest.approx(1.5 * mean, rel=1e-5)
    assert norm(hyperplane.together(np.array([3.0, -0.1]), 1.5), START, h) == pytest.approx(1.5 * mean, rel=1e-5)
    assert norm(hyperplane.together(np.zeros(2), 1.5), START, h) == 0
    assert implicit.kinds == 2
    for k in range(implicit.kinds):
        real, dealt = implicit.edit(k, 0.5), implicit.pointless(k, 0.5)
        assert list(real.shifts) == list(dealt.shifts) == [1, 2]
        for step in real.shifts:
            assert norm(dealt, step, h) == pytest.approx(norm(real, step, h), rel=1e-6)
            assert not torch.equal(dealt.shifts[step](h), real.shifts[step](h))
            assert torch.equal(dealt.shifts[step](h).sort(1)[0], real.shifts[step](h).sort(1)[0])
    alone = implicit.together(np.array([0.0, -2.0]), 0.5)
    torch.testing.assert_close(alone.shifts[1](h), -implicit.edit(1, 0.5).shifts[1](h))


def test_both_ways_are_seen_by_reader_and_classifier(methods, eyes, way):
    method = methods[0]
    changes = deep.both_ways(method, [1], eyes, way)["bright"]
    assert changes.targets.tolist() == [1, 1]
    assert changes.doses.tolist() == [-2, 2]
    before, after = way.images(), way.images(method.edit(1, 2.0))
    np.testing.assert_allclose(changes.read[1], eyes.read(after) - eyes.read(before))
    np.testing.assert_allclose(changes.probability[1], bright(after) - bright(before))
    np.testing.assert_array_equal(changes.before, bright(before))
    (least, most), reading = UNITS.natural, eyes.read(after)[:, 1]
    np.testing.assert_array_equal(changes.natural[1], (least[1] <= reading) & (reading <= most[1]))
    seen = eyes.seen(after)["bright"]
    np.testing.assert_array_equal(seen.read, eyes.read(after))
    np.testing.assert_array_equal(seen.probability, bright(after))
    thresholds = eyes.classifiers["bright"].thresholds
    np.testing.assert_array_equal(changes.flipped[1], (bright(after) >= thresholds) != (bright(before) >= thresholds))
    table = deep.selectivities(changes, UNITS.attributes, [0, 1])
    span = (changes.read[1] - changes.read[0]).mean(axis=0)
    assert table["attribute"].tolist() == ["lower"]
    assert table["moved"][0] == pytest.approx(span[1])
    assert table["selectivity"][0] == pytest.approx(span[1] / abs(span[0]))
    assert deep.nothing(method, eyes, way)["bright"].targets.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_doses_are_multiples_of_the_methods_own(methods, eyes, way):
    table = deep.responses(methods[0], [0], [-1.0, 0.0, 2.0], eyes, way, "bright")
    assert table["dose"].tolist() == [-2, -2, 0, 0, 4, 4]
    still = table[table["dose"] == 0]
    assert (still[["moved", "change", "low", "high"]] == 0).all(axis=None)
    assert ((table["low"] <= table["change"] + 1e-12) & (table["change"] <= table["high"] + 1e-12)).all()
    of_upper, of_not = (table[table["finding"] == name]["change"].to_numpy() for name in ("upper", "not"))
    np.testing.assert_allclose(of_upper, -of_not)


def test_flip_rates_of_combined_edits_never_fall_with_strength(methods, eyes, way):
    for method in methods:
        table = deep.combined(method, np.array([[1.0, 0.0], [0.5, 0.0]]), [4.0, 0.1, 30.0], eyes, way, "bright")
        rates = table[table["finding"] == "upper"]
        assert rates["strength"].tolist() == [0.1, 4, 30], "in their order, however they were asked"
        assert rates["flip_rate"].is_monotonic_increasing
        assert rates["flip_rate"].iloc[-1] > 0
        assert rates["smallest"].iloc[0] in (0.1, 2.05, 4, 15.05, 17, 30)
        still = table[table["finding"] == "not"]
        assert (still["flip_rate"] == 0).all(), "no attribute, no edit"
        assert still["smallest"].isna().all()
        assert (table["n"] == IMAGES).all()


def test_a_traversal_has_a_row_an_edit_and_a_column_a_dose(methods, eyes, way):
    picture = traversal([(methods[0], [0, 1]), (methods[1], [0])], [-1.0, 1.0], eyes, way, "bright")
    assert picture.size == (LEFT + 3 * SIDE, LINE + 3 * (SIDE + LINE))
    tile = np.asarray(picture)[LINE : LINE + SIDE, LEFT + SIDE : LEFT + 2 * SIDE]
    shown = way.some(slice(1)).images()[0]
    assert tile.mean() == pytest.approx(shown.mean(), abs=2), "unedited in the middle"
