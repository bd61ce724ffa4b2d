"""The network that looks at real and synthetic images for a stage: the backbone, or torchxrayvision's DenseNet-121."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raremix.classifier import xrayvision as published
from raremix.classifier.maps import last_maps, pools_maps
from raremix.classifier.model import from_backbone
from raremix.classifier.predict import features
from raremix.runtime.device import Precision

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Witness:
    """What a network makes of images ``[n, side, side]`` in 0..255."""

    features: Callable[[Pixels], Array]  # [n, width]
    maps: Callable[[Pixels], Array]  # the last ones, all at once: [n, width, rows, columns]
    pools: Callable[[Pixels], bool]  # whether the features are means of the maps


def witness(backbone: Path, model: str, xrayvision: str | None, precision: Precision) -> Witness:
    """The network ``model`` of the file ``backbone``, or the one whose weights are the file ``xrayvision``.

    Raises:
        UserError: a file is missing or of another network.
    """
    if xrayvision:
        network = published.load(Path(xrayvision))
        looks, maps = (partial(of, network, precision=precision) for of in (published.features, published.maps))
        return Witness(looks, maps, lambda _: True)
    network = from_backbone(model, 1, backbone)
    return Witness(
        partial(features, network, precision=precision), partial(last_maps, network), partial(pools_maps, network)
    )
