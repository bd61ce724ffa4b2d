"""The metrics' tables, read for a page: a run that was interrupted may have left them half written."""

from pathlib import Path
from typing import Any

import pandas as pd

from raremix.runtime.errors import UserError, one_line

REMEDY = "restore it or make it again: dvc repro"


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """The CSV file ``path``, by pandas' ``options``.

    Raises:
        UserError: there is none, or its last row has no end.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; {REMEDY}")
    if not path.read_bytes().endswith(b"\n"):
        raise UserError(f"{path}: ends within a row; {REMEDY}")
    try:
        return pd.read_csv(path, **options)
    except ValueError as error:
        raise UserError(f"{path}: no table ({one_line(error)}); {REMEDY}") from None
