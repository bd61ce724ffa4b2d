"""The metrics' files: stable bytes, readable diffs."""

import json
from pathlib import Path

import pandas as pd


def write_json(path: Path, value: object) -> None:
    """Indented JSON with a newline at its end; NaN is refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, table: pd.DataFrame, digits: int = 6) -> None:
    """``table`` without its index, floats to ``digits`` significant digits, NaN as an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format=f"%.{digits}g", lineterminator="\n")
