"""What the implicit function does to h: how far it shifts it, how alike for all images, how near to a boundary's."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from raremix.diagnosis.implicit import Implicit
from raremix.runtime.device import device

Moves = NDArray[np.float32]


@torch.no_grad()
def shifts(implicit: Implicit, h: NDArray[np.float16], moves: Moves, attributes: Sequence[int]) -> pd.DataFrame:
    """``step, length, alike, boundary`` of shifts at a dose of 1, averaged over ``attributes`` (indices).

    ``h [n, steps, channels, side, side]`` is of images on their way; ``moves [steps, attributes, channels, ...]`` cross
    its boundaries. ``length`` is the shift's norm over that of h, ``alike`` the cosine of an image's shift with
    the mean of all images', ``boundary`` the cosine of that mean with the boundary's move.
    """
    rows = []
    for step in range(h.shape[1] - 1):  # the last is never shifted
        inner = torch.from_numpy(np.ascontiguousarray(h[:, step])).float().to(device())
        found = implicit(inner, step)[:, list(attributes)].flatten(2)  # [n, attributes, dimensions]
        mean = found.mean(dim=0)
        across = torch.from_numpy(moves[step, list(attributes)]).to(mean).flatten(1)
        length = found.norm(dim=2) / inner.flatten(1).norm(dim=1)[:, None]
        alike = torch.cosine_similarity(found, mean[None], dim=2)
        figures = (length, alike, torch.cosine_similarity(mean, across, dim=1))
        rows.append((step, *(float(figure.mean()) for figure in figures)))
    return pd.DataFrame(rows, columns=["step", "length", "alike", "boundary"])
