"""The metrics' JSON files: stable bytes, readable diffs."""

import json
from pathlib import Path


def write_json(path: Path, value: object) -> None:
    """Indented JSON with a newline at its end; NaN is refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
