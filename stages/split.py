"""Train, validation and test, and each trial's few-shot images.

In: data/manifest.csv, data/votes.csv, the images.
Out: data/duplicates.csv (nearly the same image in two parts; any stops the stage, unless split.duplicates has them left
out); data/splits/trial<k>.csv, corpus.csv (what base may learn from), plan-<shots>-<k>.csv (the label sets of synthetic
positives: their share, and how many images dreambooth_mix lacks, by finding); metrics/split/counts.csv, imbalance.csv
(what the plan leaves).
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, OpenUnitInterval

from raremix.data import duplicates as audit
from raremix.data import plan as planner
from raremix.data import split as room
from raremix.data.checksums import read_checksums
from raremix.data.findings import known
from raremix.data.manifest import findings, read_manifest, read_votes, write_csv
from raremix.data.trial import training_rows
from stages.cli import run
from stages.sections import Study


@dataclass(frozen=True)
class Split:
    """How patients are divided."""

    seed: int
    validation: OpenUnitInterval  # share of the patients that are not in test
    test: OpenUnitInterval  # share of all patients, if there is no official test part
    min_validation: NonNegativeInt  # images of each finding of the task
    company: (
        ClosedUnitInterval  # of synthetic images: 1 for other findings as often as with real ones, 0 as in the corpus
    )
    duplicates: Literal["refuse", "leave_out"]  # nearly the same image in two parts: stop, or keep the tested one


def split(
    study: Study,
    split: Split,
    manifest: Path,
    votes: Path,
    checksums: Path,
    out: Path,
    duplicates: Path,
    metrics: Path,
) -> None:
    """Divide patients into parts, draw every trial's few-shot images of the minority findings, plan what they lack."""
    frame = read_manifest(manifest)
    task = known(study.findings, findings(frame), "study.findings")
    parts = room.partition(frame, findings(frame), split.seed, split.validation, split.test)
    pairs = audit.across(frame, parts, read_checksums(checksums))
    write_csv(pairs, duplicates, "%.4f")
    if split.duplicates == "refuse":
        audit.refuse(pairs, duplicates)
    parts = audit.without(pairs, frame, parts)
    room.check_parts(frame, parts, task, split.min_validation)
    trials = {k: room.draw_trial(frame, parts, study.minority, max(study.shots), split.seed, k) for k in study.trials}
    corpus = room.corpus(frame, read_votes(votes, frame), parts, task)
    others = [finding for finding in findings(frame) if finding not in task]
    ordinary = frame[frame["image_id"].isin(corpus["image_id"])]
    sets = planner.sets_of(ordinary, others)
    plans, imbalances = {}, []
    for shots, (k, trial) in product(study.shots, trials.items()):
        training = training_rows(frame, trial, shots)
        lacking = planner.lacks(training, ordinary, task, others, split.company)
        planner.check_synthesized(lacking, study.synthesized, shots, k)
        plans[shots, k] = planner.plan(lacking, sets)
        left = planner.imbalance(training, lacking, plans[shots, k], sets, others)
        imbalances.append(_with_key(left, shots, k))
    for k, trial in trials.items():
        write_csv(trial, out / f"trial{k}.csv")
    write_csv(corpus, out / "corpus.csv")
    for (shots, k), planned in plans.items():
        write_csv(planned, out / f"plan-{shots}-{k}.csv", float_format="%.6g")
    counts = [room.count(frame, trial, findings(frame), k) for k, trial in trials.items()]
    write_csv(pd.concat(counts), metrics / "counts.csv")
    write_csv(pd.concat(imbalances), metrics / "imbalance.csv")


def _with_key(table: pd.DataFrame, shots: int, trial: int) -> pd.DataFrame:
    table.insert(0, "trial", trial)
    table.insert(0, "shots", shots)
    return table


if __name__ == "__main__":
    run(split)
