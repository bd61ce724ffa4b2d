"""What a classifier minimises: cross entropy, plain, weighted by class, or with margins for rare classes.

Of each finding, *with* and *without* are two classes of their own, as the labels are not exclusive. To the plain loss a
label may be unknown (NaN): it adds nothing, and the other labels count for no more than they do without it.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from raremix.runtime.device import device

LossName = Literal["cross_entropy", "class_balanced", "ldam_drw"]
Loss = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]  # logits and labels [n, findings], whether late

BETA = 0.9999  # how fast further images of a class stop being news (Cui et al. 2019)
MARGIN = 0.5  # the largest, of the rarest class; Cao et al. 2019 take it of a cosine, we of a logit


def loss_of(name: LossName, labels: NDArray[np.float32]) -> Loss:
    """The loss of training rows with ``labels [n, findings]``, each finding on at least one of them.

    ``class_balanced`` weighs each class by the inverse of its effective number of images (Cui et al. 2019, eq. 4). A
    batch's loss is the weighted mean of its images, finding by finding, as torch's ``cross_entropy`` has it: a sum over
    fixed norms would let the one carrier in a batch move the network a hundred times as far. ``ldam_drw`` lowers the
    logit of a class by a margin that goes with its count to the power of -1/4 (Cao et al. 2019, eq. 13), and weighs
    classes as well, but only late (their deferred re-weighting).
    """
    counts = torch.from_numpy(np.stack([(labels == 0).sum(axis=0), (labels == 1).sum(axis=0)])).float()
    weights, margins = _weights(counts).to(device()), _margins(counts).to(device())

    def loss(logits: torch.Tensor, labels: torch.Tensor, late: bool) -> torch.Tensor:
        if name == "ldam_drw":
            logits = logits - torch.where(labels == 1, margins[1], -margins[0])
        if name == "class_balanced" or (name == "ldam_drw" and late):
            weight = torch.where(labels == 1, weights[1], weights[0])
            losses = binary_cross_entropy_with_logits(logits, labels, reduction="none")
            return ((weight * losses).sum(0) / weight.sum(0)).mean()
        return binary_cross_entropy_with_logits(logits, labels.nan_to_num(), labels.isfinite().float())

    return loss


def _weights(counts: torch.Tensor) -> torch.Tensor:
    """Of each class ``[2, findings]``: one over its effective number of images; a class nobody is of counts as one."""
    effective = (1 - BETA ** counts.clamp(min=1).double()) / (1 - BETA)
    return (1 / effective).float()


def _margins(counts: torch.Tensor) -> torch.Tensor:
    scale = counts.clamp(min=1) ** -0.25
    return MARGIN * scale / scale.max()
