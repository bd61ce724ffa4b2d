"""Train, validation and test, and each trial's few-shot images.

In: data/manifest.csv, data/votes.csv.
Out: data/splits/trial<k>.csv, corpus.csv (what base may learn from), needed.csv (synthetic positives that
dreambooth_mix lacks per shots, trial and finding); metrics/split/counts.csv.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jsonargparse.typing import NonNegativeInt, OpenUnitInterval

from raremix.data import split as room
from raremix.data.balance import needed
from raremix.data.findings import known
from raremix.data.manifest import findings, read_manifest, read_votes, write_csv
from raremix.data.trial import trains
from stages.cli import run
from stages.sections import Study


@dataclass(frozen=True)
class Split:
    """How patients are divided."""

    seed: int
    validation: OpenUnitInterval  # share of the patients that are not in test
    test: OpenUnitInterval  # share of all patients, if there is no official test part
    min_validation: NonNegativeInt  # images of each finding of the task


def split(study: Study, split: Split, manifest: Path, votes: Path, out: Path, metrics: Path) -> None:
    """Divide patients into parts, and draw every trial's few-shot images of the minority findings."""
    frame = read_manifest(manifest)
    task = known(study.findings, findings(frame), "study.findings")
    parts = room.partition(frame, findings(frame), split.seed, split.validation, split.test)
    room.check_parts(frame, parts, task, split.min_validation)
    trials = {k: room.draw_trial(frame, parts, study.minority, max(study.shots), split.seed, k) for k in study.trials}
    lacking = [
        (n, k, finding, positives)
        for n in study.shots
        for k, trial in trials.items()
        for finding, positives in needed(frame.loc[trains(trial, n), task]).items()
    ]
    for k, trial in trials.items():
        write_csv(trial, out / f"trial{k}.csv")
    write_csv(room.corpus(frame, read_votes(votes, frame), parts, task), out / "corpus.csv")
    write_csv(pd.DataFrame(lacking, columns=["shots", "trial", "finding", "positives"]), out / "needed.csv")
    counts = [room.count(frame, trial, findings(frame), k) for k, trial in trials.items()]
    write_csv(pd.concat(counts), metrics / "counts.csv")


if __name__ == "__main__":
    run(split)
