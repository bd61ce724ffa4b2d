"""PSNR and SSIM of reconstructions, against their formulas."""

import numpy as np
import pandas as pd
import pytest

from raremix.evaluation.reconstruction import BATCH, WINDOW, likeness, of_findings


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (5, WINDOW, WINDOW)).astype(np.uint8)
    noise = rng.normal(0, 20, original.shape)
    return original, (original + noise).round().clip(0, 255).astype(np.uint8)


def test_psnr_is_of_the_whole_grey_range():
    original = np.full((2, 16, 16), 100, np.uint8)
    near = np.stack([original[0] + 1, original[0] + 10]).astype(np.uint8)
    assert likeness(original, near)["psnr"].tolist() == pytest.approx([48.1308, 28.1308], abs=1e-3)


def test_ssim_where_one_window_fits_is_its_formula(pair):
    at = np.arange(WINDOW) - WINDOW // 2
    bell = np.exp(-(at**2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    for x, y, found in zip(*pair, likeness(*pair)["ssim"], strict=True):
        x, y = x.astype(float), y.astype(float)
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        spread_x, spread_y = ((weights * z * z).sum() - m**2 for z, m in ((x, mean_x), (y, mean_y)))
        both = (weights * x * y).sum() - mean_x * mean_y
        small, smaller = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        wanted = (2 * mean_x * mean_y + small) * (2 * both + smaller)
        wanted /= (mean_x**2 + mean_y**2 + small) * (spread_x + spread_y + smaller)
        assert found == pytest.approx(wanted, abs=1e-4)


def test_an_image_itself_is_as_near_as_can_be_and_below_the_window_there_is_no_ssim(pair):
    same = likeness(pair[0], pair[0])
    assert same["psnr"].tolist() == [np.inf] * 5
    assert same["ssim"].tolist() == pytest.approx([1] * 5)
    small = likeness(*(part[:, :10, :10] for part in pair))
    assert small["ssim"].isna().all()
    assert small["psnr"].between(15, 35).all()


def test_images_are_measured_one_by_one_however_many(pair):
    many = [np.concatenate([part] * (BATCH // 5 + 1)) for part in pair]
    table = likeness(*many)
    assert len(table) > BATCH
    np.testing.assert_allclose(table[-5:], likeness(*pair), rtol=1e-6)
    pd.testing.assert_frame_equal(likeness(*(part[:1] for part in pair)), table[:1], rtol=1e-6)


def test_means_are_over_the_images_that_carry_the_finding():
    like = pd.DataFrame({"psnr": [30.0, 32.0, 40.0], "ssim": [0.9, 0.8, 0.7]})
    table = of_findings(np.array([[1, 0], [1, 0], [0, 0]]), like, ["heart", "air"]).set_index("finding")
    assert table.loc["heart"].tolist() == pytest.approx([31, 0.85])
    assert table.loc["all"].tolist() == pytest.approx([34, 0.8])
    assert table.loc["air"].isna().all(), "no image has it"
