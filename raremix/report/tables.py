"""Tables of a run as tables of the page: a title and what its cells say, column by column."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from raremix.report.blocks import Table
from raremix.report.cells import Cell, count, interval, number, word, words

Row = dict[str, Any]
Column = Callable[[Row], Cell]


def tabulate(caption: str, table: pd.DataFrame, columns: Mapping[str, Column]) -> Table:
    """A row for each of the ``table``, a column for each of the ``columns``; their keys are the titles."""
    records: list[Any] = table.to_dict("records")
    rows = [[cell(row) for cell in columns.values()] for row in records]
    return Table(caption, list(columns), rows)


def plain(column: str) -> Column:
    """A name as it is."""
    return lambda row: word(row[column])


def spoken(column: str) -> Column:
    """A slug, to be read."""
    return lambda row: word(words(row[column]))


def figure(column: str, digits: int = 3, signed: bool = False) -> Column:
    """A figure."""
    return lambda row: number(row[column], digits, signed)


def p_value(column: str) -> Column:
    """A p-value; one that is too small to be printed says so."""
    return lambda row: Cell("<0.001", float(row[column])) if row[column] < 0.0005 else number(row[column])


def whole(column: str) -> Column:
    """A count."""
    return lambda row: count(row[column])


def ranged(column: str, low: str, high: str, digits: int = 3, signed: bool = False) -> Column:
    """A figure with its interval."""
    return lambda row: interval(row[column], row[low], row[high], digits, signed)


def groups(table: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each value of ``column``, in the table's order."""
    for value, group in table.groupby(column, sort=False):
        yield str(value), group


def in_order(table: pd.DataFrame, column: str, order: Sequence[str]) -> pd.DataFrame:
    """The rows by the place of their ``column`` in ``order``, which names all of its values."""
    places = [order.index(value) for value in table[column]]
    return table.iloc[sorted(range(len(places)), key=places.__getitem__)]


def values(table: pd.DataFrame, column: str) -> list[str]:
    """The values of ``column``, each once, in the table's order."""
    return [str(value) for value in dict.fromkeys(table[column])]
