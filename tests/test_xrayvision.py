"""Features of torchxrayvision's DenseNet-121, with random weights in the layout of its state_dict."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn
from torchvision.models import densenet121

from raremix.classifier.xrayvision import features, load
from raremix.runtime.errors import UserError


@pytest.fixture(scope="module")
def whole():
    """The whole network, as torchxrayvision has it: one channel in, 18 logits out."""
    torch.manual_seed(0)
    network = densenet121(num_classes=18)
    network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def weights(whole):
    return {**whole.state_dict(), "op_threshs": torch.rand(18)}


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "densenet121.safetensors"
    save_file(weights, path)
    return path


@torch.no_grad()
def seen_by_the_last_layer(whole, inputs):
    """``[n, 1024]`` of inputs ``[n, 1, 224, 224]``, by torchvision's own forward."""
    seen = []
    hook = whole.classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    whole(inputs)
    hook.remove()
    return seen[0].double().numpy()


def pictures(count, side=224):
    return np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)


def test_features_are_what_the_last_layer_of_the_whole_network_sees(whole, file):
    images = pictures(2)
    spread = torch.from_numpy(images)[:, None].float() * (2048 / 255) - 1024
    found = features(load(file), images, "float32")
    assert found.shape == (2, 1024)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, seen_by_the_last_layer(whole, spread), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("grey", "value"), [(0, -1024.0), (255, 1024.0)])
def test_black_and_white_of_any_size_are_the_ends_of_the_network_s_range(whole, file, grey, value):
    found = features(load(file), np.full((1, 64, 64), grey, np.uint8), "float32")
    expected = seen_by_the_last_layer(whole, torch.full((1, 1, 224, 224), value))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_large_images_are_averaged_down_not_picked_from(file):
    """Stripes a pixel wide become grey; without antialiasing some would stay black or white."""
    stripes = np.zeros((1, 896, 896), np.uint8)
    stripes[:, :, ::2] = 255
    grey = np.full((1, 896, 896), 127, np.uint8)
    middle, black, lined = (features(load(file), one, "float32")[0, :] for one in (grey, 0 * grey, stripes))
    assert np.abs(lined - middle).mean() < 0.2 * np.abs(black - middle).mean()


def test_an_image_has_the_same_features_in_any_batch(file, monkeypatch):
    monkeypatch.setattr("raremix.classifier.xrayvision.BATCH", 2)
    images = np.concatenate([pictures(1, 16), np.zeros((1, 16, 16), np.uint8), pictures(1, 16)])
    found = features(load(file), images, "float32")
    np.testing.assert_allclose(found[-1], found[0], rtol=1e-3, atol=1e-3)
    assert len(found) == 3
    assert np.abs(found[1] - found[0]).max() > 0.01


def test_bfloat16_is_near(file):
    images = pictures(2, 32)
    exact, rough = features(load(file), images, "float32"), features(load(file), images, "bfloat16")
    assert np.abs(rough - exact).mean() < 0.05 * exact.mean()


def test_loading_leaves_the_global_stream_alone(file):
    before = torch.get_rng_state()
    load(file)
    assert torch.equal(torch.get_rng_state(), before)


def refused(path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert "save_model(torchxrayvision.models.DenseNet(" in line
    return line


def test_a_missing_file_is_named_with_what_to_save(tmp_path):
    assert "no such file" in refused(tmp_path / "densenet121.safetensors")


@pytest.mark.parametrize("pickled", ["module", "state_dict"])
def test_a_pickle_is_not_opened_whatever_is_in_it(whole, weights, tmp_path, pickled):
    torch.save({"module": whole, "state_dict": weights}[pickled], tmp_path / "downloaded.pt")
    assert "pickled module" in refused(tmp_path / "downloaded.pt")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04"])
def test_what_is_no_safetensors_is_refused(tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    assert "no safetensors" in refused(tmp_path / "weights.safetensors")


def test_the_command_that_is_told_saves_what_is_read(whole, tmp_path):
    save_model(whole, tmp_path / "densenet121.safetensors")
    assert features(load(tmp_path / "densenet121.safetensors"), pictures(1, 32), "float32").shape == (1, 1024)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("features.norm5.weight"), r"'features\.norm5\.weight' is missing where .* of shape \[1024\]"),
        (lambda w: w.update({"features.more": torch.zeros(3)}), r"'features\.more' is of shape \[3\] where .* missing"),
        (
            lambda w: w.update({"features.conv0.weight": torch.zeros(64, 3, 7, 7)}),
            r"'features\.conv0\.weight' is of shape \[64, 3, 7, 7\] where .* of shape \[64, 1, 7, 7\]",
        ),
        (lambda w: w.clear(), r"'features\.conv0\.weight' is missing"),
    ],
    ids=["missing", "unexpected", "three channels", "empty"],
)
def test_weights_of_another_network_are_named_by_their_first_difference(weights, tmp_path, change, told):
    changed = dict(weights)
    change(changed)
    save_file(changed, tmp_path / "other.safetensors")
    assert re.search(told, refused(tmp_path / "other.safetensors"))
