"""Weights on disk: safetensors alone, read and written in one place, so that a broken file is one clear line."""

import errno
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from raremix.runtime.errors import UserError, one_line
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
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise  # the disk, permissions or memory: the file may be whole
        raise UserError(f"{file}: no whole safetensors file ({one_line(error)}); {remedy}") from None


def damaged(folder: Path) -> Path | None:
    """The first safetensors file anywhere in ``folder`` that is not whole, which libraries' errors often don't name."""
    return next((file for file in sorted(folder.rglob("*.safetensors")) if not _whole(file)), None)


def _whole(file: Path) -> bool:
    try:
        with safe_open(file, "pt"):  # holds the header against the file's length
            return True
    except (OSError, SafetensorError):
        return False
