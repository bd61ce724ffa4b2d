"""Tables as text, and their cells as numbers; what can't be read is named by its file, row and column."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from raremix.runtime.errors import UserError, one_line

DIGITS = 18  # of a whole number that surely fits 64 bits


def read_table(file: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """A CSV ``file`` that the pipeline wrote, with at least the ``columns``; every cell as text, an empty one ''.

    Raises:
        UserError: names the file, says what is wrong (missing, cut off, no table, a column that lacks) and the
        ``remedy``.
    """
    if not file.is_file():
        raise UserError(f"{file}: missing; {remedy}")
    content = file.read_bytes()
    table = parse_table(content, file, remedy)
    if missing := [column for column in columns if column not in table]:
        raise UserError(f"{file}: no column '{missing[0]}'; {remedy}")
    if not content.endswith(b"\n"):  # pandas takes a row that was cut off for one with empty cells
        raise UserError(f"{file}: ends within row {len(table) + 1}; {remedy}")
    return table


def parse_table(content: bytes, file: Path, remedy: str) -> pd.DataFrame:
    """The ``content`` of the CSV ``file``, every cell as text, an empty one ''.

    Raises:
        UserError: it is no table; names the file and the ``remedy``.
    """
    try:
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except (ValueError, OverflowError) as error:  # ValueError: pandas' own, and bytes that are no UTF-8
        raise UserError(f"{file}: not a table ({one_line(error)}); {remedy}") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{file}: not a table (its rows have more cells than its header); {remedy}")
    return table


def check_unique(ids: "pd.Series[str]", file: Path) -> None:
    """Refuse an image id that is empty or there twice."""
    doubled = ids.duplicated() | (ids == "")
    if doubled.any():
        raise UserError(f"{file}, row {_first(doubled)}: image id '{_value(ids, doubled)}' is empty or there twice")


def whole(values: "pd.Series[str]", file: Path) -> "pd.Series[int]":
    """A column of decimal digits as integers.

    Raises:
        UserError: names the file, row and column of another value, or of one with more than 18 digits.
    """
    wrong = ~values.str.fullmatch(rf"[0-9]{{1,{DIGITS}}}").astype(bool)
    _refuse(wrong, values, file, "no whole number")
    return values.astype(int)


def finite(values: "pd.Series[str]", file: Path) -> "pd.Series[float]":
    """A column of numbers.

    Raises:
        UserError: names the file, row and column of another value, NaN and infinity among them.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    _refuse(pd.Series(~np.isfinite(numbers.to_numpy(float)), values.index), values, file, "no number")
    return numbers


def zero_or_one(values: "pd.Series[str]", file: Path) -> "pd.Series[int]":
    """A column of '0', '1', '0.0', '1.0' as integers.

    Raises:
        UserError: names the file, row and column of another value.
    """
    marks = values.map({"0": 0, "1": 1, "0.0": 0, "1.0": 1})
    _refuse(marks.isna(), values, file, "neither 0 nor 1")
    return marks.astype(int)


def _refuse(wrong: "pd.Series[bool]", values: pd.Series, file: Path, what: str) -> None:
    if wrong.any():
        cell = _value(values, wrong)
        raise UserError(f"{file}, row {_first(wrong)}, column '{values.name}': '{cell}' is {what}")


def _first(wrong: "pd.Series[bool]") -> int:
    """The row of the first that is ``wrong``, as an editor counts: the header is 1."""
    return int(wrong.to_numpy().argmax()) + 2


def _value(values: pd.Series, wrong: "pd.Series[bool]") -> str:
    return str(values.iloc[int(wrong.to_numpy().argmax())])
