"""What a finding's token changes, on a real radiograph.

An autoencoder blurs, and an edit strong enough to draw a finding redraws the chest as well. Both befall the two images
of a pair alike: their difference is the finding, and the radiograph they start from has all else.
"""

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]


def laid_over(originals: Pictures, drawn_with: Pictures, drawn_without: Pictures) -> Pictures:
    """``originals`` plus what the token changes, ``drawn_with`` minus ``drawn_without``; all ``[..., side, side]``.

    Greys beyond 0..255 are cut off.
    """
    changed = originals.astype(np.int16) + drawn_with - drawn_without
    return changed.clip(0, 255).astype(np.uint8)
