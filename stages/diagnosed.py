"""The params sections that several stages of the diagnosis read."""

from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt

from raremix.runtime.errors import UserError


@dataclass(frozen=True)
class Measured:
    """What is known of the images beside their findings."""

    attributes: list[str]

    def __post_init__(self) -> None:
        if not self.attributes or len(set(self.attributes)) < len(self.attributes):
            raise UserError("params.yaml, measured.attributes: name at least one, each once")


@dataclass(frozen=True)
class Editing:
    """How real images are edited."""

    images: PositiveInt  # of validation, one a patient
    start: NonNegativeInt  # the sampling step to which they are walked back, and at which e is shifted
    batch: PositiveInt
    precision: Literal["float32", "bfloat16"]
    hyperplane: PositiveFloat  # dose of an edit across a boundary, in standard deviations of real images along it
    implicit: PositiveFloat  # dose of the implicit function
    readable: float  # R2 of the reader of pictures, below which its reading of an attribute is not trusted
    arrived: OpenUnitInterval  # share of the way between an attribute's ends that an edit has to go to count
