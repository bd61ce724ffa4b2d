"""Images that a network has looked at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raremix.data import images
from raremix.data.checksums import Checksums

Pixels = NDArray[np.uint8]
Features = NDArray[np.float64]


@dataclass(frozen=True)
class Gallery:
    """Images by name, in one order."""

    rows: pd.DataFrame  # the images' rows of their table; the index is image_id
    pixels: Pixels  # [n, side, side]
    features: Features  # [n, width]

    def of(self, names: "pd.Index[str] | list[str]") -> "Gallery":
        """Those with these names, in their order; a name may come twice. KeyError if there is no such image."""
        places = pd.Series(np.arange(len(self.rows)), self.rows.index).loc[list(names)].to_numpy()
        return Gallery(self.rows.iloc[places], self.pixels[places], self.features[places])


def look(table: pd.DataFrame, checksums: Checksums, extract: Callable[[Pixels], Features]) -> Gallery:
    """The images of ``table`` (image_id, file), and what ``extract`` makes of all of them.

    Raises:
        UserError: as ``images.load``.
    """
    pixels = images.load(list(table["file"]), checksums)
    return Gallery(table.set_index("image_id"), pixels, extract(pixels))
