"""Measure docs/budget.csv in a finished root run: python docs/budget.py results/classify '300 steps=FOLDER' ...

What shorter training does to each arm, on the patients of docs/levers.py. A FOLDER holds classifiers as
results/classify does: a copy of that of a run whose params differ. The first is the study's own.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from jsonargparse import get_loader
from levers import COLUMNS, PARAMS, Cohort

from raremix.classifier.predict import load_network
from raremix.data.manifest import read_manifest
from stages.cli import read_section
from stages.sections import Study


def main(folders: Sequence[str], out: Path) -> None:
    """Write a row for each classifier in the ``folders``, with docs/levers.csv's columns; the lever is its name."""
    params = get_loader("yaml")(PARAMS.read_text())
    study = read_section(params, "study", Study, PARAMS)
    people = Cohort(params, study, read_manifest(Path("data/manifest.csv")))
    table = pd.DataFrame(columns=COLUMNS)
    for named in folders:
        lever, _, folder = named.rpartition("=")
        for arm in study.arms:
            for run in sorted(Path(folder).glob(f"{arm}-{study.shots[0]}-*")):
                network, config = load_network(run)
                trial = int(run.name.rpartition("-")[2])
                table.loc[len(table)] = [arm, lever, trial, *people.scores(network, config["precision"])]
    table.to_csv(out, index=False, float_format="%.4f")


if __name__ == "__main__":
    main(sys.argv[1:], Path(__file__).parent / "budget.csv")
