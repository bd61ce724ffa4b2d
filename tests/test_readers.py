"""Readers of attributes: what they learn, in which units, and what they refuse to be judged by."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from raremix.classifier.model import build
from raremix.diagnosis.readers import (
    LatentReader,
    PictureReader,
    ReaderTraining,
    Units,
    explained,
    fit,
    halves,
    load_latent,
    load_picture,
    read,
    readable,
    save,
    units,
)
from raremix.runtime.errors import UserError

TRAINING = ReaderTraining(steps=60, batch=16, lr=5e-3, weight_decay=0.0)
UNITS = Units(["male", "thickness"], [0.5, 20.0], [0.5, 3.0], [0.0, 17.0], [1.0, 23.0])


def latents(count: int = 200) -> tuple[torch.Tensor, np.ndarray]:
    """Latents with two attributes in their channels' means."""
    values = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    inputs = 0.3 * torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    return inputs + torch.from_numpy(values)[:, :, None, None], values


def taught(targets: np.ndarray, name: str = "test") -> nn.Module:
    return fit(LatentReader(2, 8, 2), latents()[0], targets, TRAINING, "float32", name)


def test_units_are_standard_deviations_and_the_way_between_the_ends_is_told_in_them():
    thickness = [*np.arange(101.0), np.nan]
    values = pd.DataFrame({"male": [0.0, 1.0] * 51, "thickness": thickness})
    measured = units(values)
    assert measured.attributes == ["male", "thickness"]
    assert measured.mean == [0.5, 50]
    assert (measured.low, measured.high) == ([0, 16], [1, 84])
    np.testing.assert_allclose(measured.reach, [1 / values["male"].std(), 68 / values["thickness"].std()])
    low, high = measured.ends
    np.testing.assert_allclose(low, [-0.5 / values["male"].std(), -34 / values["thickness"].std()])
    np.testing.assert_allclose(high - low, measured.reach)
    least, most = measured.natural
    np.testing.assert_allclose((least, most), (low - measured.reach / 2, high + measured.reach / 2))
    told = measured.of(values[["thickness", "male"]])
    assert told.dtype == np.float32
    np.testing.assert_allclose(np.nanmean(told, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(told, axis=0, ddof=1), 1, rtol=1e-5)
    assert np.isnan(told[-1]).tolist() == [False, True]


def test_a_reader_learns_what_is_there_and_says_the_same_when_taught_again():
    inputs, targets = latents()
    found = read(taught(targets), inputs, "float32")
    assert (explained(targets, found) > 0.8).all()
    np.testing.assert_array_equal(found, read(taught(targets), inputs, "float32"))
    assert (found != read(taught(targets, "another"), inputs, "float32")).any()


def test_what_is_not_known_counts_for_nothing():
    inputs, targets = latents()
    some = targets.copy()
    some[:, 1] = np.nan
    some[::2, 0] = np.nan
    found = read(taught(some), inputs, "float32")
    assert explained(targets, found)[0] > 0.6
    assert explained(targets, found)[1] < 0.2, "nothing has told it"
    start = [part.clone() for part in LatentReader(2, 8, 2).parameters()]
    ended = list(taught(np.full_like(targets, np.nan)).parameters())
    assert all(torch.equal(before, after) for before, after in zip(start, ended, strict=True))


def test_a_reading_does_not_depend_on_how_many_are_read(monkeypatch):
    inputs, _ = latents()
    model = LatentReader(2, 8, 2).eval()
    together = read(model, inputs, "float32")
    monkeypatch.setattr("raremix.diagnosis.readers.BATCH", 7)
    np.testing.assert_allclose(read(model, inputs, "float32"), together, atol=1e-6)


def test_r2_is_over_the_images_that_tell_and_of_one_value_there_is_none():
    targets = np.array([[1, 0.1, 3, np.nan], [2, 0.1, np.nan, np.nan], [3, 0.1, np.nan, np.nan]], np.float32)
    found = np.array([[1.0, 0, 3, 0], [2.0, 0, 0, 0], [4.0, 0, 0, 0]])
    np.testing.assert_allclose(explained(targets, found), [1 - 1 / 2, np.nan, np.nan, np.nan])
    same = np.full((999, 1), 0.1, np.float32)
    assert np.isnan(explained(same, np.zeros((999, 1)))[0]), "however its mean is rounded"


def test_halves_are_of_patients_and_about_equal():
    patients = pd.Series([f"P{index:06d}" for index in range(400)] * 2)
    first = halves(patients)
    assert (first[:400] == first[400:]).all()
    assert 160 < first[:400].sum() < 240


def test_the_readable_come_best_first_and_if_there_is_none_the_file_is_named(tmp_path):
    file = tmp_path / "readers.csv"
    file.write_text(
        "attribute,reader,r2\nthickness,picture,0.9\nmale,picture,0.5\nage,picture,0.95\nmale,latent,0.99\n"
    )
    assert readable(file, UNITS, 0.5) == [1, 0]
    assert readable(file, UNITS, 0.6) == [1]
    with pytest.raises(UserError, match=r"readers\.csv: no attribute has an R2 of 0.95; raise readers\.picture\.steps"):
        readable(file, UNITS, 0.95)
    file.write_text("attribute,reader,r2\nthickness,picture,0.9\nmale,picture,\n")
    assert readable(file, UNITS, -1000.0) == [1], "what could not be judged is not trusted"


def test_readers_come_back_from_disk(tmp_path):
    inputs, targets = latents()
    picture, latent = PictureReader(build("mobilenet_v3_small", 2)).eval(), taught(targets)
    save(tmp_path / "readers", picture, latent, UNITS, "mobilenet_v3_small")
    again, measured = load_latent(tmp_path / "readers")
    assert measured == UNITS
    np.testing.assert_array_equal(read(again, inputs, "float32"), read(latent, inputs, "float32"))
    again, measured = load_picture(tmp_path / "readers")
    assert measured == UNITS
    shown = torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    np.testing.assert_allclose(read(again, shown, "float32"), read(picture, shown, "float32"), rtol=1e-4, atol=1e-5)
