"""How near the autoencoder's reconstructions are to their images, pixel by pixel."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

Pictures = NDArray[np.uint8]

WHITE = 255.0
WINDOW = 11  # pixels, of SSIM's Gaussian with its standard deviation of 1.5
BATCH = 256


def likeness(originals: Pictures, reconstructions: Pictures) -> pd.DataFrame:
    """``psnr`` and ``ssim`` of each reconstruction, a row an image, both arguments ``[n, side, side]``.

    The peak signal-to-noise ratio ``20 log10(255 / root mean square error)`` in dB, infinite for an equal picture, and
    the structural similarity of Wang et al. 2004, at most 1, with their Gaussian window and constants; NaN below a side
    of 11, where the window does not fit.
    """
    found = []
    for start in range(0, len(originals), BATCH):
        original, reconstructed = (
            torch.from_numpy(part[start : start + BATCH])[:, None].float() for part in (originals, reconstructions)
        )
        psnr = peak_signal_noise_ratio(reconstructed, original, WHITE, reduction="none", dim=(1, 2, 3))
        found.append(torch.stack([psnr, _ssim(reconstructed, original)]))
    figures = torch.cat(found, dim=1).double().numpy()
    return pd.DataFrame({"psnr": figures[0], "ssim": figures[1]})


def of_findings(labels: NDArray[np.int64], like: pd.DataFrame, findings: Sequence[str]) -> pd.DataFrame:
    """``finding, psnr, ssim``: the means of ``like`` over the images that carry each finding, and over ``all``.

    Args:
        labels: ``[images, findings]`` of 0 and 1.
        like: a row an image, see ``likeness``.
        findings: their names.
    """
    carriers = {finding: labels[:, k] == 1 for k, finding in enumerate(findings)}
    rows = {finding: like[carry].mean() for finding, carry in carriers.items()} | {"all": like.mean()}
    return pd.DataFrame(rows).T.rename_axis("finding").reset_index()


def _ssim(reconstructions: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """The mean over where the window fits, as Wang et al. have it; torchmetrics' own counts mirrored borders too."""
    border = WINDOW // 2
    if originals.shape[-1] < WINDOW:
        return torch.full((len(originals),), torch.nan)
    _, everywhere = structural_similarity_index_measure(
        reconstructions, originals, kernel_size=WINDOW, reduction="none", data_range=WHITE, return_full_image=True
    )
    return everywhere[..., border:-border, border:-border].mean(dim=(1, 2, 3))
