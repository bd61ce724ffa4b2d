"""What a section of the page is made of; page.html says how each is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from raremix.report.cells import NONE, Cell


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    lead: bool = False  # the one sentence that a hurried reader should read


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by any column; the first cell of a row is its header."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds figures, or nothing at all."""
        columns = [[row[place] for row in self.rows] for place in range(len(self.columns))]
        return [all(cell.value is not None or cell.text == NONE for cell in column) for column in columns]


@dataclass(frozen=True)
class Key:
    """A line of a chart's legend. It stands in the page and not in the chart, so that it breaks on a narrow screen."""

    label: str
    color: str
    dash: Sequence[int] = ()
    shape: str | None = None  # of a point; None for a line


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite chart. ``summary`` is what is heard in its place; its figures stand in a table of the section."""

    kind: ClassVar[str] = "chart"
    caption: str
    summary: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Legend:
    """What colours, dashes and shapes of the next charts mean."""

    kind: ClassVar[str] = "legend"
    keys: Sequence[Key]


@dataclass(frozen=True)
class Picture:
    """A picture, which the page holds itself."""

    kind: ClassVar[str] = "picture"
    caption: str
    alt: str
    source: str  # a data URI
    width: int
    height: int


@dataclass(frozen=True)
class Listing:
    """Lines of a file as they are."""

    kind: ClassVar[str] = "listing"
    text: str


@dataclass(frozen=True)
class Side:
    """Charts or pictures side by side, where the screen is wide enough."""

    kind: ClassVar[str] = "side"
    blocks: Sequence[Chart | Picture]


@dataclass(frozen=True)
class Fold:
    """What is shown on demand."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Table | Text | Listing | Side]


@dataclass(frozen=True)
class Part:
    """A section's part with a heading of its own."""

    kind: ClassVar[str] = "part"
    title: str
    blocks: Sequence[Text | Table | Chart | Legend | Picture | Side | Fold]


Block = Text | Table | Chart | Legend | Picture | Listing | Side | Fold | Part


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """What a link to the section names."""
        return self.title.lower().replace(" ", "-").replace(",", "")
