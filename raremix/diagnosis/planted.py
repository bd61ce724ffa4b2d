"""A bias by design: pictures in which an attribute coincides with a finding as often as is wished."""

import numpy as np
from numpy.typing import NDArray

from raremix.runtime.seeds import generator

Labels = NDArray[np.int64]


def ends(present: Labels, agreement: float, seed: str) -> Labels:
    """The end of the attribute, 0 low or 1 high, that each image gets by whether the finding is ``present [n]``.

    They coincide (high if present, low if absent) with probability ``agreement``; else it is the other way round. At
    0.5 the attribute tells nothing. Of one ``seed``, images that coincide at an agreement do so at every higher one.
    """
    luck = generator("planted", seed).random(len(present))
    return np.where(luck < agreement, present, 1 - present)
