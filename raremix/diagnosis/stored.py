"""Latents on disk, for whoever needs them without the model they come from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raremix.runtime.errors import UserError

FILES = ("h.npy", "e.npy")


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
        UserError: it holds no latents.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such latents; run `dvc repro latents`")
    return Latents(*(np.load(folder / name, mmap_mode="r") for name in FILES))
