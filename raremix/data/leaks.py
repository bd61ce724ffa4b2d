"""The leak tripwire: no image that trains, real or synthetic, is also one of validation or test.

Lineage (``raremix.data.lineage``) says which images went in; this looks at the pixels, and so sees an image that is in
a data set twice under two names, and a synthetic one that shows a patient nobody may learn from.

Every pair is compared. A perceptual hash as a first sieve would save no time (12.6 million pairs take 3 s on two cores)
and lose copies: of phantoms turned by 4 degrees 29 %, of phantoms shifted by a pixel of 64 4 % are more than 10 of 64
bits away from the original (imagehash's phash).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raremix.data.resemblance import distances
from raremix.runtime.errors import UserError

# The nearest of 12.6 million pairs of different phantoms are 0.066 apart, and of one NIH patient's radiographs 0.114.
NEAR = 0.05


def check_leaks(
    training: NDArray[np.uint8],
    training_names: Sequence[str],
    evaluation: NDArray[np.uint8],
    evaluation_names: Sequence[str],
) -> None:
    """Refuse an image of ``evaluation`` that is nearly one of ``training``, both ``[n, side, side]`` of one side.

    Caught are copies, also with another grey curve, noise, JPEG's losses, a shift or crop of up to a 64th of the side,
    or rotated by up to 4 degrees.

    Raises:
        UserError: names the nearest pair, and says how many there are.
    """
    leaks, done = [], 0
    for chunk in distances(evaluation, training):
        pairs = np.argwhere(chunk < NEAR)
        leaks += [(float(chunk[i, k]), training_names[int(k)], evaluation_names[done + int(i)]) for i, k in pairs]
        done += len(chunk)
    if leaks:
        _, trained, evaluated = min(leaks)
        others = f" (as {len(leaks) - 1} more pairs)" if len(leaks) > 1 else ""
        raise UserError(
            f"'{trained}', which trains, and '{evaluated}' of validation or test are nearly the same image{others}; "
            "take one of the two out and run `dvc repro`"
        )
