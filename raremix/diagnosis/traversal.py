"""The picture of a traversal: one image edited along attributes, and what the classifier says of each edit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from raremix.diagnosis.deep import Method
from raremix.diagnosis.editing import Way
from raremix.diagnosis.eyes import Eyes

SIDE, LINE, LEFT = 96, 14, 150  # pixels of a tile, of a line of text, and of the column of names


def traversal(
    rows: Sequence[tuple[Method, Sequence[int]]], doses: Sequence[float], eyes: Eyes, way: Way, name: str
) -> Image.Image:
    """A row a method and attribute, a column a dose (in the method's own), for one image of ``way``.

    It is the one of which classifier ``name`` is least sure. Under each image stands the probability, by the same, of
    the finding that the row's edits change most.
    """
    classifier = eyes.classifiers[name]
    doubts = np.abs(classifier.probabilities(way.images()) - classifier.thresholds).min(axis=1)
    unsure = int(doubts.argmin())
    one = way.some(slice(unsure, unsure + 1))
    ordered = sorted({0.0, *doses})
    strips = []
    for method, attributes in rows:
        for k in attributes:
            shown = np.concatenate(
                [one.images(method.edit(k, dose * method.dose) if dose else None) for dose in ordered]
            )
            chances = classifier.probabilities(shown)
            column = int(np.argmax(np.ptp(chances, axis=0)))
            label = [method.name, eyes.units.attributes[k], f"p({classifier.findings[column]})"]
            strips.append(_strip(label, shown, [f"{chance:.2f}" for chance in chances[:, column]]))
    header = _strip(["dose"], None, [f"{dose:+g}" for dose in ordered])
    return Image.fromarray(np.concatenate([header, *strips]))


def _strip(label: Sequence[str], shown: NDArray[np.uint8] | None, under: Sequence[str]) -> NDArray[np.uint8]:
    """Names on the left, images, and a line of text under each."""
    height = 0 if shown is None else SIDE
    strip = Image.new("L", (LEFT + SIDE * len(under), height + LINE), 255)
    draw = ImageDraw.Draw(strip)
    for line, text in enumerate(label):
        draw.text((4, 2 + LINE * line), text, fill=0)
    for column, text in enumerate(under):
        if shown is not None:
            strip.paste(Image.fromarray(shown[column]).resize((SIDE, SIDE)), (LEFT + SIDE * column, 0))
        draw.text((LEFT + SIDE * column + 4, height + 1), text, fill=0)
    return np.asarray(strip)
