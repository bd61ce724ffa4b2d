"""Maps that say where a classifier looks, and whether they find the lesion."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from raremix.classifier.model import build, normalised, on_device
from raremix.diagnosis.explain import (
    chance,
    difference,
    gallery,
    grad_cam,
    integrated_gradients,
    localisation,
    overlap,
    panel,
    pointing_game,
)
from raremix.runtime.device import device

METHODS = [grad_cam, integrated_gradients]
BRIGHT = np.random.default_rng(0).integers(130, 255, (70, 16, 16), dtype=np.uint8)  # above the baseline; two batches


class Corner(nn.Module):
    """Output 1 grows with brightness in the upper left quarter, output 0 with nothing."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(inplace=True))
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(0.1)
            self.last.weight[0] = 0

    def forward(self, images):
        seen = self.maps(images)
        quarter = torch.zeros_like(seen)
        quarter[..., :8, :8] = 1
        return self.last((seen * quarter).mean(dim=(2, 3)) ** 2)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_reads_one_corner_is_explained_by_it(method):
    images = BRIGHT.copy()
    images[:, :8, :8] |= 192  # Grad-CAM weighs whole channels: its map is where they are active
    images[:, 8:, 8:] = 115
    maps = method(Corner(), images, 1)
    assert maps.shape == images.shape
    assert maps.dtype == np.float64
    assert (maps >= 0).all()
    peaks = [np.unravel_index(one.argmax(), one.shape) for one in maps]
    assert np.max(peaks) < 8


@pytest.mark.parametrize("method", METHODS)
def test_an_output_that_nothing_moves_has_an_empty_map(method):
    assert not method(Corner(), BRIGHT, 0).any()


def test_integrated_gradients_read_nothing_of_what_the_network_does_not():
    maps = integrated_gradients(Corner(), BRIGHT, 1)
    assert (maps[:, :8, :8] > 0).all()
    assert not maps[:, 9:, :].any()  # a convolution sees one pixel beyond the quarter
    assert not maps[:, :, 9:].any()


def test_integrated_gradients_add_up_to_the_change_of_the_logit():
    """Where brightness can only raise it: elsewhere absolute values add up to more."""
    model = on_device(Corner())
    logits = [
        model(normalised(torch.from_numpy(images)[:, None].float().to(device())))[:, 1].detach().cpu()
        for images in (BRIGHT / 255, np.full(BRIGHT.shape, 0.45))
    ]
    np.testing.assert_allclose(integrated_gradients(model, BRIGHT, 1).sum(axis=(1, 2)), logits[0] - logits[1], 1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_a_network_is_the_same_afterwards(method, name):
    model = on_device(build(name, 3)).train()
    list(model.modules())[-2].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    maps = method(model, BRIGHT[:3].repeat(4, 1).repeat(4, 2), 2)
    assert maps.shape == (3, 64, 64)
    assert maps.any()
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in model.modules())


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_same_again_and_do_not_depend_on_their_companions(method):
    model = build("mobilenet_v3_small", 2)
    images = BRIGHT[:5].repeat(2, 1).repeat(2, 2)
    maps = method(model, images, 1)
    np.testing.assert_array_equal(method(model, images, 1), maps)
    np.testing.assert_allclose(method(model, images[3:4], 1)[0], maps[3], rtol=1e-3, atol=1e-5 * maps[3].max())


def test_a_failure_leaves_the_mode_as_it_was():
    model = Corner().train()
    with pytest.raises((AssertionError, IndexError)):
        grad_cam(model, BRIGHT, 9)
    assert model.training


@pytest.mark.parametrize(("size", "stage"), [(64, "layer3"), (128, "layer4")])
def test_grad_cam_reads_the_last_maps_that_are_four_by_four(size, stage):
    """The same by hand."""
    model = on_device(build("resnet18", 4)).eval()
    images = np.random.default_rng(2).integers(0, 255, (2, size, size), dtype=np.uint8)
    seen = []
    with getattr(model, stage).register_forward_hook(lambda _, inputs, maps: seen.append(maps)):
        logits = model(normalised(torch.from_numpy(images)[:, None].float().to(device()) / 255))
    for output in range(4):
        (slopes,) = torch.autograd.grad(logits[:, output].sum(), seen, retain_graph=True)
        coarse = (slopes.mean(dim=(2, 3), keepdim=True) * seen[0]).sum(1, keepdim=True).clamp(min=0).detach()
        fine = nn.functional.interpolate(coarse, (size, size), mode="bilinear")[:, 0].cpu()
        np.testing.assert_allclose(grad_cam(model, images, output), fine, rtol=1e-3, atol=1e-4 * fine.max() + 1e-9)


def test_a_difference_counts_darker_as_much_as_brighter():
    before = np.array([[[0, 255], [10, 10]]], np.uint8)
    after = np.array([[[255, 0], [10, 61]]], np.uint8)
    np.testing.assert_allclose(difference(before, after), [[[1, 1], [0, 0.2]]])


def squares(*corners, side=4):
    """A mask ``[1, 8, 8]`` of squares."""
    mask = np.zeros((1, 8, 8), bool)
    for y, x in corners:
        mask[0, y : y + side, x : x + side] = True
    return mask


def test_the_pointing_game_asks_for_the_maximum_alone():
    heat = np.full((1, 8, 8), 0.9)
    heat[0, 1, 1] = 1
    assert pointing_game(heat, squares((0, 0))) == 1
    assert pointing_game(heat, squares((4, 4))) == 0
    assert pointing_game(heat, squares((0, 0), (6, 6), side=2)) == 1  # one of several lesions is enough


