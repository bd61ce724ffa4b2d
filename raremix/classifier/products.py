"""Convolutions to maps of very few pixels as matrix products, for CPUs.

At the end of a ResNet for images of 64 pixels a map is 2 by 2, and oneDNN's backward of a convolution that writes it
takes several times as long as unfolding its input and one product with the same weights.
"""

import torch
from torch import nn
from torch.nn.functional import linear, unfold

FEW = 4  # pixels of a map; from 4 by 4 on, unfolding costs more than the convolution


class ProductConv2d(nn.Conv2d):
    """A convolution, computed as a product (im2col, Chellapilla et al. 2006) where it writes ``FEW`` pixels or fewer.

    Its parameters are ``nn.Conv2d``'s, and its result is the same but for rounding.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``[n, in_channels, height, width]`` to ``[n, out_channels, rows, columns]``."""
        padding = int(self.padding[0]), int(self.padding[1])
        rows, columns = (self._written(size, axis, padding[axis]) for axis, size in enumerate(images.shape[2:]))
        if not 0 < rows * columns <= FEW:
            return super().forward(images)
        seen = unfold(images, self.kernel_size, self.dilation, padding, self.stride).transpose(1, 2)
        found = linear(seen.flatten(0, 1), self.weight.flatten(1), self.bias)
        return found.unflatten(0, (len(images), rows, columns)).permute(0, 3, 1, 2)

    def _written(self, size: int, axis: int, padding: int) -> int:
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1)
        return (size + 2 * padding - reach - 1) // self.stride[axis] + 1


def as_products(network: nn.Module) -> nn.Module:
    """``network``, its convolutions of more than a pixel to be computed so where that is faster."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _can(module):
            module.__class__ = ProductConv2d  # in place: parameters, hooks and names stay what they are
    return network


def _can(convolution: nn.Conv2d) -> bool:
    plain = convolution.groups == 1 and convolution.padding_mode == "zeros"
    return plain and not isinstance(convolution.padding, str) and convolution.kernel_size != (1, 1)
