import pytest
import torch
from torch import nn

from raremix.classifier.model import build, normalised, on_device
from raremix.classifier.products import ProductConv2d, as_products


def both(convolution, images):
    """What a convolution and the product in its place make of the images, and the gradients of either."""
    found = []
    for way in (nn.Conv2d.forward, ProductConv2d.forward):
        seen = images.clone().requires_grad_()
        convolution.zero_grad()
        written = way(convolution, seen)
        (written * torch.linspace(-1, 1, written.numel()).view(written.shape)).sum().backward()
        found.append([written, seen.grad, *(parameter.grad.clone() for parameter in convolution.parameters())])
    return zip(*found, strict=True)


def product(*sizes, **options):
    torch.manual_seed(0)
    return as_products(nn.Conv2d(*sizes, **options))


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({"padding": 1, "bias": False}, (2, 2)),
        ({"padding": 1, "stride": 2}, (4, 4)),
        ({"padding": 1, "stride": 2}, (3, 4)),
        ({"padding": (0, 1), "stride": (2, 1)}, (5, 2)),
        ({"padding": 2, "dilation": 2}, (2, 1)),
        ({}, (3, 3)),
    ],
)
def test_a_product_is_the_convolution_and_has_its_gradients(options, side):
    convolution = product(5, 7, 3, **options)
    assert isinstance(convolution, ProductConv2d)
    images = torch.rand(3, 5, *side).to(memory_format=torch.channels_last)
    for one, other in both(convolution, images):
        torch.testing.assert_close(other, one)


def test_only_maps_of_few_pixels_are_products(monkeypatch):
    written = []
    monkeypatch.setattr("raremix.classifier.products.linear", lambda *given: written.append(given) or torch.rand(4, 2))
    convolution = product(1, 2, 3, padding=1)
    convolution(torch.rand(1, 1, 3, 2))
    assert not written
    convolution(torch.rand(1, 1, 2, 2))
    assert len(written) == 1


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding="valid"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv1d(4, 4, 3),
    ],
)
def test_what_no_product_stands_for_stays(convolution):
    assert type(as_products(nn.Sequential(convolution))[0]) is type(convolution)
    assert not isinstance(convolution, ProductConv2d)


def test_an_image_too_small_for_its_kernel_is_refused_as_ever():
    with pytest.raises(RuntimeError, match="Kernel size"):
        product(1, 1, 3)(torch.rand(2, 1, 2, 2))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v3_small"])
def test_a_network_says_what_it_said(name):
    images = normalised(torch.rand(4, 1, 64, 64))
    before, network = build(name, 3).eval(), on_device(build(name, 3)).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images.to(next(network.parameters()).device)).cpu(), before(images))
    assert list(network.state_dict()) == list(before.state_dict())


def test_a_map_of_two_by_two_pixels_is_a_product_in_a_classifier(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    layers = [module for module in on_device(build("resnet18", 3)).modules() if isinstance(module, ProductConv2d)]
    assert len(layers) == 17  # all but the three of a pixel
