"""Whether torchvision's ImageNet weights of a network can be had, before any work is done."""

from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import torch
from torchvision.models import get_model_weights

from raremix.runtime.errors import UserError, one_line

SECONDS = 20  # to wait for an answer


def check_imagenet(name: str) -> None:
    """Refuse a network ``name`` whose ImageNet weights are neither in torch.hub's cache nor to be reached.

    Raises:
        UserError: they are not, or torchvision has no such network.
    """
    try:
        address = str(get_model_weights(name).DEFAULT.url)
    except ValueError:
        raise UserError(
            f"params.yaml, backbone.model: torchvision has no classifier '{name}'; try resnet18 or resnet50"
        ) from None
    if (Path(torch.hub.get_dir()) / "checkpoints" / Path(address).name).is_file():
        return
    try:
        urlopen(Request(address, method="HEAD"), timeout=SECONDS).close()
    except (URLError, OSError) as error:
        raise UserError(
            f"params.yaml, backbone.start: ImageNet weights of {name} are not in torch.hub's cache, and their server "
            f"does not answer ({one_line(error)}); download them where there is a network, or start from the corpus"
        ) from None
