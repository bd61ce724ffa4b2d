"""What gives the images away that an arm adds, and the maps that show it."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from raremix.classifier.maps import last_maps, pools_maps
from raremix.classifier.model import build
from raremix.classifier.predict import features
from raremix.evaluation.audit import folds, probe
from raremix.evaluation.gallery import Gallery
from raremix.evaluation.gap import largest_kind
from raremix.evaluation.giveaways import ACROSS, HEADER, TILE, giveaways, picture, weights_unseen

SIDE = 64
FINDINGS = ["heart", "air"]


def shallow():
    """Maps of 16 by 16 cells, each of which sees 4 by 4 pixels."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))


def galleries(network, marked, count=30):
    """Real images of noise and added ones with a bright square, where ``marked`` says."""
    rng = np.random.default_rng(0)
    found = []
    for source in ("real", "added"):
        pixels = rng.integers(80, 160, (count, SIDE, SIDE)).astype(np.uint8)
        if source == "added":
            pixels[:, *marked] = 255
        names = pd.Index([f"{source}{k}" for k in range(count)], name="image_id")
        rows = pd.DataFrame({"heart": 1, "air": [1, 0] * (count // 2)}, index=names)
        found.append(Gallery(rows, pixels, features(network, pixels, "float32")))
    return found


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_map_s_peak_is_where_a_bright_square_gives_the_image_away(row, column):
    network = shallow()
    square = tuple(slice(48, 64) if far else slice(0, 16) for far in (row, column))
    found = giveaways(*galleries(network, square), FINDINGS, partial(last_maps, network))
    assert found.finding == "heart"
    for place in np.flatnonzero(found.table["source"] == "added"):
        one = found.activation[place]
        peak = np.unravel_index(one.argmax(), one.shape)
        assert tuple(int(at // 4) for at in peak) == (3 * row, 3 * column), "its cells are a quarter of a side"
    assert (found.table["score"] > 0).tolist() == [True] * ACROSS + [False] * ACROSS


def test_the_surest_come_first_and_a_map_s_mean_is_its_image_s_score():
    network = shallow()
    found = giveaways(*galleries(network, (slice(0, 4), slice(0, 4))), FINDINGS, partial(last_maps, network))
    scores = found.table["score"].to_numpy()
    assert (np.diff(scores[:ACROSS]) <= 0).all()
    assert (np.diff(scores[ACROSS:]) >= 0).all()
    np.testing.assert_allclose(found.activation.mean((1, 2)), scores, rtol=1e-3, atol=1e-4)


def test_an_image_is_weighed_by_the_probe_that_has_not_learned_from_it():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(20, 4)), rng.normal(0.5, 2, size=(30, 4))
    both, labels = np.concatenate([real, made]), np.repeat([0, 1], [20, 30])
    scores = (both * weights_unseen(real, made)).sum(axis=1)
    for learned, held in folds().split(both, labels):
        wanted = probe().fit(both[learned], labels[learned]).decision_function(both[held])
        np.testing.assert_allclose(np.diff(scores[held]), np.diff(wanted))


def test_the_picture_has_the_images_with_their_maps_below():
    network = shallow()
    real, made = galleries(network, (slice(0, 16), slice(48, 64)))
    found = giveaways(real, made, FINDINGS, partial(last_maps, network))
    page = np.asarray(picture(found, "some_arm").convert("RGB")).astype(int)
    assert page.shape == (2 * (HEADER + 2 * TILE), ACROSS * TILE, 3)
    plain, coloured = page[HEADER : HEADER + TILE, :TILE], page[HEADER + TILE : HEADER + 2 * TILE, :TILE]
    first = made.pixels[list(made.rows.index).index(found.table["image_id"].iloc[0])]
    assert np.abs(plain[::2, ::2, 0] - first).max() < 16, "but for the colours that a small file has"
    corner = coloured[8:24, -24:-8].mean((0, 1))
    opposite = coloured[-24:-8, 8:24].mean((0, 1))
    assert corner[0] - corner[2] > 40, "red where the square is"
    assert abs(opposite[0] - opposite[2]) < 20, "and grey where it is not"


def test_too_few_images_give_nothing_away():
    network = shallow()
    real, made = galleries(network, (slice(0, 16), slice(0, 16)))
    few = real.of([f"real{k}" for k in range(10)]), made.of([f"added{k}" for k in range(10)])
    assert len(giveaways(*few, FINDINGS, partial(last_maps, network)).table) == 2 * ACROSS
    assert giveaways(few[0], made.of(["added3"]), FINDINGS, partial(last_maps, network)) is None
    assert giveaways(few[0], made.of([]), FINDINGS, partial(last_maps, network)) is None


def test_the_kind_is_the_one_with_most_images_of_the_rarer_source():
    real = np.repeat([[1, 0], [0, 1], [0, 0]], [40, 15, 100], axis=0)
    added = np.repeat([[1, 0], [0, 1], [0, 0]], [12, 80, 9], axis=0)
    kind = largest_kind(real, added)
    assert kind.place == 1
    assert (kind.real.sum(), kind.added.sum()) == (15, 80)
    assert largest_kind(real[:40], added[:0]) is None
    healthy = largest_kind(real, added[-9:].repeat(2, axis=0))
    assert (healthy.place, healthy.real.sum()) == (2, 100), "of no finding"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5", "regnet_y_400mf"])
def test_networks_that_pool_have_maps_whose_means_are_their_features(name):
    network = build(name, 2)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE)).astype(np.uint8)
    assert pools_maps(network, pixels)
    maps = last_maps(network, pixels)
    assert maps.shape[2:] == (2, 2)
    np.testing.assert_allclose(maps.mean((2, 3)), features(network, pixels, "float32"), rtol=1e-3, atol=1e-4)


FLAT = partial(nn.Sequential, nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(4 * 64, 2))


@pytest.mark.parametrize(
    ("network", "side"),
    [(partial(build, "mobilenet_v3_small", 2), 64), (FLAT, 64), (partial(build, "resnet18", 2), 32)],
)
def test_networks_with_more_than_a_pooling_or_maps_of_a_pixel_pool_none(network, side):
    assert not pools_maps(network(), np.random.default_rng(0).integers(0, 256, (2, side, side)).astype(np.uint8))
