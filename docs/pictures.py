"""Draw docs/phantoms.png: python docs/pictures.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from raremix.data.phantom import render
from raremix.data.phantom.attributes import FINDINGS

SEVERITIES = (0.1, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
TILE = 128


def tile(patient: int, **changes: float) -> Image.Image:
    """A phantom in a black square of TILE pixels, 8-bit grey."""
    pixels, _ = render(patient, **changes)
    picture = Image.fromarray((pixels >> 8).astype(np.uint8))
    picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    square = Image.new("L", (TILE, TILE))
    square.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return square


def phantoms(path: Path) -> None:
    """Rows: the findings in VinDr-CXR's order; columns: severity from subtle to gross, a new patient in each tile."""
    page = Image.new("L", (TILE * len(SEVERITIES), TILE * len(FINDINGS)))
    for row, finding in enumerate(FINDINGS):
        for column, severity in enumerate(SEVERITIES):
            patient = 1000 + row * len(SEVERITIES) + column
            page.paste(tile(patient, **{finding: severity}), (column * TILE, row * TILE))
    page.quantize(64).convert("L").save(path, optimize=True)


if __name__ == "__main__":
    phantoms(Path(__file__).parent / "phantoms.png")
