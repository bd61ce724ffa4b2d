"""Weights on disk: safetensors alone, read and written in one place, so that a broken file is one clear line."""

import errno
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from raremix.runtime.errors import UserError, no_memory, one_line
from raremix.runtime.files import replacing


def write(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write ``tensors`` to ``file``, from whatever device; a file is there whole or not at all."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(file) as temporary:
        save_file(kept, temporary)


def read(file: Path, remedy: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, by name, on the CPU.

    Raises:
        UserError: there is no such file, or it is not whole; ``remedy`` is what to do then.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        if no_memory(error) or (isinstance(error, OSError) and error.errno not in (None, errno.ENOENT)):
            raise  # the disk, permissions or memory: the file may be whole
        raise UserError(f"{file}: no whole safetensors file ({one_line(error)}); {remedy}") from None


def load(network: nn.Module, file: Path, remedy: str) -> None:
    """Give ``network`` the weights of ``file``, as ``read`` and ``fill`` do.

    Raises:
        UserError: there is no such file, it is not whole, or it is of another network; ``remedy`` is what to do then.
    """
    fill(network, read(file, remedy), file, remedy)


def fill(network: nn.Module, tensors: Mapping[str, torch.Tensor], source: Path | str, remedy: str) -> None:
    """Give ``network`` the ``tensors`` of ``source``, which must be its own, all and no others.

    Raises:
        UserError: they are not; ``remedy`` is what to do then.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{source}: the weights of another network ({one_line(error)}); {remedy}") from None


def check_complete(told: Mapping[str, Collection[str]], network: str) -> None:
    """Refuse a ``network`` of diffusers or transformers of whose weights some were in no file, and so drawn at random.

    ``told`` is what ``from_pretrained`` tells with ``output_loading_info``.

    Raises:
        ValueError: tells how many, and one of them.
    """
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"{len(missing)} weights of its {network} are in no file, one is {missing[0]}")


def damaged(folder: Path) -> Path | None:
    """The first safetensors file anywhere in ``folder`` that is not whole, which libraries' errors often don't name."""
    return next((file for file in sorted(folder.rglob("*.safetensors")) if not _whole(file)), None)


def _whole(file: Path) -> bool:
    try:
        with safe_open(file, "pt"):  # holds the header against the file's length
            return True
    except (OSError, SafetensorError):
        return False
