"""Latents and directions among them on disk, for whoever needs them without the model they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from raremix.runtime import weights
from raremix.runtime.errors import UserError, one_line

FILES = ("h.npy", "e.npy")
DIRECTIONS = ("normals", "moves", "permuted")


@dataclass(frozen=True)
class Latents:
    """Memory-mapped float16 arrays: ``h [n, steps, branches, channels, side, side]``, ``e [n, steps, channels, ...]``.

    Step 0 is the noisiest; of two branches, the negative text's is the first.
    """

    h: NDArray[np.float16]
    e: NDArray[np.float16]


def read(folder: Path) -> Latents:
    """What ``hspace.capture`` wrote to ``folder``.

    Raises:
        UserError: it holds no latents, or a file of them is not whole.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such latents; run `dvc repro latents`")
    return Latents(*(_mapped(folder / name) for name in FILES))


def write_directions(file: Path, parts: Mapping[str, NDArray[np.float64]], shape: Sequence[int]) -> None:
    """Write a space's ``DIRECTIONS``, ``[steps, attributes, dimensions]`` each, in the ``shape`` of its latents."""
    shaped = {name: part.reshape(*part.shape[:2], *shape).astype(np.float32) for name, part in parts.items()}
    weights.write(file, {name: torch.from_numpy(part) for name, part in shaped.items()})


def read_directions(file: Path) -> dict[str, NDArray[np.float32]]:
    """What ``write_directions`` wrote to ``file``: ``[steps, attributes, channels, side, side]`` each.

    Raises:
        UserError: there is no such file, or it is not whole.
    """
    remedy = "run `dvc repro boundary`"
    if not file.is_file():
        raise UserError(f"{file}: no such directions; {remedy}")
    return {name: part.numpy() for name, part in weights.read(file, remedy).items()}


def _mapped(file: Path) -> NDArray[np.float16]:
    try:
        return np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file}: no whole array ({one_line(error)}); run `dvc repro latents`") from None
