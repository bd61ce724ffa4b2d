"""The maps that findings change, and the boxes around what they changed."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raremix.data.phantom.anatomy import LEFT, RIGHT, Body
from raremix.data.phantom.frame import Frame, Image

Box = tuple[float, float, float, float]


@dataclass
class Chest:
    """One exposure under construction. Maps are cm along the ray, shape (height, width)."""

    frame: Frame
    body: Body
    attributes: dict[str, float]
    seed: int
    patient: int
    visit: int
    severities: dict[str, float]
    lung: Image  # inside the pleura
    vessels: Image
    fluid: Image = field(init=False)  # lung replaced by soft tissue or water
    lime: Image = field(init=False)  # calcium, as bone
    air: Image = field(init=False)  # lung replaced by air
    hollow: Image = field(init=False)  # soft tissue replaced by air

    def __post_init__(self) -> None:
        self.fluid, self.lime, self.air, self.hollow = (np.zeros_like(self.lung) for _ in range(4))

    def severity(self, finding: str) -> float:
        return self.severities.get(finding, 0.0)

    def add(self, map_: str, change: Image, threshold: float = 0.15) -> Box:
        """Add ``change`` to a map where there is lung; the box holds all of it above ``threshold`` of its peak."""
        change = change * np.clip(self.lung, 0, 1)
        setattr(self, map_, getattr(self, map_) + change)
        return extent(change, threshold)


def extent(change: Image, threshold: float) -> Box:
    """The box of what exceeds ``threshold`` x the greatest absolute change; an empty change gives a box of no size."""
    strong = np.abs(change) > threshold * max(float(np.abs(change).max()), 1e-6)
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def outline(frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64], z: float) -> Box:
    """The box around points of the patient, inside the picture."""
    column, row = frame.project(*np.meshgrid(x, y), z)
    left, right = np.clip([column.min(), column.max()], 0, frame.width)
    top, bottom = np.clip([row.min(), row.max()], 0, frame.height)
    return float(left), float(top), float(right), float(bottom)


def side_of(rng: np.random.Generator, right: float = 0.5) -> int:
    """RIGHT or LEFT."""
    return RIGHT if rng.random() < right else LEFT