def test_equal_maxima_count_by_their_share_in_the_mask():
    heat = np.zeros((1, 8, 8))
    heat[0, 0, [0, 1, 2, 7]] = 0.3, 0.3 + 1e-12, 0.3, 0.3
    assert pointing_game(heat, squares((0, 0), side=2)) == 0.5


def test_overlap_takes_as_many_pixels_as_the_mask_has():
    heat = np.arange(64.0).reshape(1, 8, 8)  # the sixteen highest are the two last rows
    assert overlap(heat, squares((4, 4))) == pytest.approx(8 / 24)
    assert overlap(heat, squares((0, 0))) == 0
    assert overlap(heat, squares((6, 0), (6, 2), (6, 4), (6, 6), side=2)) == 1
    assert overlap(heat, squares((6, 6), (0, 0), side=2)) == pytest.approx(2 / 14)
    np.testing.assert_array_equal(overlap(heat**3, squares((4, 4))), overlap(heat, squares((4, 4))))


def test_overlap_counts_what_ties_in_part():
    """One pixel of the mask is highest; of its other three, as of all that tie, 3 in 63 are taken."""
    heat = np.zeros((1, 8, 8))
    heat[0, 0, 0] = 1
    shared = 1 + 3 * 3 / 63
    assert overlap(heat, squares((0, 0), side=2)) == pytest.approx(shared / (8 - shared))


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_constant_map_scores_chance(value):
    masks = np.concatenate([squares((0, 0)), squares((2, 4), (0, 0), side=2), squares((0, 0), side=8)])
    pointing, shared = chance(masks)
    np.testing.assert_allclose(pointing, [16 / 64, 8 / 64, 1])
    np.testing.assert_allclose(shared, [1 / 7, 1 / 15, 1])
    flat = np.full(masks.shape, value)
    np.testing.assert_allclose(pointing_game(flat, masks), pointing)
    np.testing.assert_allclose(overlap(flat, masks), shared)


def test_random_maps_score_chance_on_average():
    masks = squares((1, 3)).repeat(4000, 0)
    maps = np.random.default_rng(1).random(masks.shape)
    pointing, shared = chance(masks)
    assert pointing_game(maps, masks).mean() == pytest.approx(pointing[0], abs=0.03)
    assert overlap(maps, masks).mean() == pytest.approx(shared[0], abs=0.01)


@pytest.mark.parametrize("score", [pointing_game, overlap, lambda _, masks: chance(masks)])
def test_an_empty_mask_is_no_miss(score):
    masks = np.concatenate([squares((0, 0)), squares()])
    with pytest.raises(ValueError, match="empty"):
        score(np.zeros(masks.shape), masks)


def test_a_panel_has_a_row_an_image_and_a_column_a_map():
    masks = squares((2, 2), side=4).repeat(4, 0).repeat(8, 1).repeat(8, 2)
    images = np.full(masks.shape, 100, np.uint8)
    images[:, :, ::2] = 90
    picture = panel(images, {"one": masks * 0.5, "other": np.zeros(masks.shape)}, masks)
    assert picture.size == (3 * 128, 16 + 4 * 128)
    tiles = np.asarray(picture.convert("RGB")).astype(int)[16:144].reshape(128, 3, 128, 3).swapaxes(0, 1)
    cyan = (abs(tiles - [0, 255, 255]) < 12).all(axis=3)
    assert cyan[:, 31, 40].all()  # around the mask, which begins at 32
    assert not cyan[:, 40, 40].any()
    assert np.ptp(tiles[0, 40, 40]) < 12  # the radiograph stays grey
    assert tiles[1, 40, 40].mean() > 130
    assert abs(tiles[2, 10, 10] - tiles[0, 10, 10]).max() < 12
    file = io.BytesIO()
    picture.save(file, "PNG")
    assert file.tell() < 200_000


def test_localisation_is_a_mean_with_an_interval_beside_chance():
    masks = squares((0, 0)).repeat(12, 0)
    maps = np.random.default_rng(3).random(masks.shape)
    maps[:6, 1, 1] = 2
    maps[6:, 6, 6] = 2
    found = localisation(maps, masks, "x")
    assert found["pointing"] == 0.5
    assert 0 < found["pointing_low"] < 0.5 < found["pointing_high"] < 1
    assert found["iou"] == pytest.approx(overlap(maps, masks).mean())
    assert found["iou_low"] < found["iou"] < found["iou_high"]
    assert (found["chance_pointing"], found["chance_iou"]) == (16 / 64, pytest.approx(1 / 7))
    assert localisation(maps, masks, "x") == found
    assert localisation(maps[:0], masks[:0], "x") == {}


def test_a_gallery_shows_what_became_brighter_in_red_and_darker_in_blue():
    before = np.full((3, 64, 64), 100, np.uint8)
    after = before.copy()
    after[:, 10:20, 10:20], after[:, 40:50, 40:50] = 120, 90
    picture = gallery(before, after, squares((0, 4)).repeat(3, 0).repeat(8, 1).repeat(8, 2), ["a", "b", "c"], 2)
    assert picture.size == (2 * 3 * 128, 2 * (16 + 128))
    tile = np.asarray(picture.convert("RGB")).astype(int)[16:144, 256:384]
    assert tile[30, 30, 0] > tile[30, 30, 2] + 50
    assert tile[90, 90, 2] > tile[90, 90, 0] + 30
    assert np.ptp(tile[110, 20]) < 12
    assert np.asarray(picture.convert("L"))[160 + 64, 400:].max() == 0, "the last place stays empty"
