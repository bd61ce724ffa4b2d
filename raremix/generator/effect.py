"""What a finding's token changes, on a real radiograph.

An autoencoder blurs, and an edit strong enough to draw a finding redraws the chest as well. Both befall the two images
of a pair alike: their difference is the finding, and the radiograph they start from has all else.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

Pictures = NDArray[np.uint8]
MARGIN = 1 / 32  # of a picture's side: how far a place is widened, and the standard deviation of its soft edge


def laid_over(
    original: Pictures, drawn_with: Pictures, drawn_without: Pictures, inside: NDArray[np.float32] | None = None
) -> Pictures:
    """``original`` plus what the token changes, ``drawn_with`` minus ``drawn_without``; all ``[side, side]``.

    Beyond where ``inside [side, side]`` is 1 the change fades out: nothing of it is left five margins away. Greys
    beyond 0..255 are cut off.
    """
    changed = drawn_with.astype(np.float32) - drawn_without
    if inside is not None:
        margin = MARGIN * len(inside)
        changed *= gaussian_filter(maximum_filter(inside, 2 * round(margin) + 1), margin)
    return (original + changed).round().clip(0, 255).astype(np.uint8)
