"""Figures as a table's cells: what is read, and what the column is sorted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

NONE = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    value: float | None = None  # what a column of figures is sorted by; None for words, and for figures that are not


def words(name: str) -> str:
    """A slug such as ``nodule_mass``, to be read."""
    return name.replace("_", " ")


def word(name: object) -> Cell:
    """A name as it is."""
    return Cell(str(name))


def number(value: Any, digits: int = 3, signed: bool = False) -> Cell:
    """A figure; a dash where there is none."""
    if missing(value):
        return Cell(NONE)
    return Cell(f"{value:{'+' if signed else ''}z.{digits}f}", float(value))


def count(value: Any) -> Cell:
    """A whole number with its thousands apart, or one decimal where a mean is not whole."""
    if missing(value):
        return Cell(NONE)
    return Cell(f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}", float(value))


def spread(mean: Any, sd: Any) -> Cell:
    """A mean and the standard deviation over trials; of one trial there is no deviation."""
    cell = number(mean)
    return cell if missing(mean) or missing(sd) else Cell(f"{cell.text} ± {sd:.3f}", cell.value)


def interval(value: Any, low: Any, high: Any, digits: int = 3, signed: bool = False) -> Cell:
    """A figure and its interval, which may be missing."""
    cell = number(value, digits, signed)
    if missing(value) or missing(low) or missing(high):
        return cell
    ends = f"{number(low, digits, signed).text}, {number(high, digits, signed).text}"
    return Cell(f"{cell.text} [{ends}]", cell.value)


def reach(values: Sequence[float], digits: int = 3) -> Cell:
    """The mean of the trials' figures, and their range where there are several."""
    there = pd.Series(values, dtype=float).dropna()
    if there.empty:
        return Cell(NONE)
    mean = number(there.mean(), digits)
    if len(there) == 1:
        return mean
    return Cell(f"{mean.text} ({there.min():.{digits}f} to {there.max():.{digits}f})", mean.value)


def between(counts: Sequence[int]) -> Cell:
    """Whole numbers, from the least to the most; a dash where there is none."""
    if not len(counts):
        return Cell(NONE)
    least, most = min(counts), max(counts)
    return count(least) if least == most else Cell(f"{count(least).text} to {count(most).text}", float(most))


def missing(value: Any) -> bool:
    """Whether there is no figure."""
    return value is None or bool(pd.isna(value))
