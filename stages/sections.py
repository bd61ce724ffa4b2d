"""The params sections that several stages read."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Data:
    """Where the radiographs are."""

    root: str  # the phantom's tables, VinDr-CXR's directory, or a directory with manifest.csv
    layout: Literal["phantom", "vindr", "table"]


@dataclass(frozen=True)
class Study:
    """What the matrix stages fan out over; no fanned-out stage reads it."""

    findings: list[str]  # slugs of the task's findings
    minority: list[str]  # those of them that are trained on a few shots
    arms: list[str]
    shots: list[int]  # real training images of each minority finding
    trials: list[int]  # draws of the whole experiment
