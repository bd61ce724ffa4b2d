"""Vega-Lite charts that read in light and dark, on paper and on a telephone.

Text and lines take the page's colour (``currentColor``), so a chart need not be drawn anew when the theme changes.
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from raremix.report.blocks import Key
from raremix.report.tables import values

Spec = dict[str, Any]

INK = "currentColor"
# At least 3:1 against the page in both themes (a test says so). Dash and shape tell the same as colour does.
COLORS = ("#2f81f7", "#d9730d", "#1a9e5c", "#a463f2", "#d6409f", "#0e8f9c")
# One fewer than colours, so that the seventh name is another colour's dash.
DASHES: tuple[list[int], ...] = ([], [7, 3], [2, 2], [8, 3, 2, 3], [1, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
FAINT = 0.4
SQUARE = 260  # height of a curve's chart, in pixels
FONT = 12
LABEL = 120  # pixels that a row's name may take
CONFIG = {
    "aria": False,  # the figure around a chart says what it shows
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **{f"{part}Color": INK for part in ("label", "title", "domain", "tick", "grid")},
        **{f"{part}Opacity": FAINT for part in ("domain", "tick")},
        "gridOpacity": 0.12,
        "labelFontSize": FONT,
        "titleFontSize": FONT,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelLimit": LABEL,
    },
    "axisQuantitative": {"labelOverlap": True, "labelSeparation": 6},
    "legend": {
        **{f"{part}Color": INK for part in ("label", "title")},
        **{f"{part}FontSize": FONT for part in ("label", "title")},
        "titleFontWeight": "normal",
    },
}


def point_keys(names: Sequence[str]) -> list[Key]:
    """Colour and shape of each name, as ``forest`` and ``scatter`` draw them."""
    return [Key(name, _nth(COLORS, k), shape=_nth(SHAPES, k)) for k, name in enumerate(names)]


def line_keys(names: Sequence[str], others: Sequence[str]) -> list[Key]:
    """Colour and dash of each name, as ``curves`` draws them, and of the ``others``, which are faint."""
    keys = [Key(name, _nth(COLORS, k), _nth(DASHES, k)) for k, name in enumerate(names)]
    return [*keys, Key(", ".join(others), INK)] if others else keys


def forest(
    table: pd.DataFrame,
    row: str,
    group: tuple[str, Sequence[str]],
    title: str,
    choices: Sequence[tuple[str, str]],
    first: dict[str, str] | None = None,
) -> Spec:
    """Points with intervals, the columns ``value,low,high``; a group's rows lie side by side.

    Args:
        table: its order is the chart's.
        row: the column that names a row.
        group: the column that is told by colour and shape, and its values in the legend's order.
        title: of the axis.
        choices: columns of which one value is shown at a time, each with its label.
        first: what is shown at first, by column; else the table's first value.
    """
    column, groups = group
    place = {
        "y": _nominal(row, values(table, row), axis={"title": None, "ticks": False, "domain": False}),
        "yOffset": _nominal(column, groups),
    }
    colored = place | {"color": _nominal(column, groups, range=_cycle(COLORS, groups), legend=None)}
    value = _quantity("value", title, zero=False)
    return _whole(
        {
            "data": _values(table),
            "params": [_choice(table, name, label, (first or {}).get(name)) for name, label in choices],
            "transform": [{"filter": f"datum.{name} === {_name(name)}"} for name, _ in choices],
            "height": {"step": 12},
            "layer": [
                {
                    "data": {"values": [{}]},
                    "mark": {"type": "rule", "color": INK, "opacity": FAINT},
                    "encoding": {"x": {"datum": 0}},
                },
                {
                    "mark": {"type": "rule", "strokeWidth": 2},
                    "encoding": colored | {"x": value | {"field": "low"}, "x2": {"field": "high"}},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1, "tooltip": True},
                    "encoding": colored
                    | {"x": value, "shape": _nominal(column, groups, range=_cycle(SHAPES, groups), legend=None)},
                },
            ],
        }
    )


def curves(table: pd.DataFrame, x: tuple[str, str], y: tuple[str, str], group: tuple[str, Sequence[str]]) -> Spec:
    """A line for each value of the group's column; those that it does not name are faint."""
    column, names = group
    named = f"indexof({json.dumps(list(names))}, datum.{column}) >= 0"
    encoding = {
        "x": _quantity(*x, domain=[0, 1]),
        "y": _quantity(*y, domain=[0, 1]),
        "order": {"field": x[0]},
    }
    told = {
        "color": _nominal(column, names, range=_cycle(COLORS, names), legend=None),
        "strokeDash": _nominal(column, names, range=_cycle(DASHES, names), legend=None),
    }
    line = {"type": "line", "tooltip": True}
    return _whole(
        {
            "data": _values(table),
            "height": SQUARE,
            "layer": [
                {
                    "transform": [{"filter": f"!({named})"}],
                    "mark": line | {"color": INK, "opacity": FAINT, "strokeWidth": 1},
                    "encoding": encoding | {"detail": {"field": column}},
                },
                {
                    "transform": [{"filter": named}],
                    "mark": line | {"strokeWidth": 2},
                    "encoding": encoding | told,
                },
            ],
        }
    )


