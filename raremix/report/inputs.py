"""What a run has left for the report. What is not there reads as empty: no profile has everything."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import EmptyDataError


@dataclass(frozen=True)
class Inputs:
    """Where things are, and what was asked."""

    params: dict[str, Any]  # of the run, by section
    metrics: Path
    samples: Path  # a folder a trial, in it one for each fine-tuned model, with a picture
    screen: Path  # the screen stage's picture
    fidelity: Path  # the fidelity stage's pictures, one an arm that adds images
    synthetic: Path  # as ``samples``, with the list of what was drawn with it
    lists: dict[str, Path]  # by name, what tells which data a run had
    shown: bool  # whether radiographs may be shown

    @property
    def findings(self) -> list[str]:
        """The task's findings."""
        return list(self.params["study"]["findings"])

    @property
    def trials(self) -> list[int]:
        """The trials' numbers."""
        return list(self.params["study"]["trials"])

    @property
    def is_phantom(self) -> bool:
        """Whether no patient has anything to hide, and the truth is known."""
        return bool(self.params["data"]["layout"] == "phantom")

    @property
    def shots(self) -> int:
        """Those of the primary result."""
        return int(self.params["compare"]["shots"])

    def table(self, name: str) -> pd.DataFrame:
        """``metrics/<name>``; empty where there is no such file."""
        try:
            return pd.read_csv(self.metrics / name)
        except (FileNotFoundError, EmptyDataError):
            return pd.DataFrame()

    def at_shots(self, name: str) -> pd.DataFrame:
        """The rows of such a table at the primary result's shots."""
        table = self.table(name)
        return table[table["shots"] == self.shots] if len(table) else table

    def figures(self, name: str) -> dict[str, Any]:
        """``metrics/<name>``; empty where there is no such file."""
        path = self.metrics / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