def trend(table: pd.DataFrame, x: tuple[str, str], title: str, group: tuple[str, Sequence[str]]) -> Spec:
    """The columns ``value,low,high`` over the few values of ``x``, a point with its interval for each name."""
    column, names = group
    encoding = {
        "x": _nominal(x[0], sorted(table[x[0]].unique().tolist()), axis={"title": x[1], "labelAngle": 0}),
        "xOffset": _nominal(column, names),
        "color": _nominal(column, names, range=_cycle(COLORS, names), legend=None),
    }
    value = _quantity("value", title, zero=False)
    points = {"type": "point", "filled": True, "size": 55, "opacity": 1, "tooltip": True}
    shape = _nominal(column, names, range=_cycle(SHAPES, names), legend=None)
    return _whole(
        {
            "data": _values(table),
            "height": SQUARE,
            "layer": [
                {"mark": "rule", "encoding": encoding | {"y": value | {"field": "low"}, "y2": {"field": "high"}}},
                {"mark": points, "encoding": encoding | {"y": value, "shape": shape}},
            ],
        }
    )


def bars(table: pd.DataFrame, row: str, value: tuple[str, str]) -> Spec:
    """A bar a row."""
    rows = values(table, row)
    return _whole(
        {
            "data": _values(table),
            "height": {"step": 18},
            "mark": {"type": "bar", "color": COLORS[0], "tooltip": True},
            "encoding": {
                "y": _nominal(row, rows, axis={"title": None, "ticks": False, "domain": False, "labelLimit": 150}),
                "x": _quantity(*value, zero=True),
            },
        }
    )


def scatter(table: pd.DataFrame, x: tuple[str, str], y: tuple[str, str], group: tuple[str, Sequence[str]]) -> Spec:
    """Points, with the line on which both are equal."""
    ends = [float(table[[x[0], y[0]]].min().min()), float(table[[x[0], y[0]]].max().max())]
    equal = [{x[0]: end, y[0]: end} for end in ends]
    return _whole(
        {
            "height": SQUARE,
            "layer": [
                {
                    "data": {"values": equal},
                    "mark": {"type": "line", "color": INK, "opacity": FAINT, "strokeWidth": 1},
                    "encoding": {"x": _quantity(*x), "y": _quantity(*y)},
                },
                _points(table, x, y, group),
            ],
        }
    )


def points(table: pd.DataFrame, x: tuple[str, str], y: tuple[str, str], group: tuple[str, Sequence[str]]) -> Spec:
    """Points alone."""
    return _whole({"height": SQUARE, **_points(table, x, y, group)})


def _points(table: pd.DataFrame, x: tuple[str, str], y: tuple[str, str], group: tuple[str, Sequence[str]]) -> Spec:
    column, names = group
    return {
        "data": _values(table),
        "mark": {"type": "point", "filled": True, "size": 45, "opacity": 0.85, "tooltip": True},
        "encoding": {
            "x": _quantity(*x),
            "y": _quantity(*y),
            "color": _nominal(column, names, range=_cycle(COLORS, names), legend=None),
            "shape": _nominal(column, names, range=_cycle(SHAPES, names), legend=None),
        },
    }


def heat(table: pd.DataFrame, x: tuple[str, str], row: str, value: tuple[str, str], ends: tuple[float, float]) -> Spec:
    """A rectangle for each ``x`` and row, coloured by its value from ``ends[0]`` to ``ends[1]``."""
    rows = values(table, row)
    color = {
        **_quantity(*value),
        "scale": {"scheme": "viridis", "domain": list(ends), "clamp": True},
        "legend": {"orient": "top", "gradientLength": 140, "title": value[1], "titleLimit": 240},
    }
    return _whole(
        {
            "data": _values(table),
            "height": {"step": 16},
            "mark": {"type": "rect", "tooltip": True},
            "encoding": {
                "x": _nominal(x[0], sorted(table[x[0]].unique().tolist()), axis={"title": x[1], "labelAngle": 0}),
                "y": _nominal(row, rows, axis={"title": None, "ticks": False, "domain": False}),
                "color": color,
            },
        }
    )


def _whole(spec: Spec) -> Spec:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "config": CONFIG,
        **spec,
    }


def _values(table: pd.DataFrame) -> Spec:
    """A table's rows as JSON has them: null for what is missing, as many digits as a screen can show."""
    return {"values": json.loads(table.to_json(orient="records", double_precision=5))}


def _nominal(
    field: str,
    domain: Sequence[Any],
    range: Sequence[Any] | None = None,
    **more: Any,
) -> Spec:
    scale = {"domain": list(domain)} | ({"range": list(range)} if range is not None else {})
    return {"field": field, "type": "nominal", "sort": None, "scale": scale, **more}


def _quantity(field: str, title: str, domain: Sequence[float] | None = None, zero: bool = False) -> Spec:
    scale = {"zero": zero} | ({"domain": list(domain)} if domain else {})
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": {"tickCount": 5}}


def _choice(table: pd.DataFrame, column: str, label: str, first: str | None) -> Spec:
    options = values(table, column)
    bind = {"input": "select", "options": options, "name": label}
    return {"name": _name(column), "value": first or options[0], "bind": bind}


def _name(column: str) -> str:
    return f"chosen_{column}"


def _cycle(values: Sequence[Any], names: Sequence[Any]) -> list[Any]:
    return [_nth(values, place) for place in range(len(names))]


def _nth(values: Sequence[Any], place: int) -> Any:
    return values[place % len(values)]
