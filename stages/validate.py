"""Summarise the classifiers on validation.

In: the manifest and every run's validation predictions. Out: ``runs.csv`` (a row per run and finding),
``summary.json`` (mean and SD over trials) and ``headline.json`` (what ``dvc exp show`` lists). All tuning reads this.
"""

from pathlib import Path

import pandas as pd

from raremix.evaluation.files import write_csv, write_json
from raremix.evaluation.metrics import families, headline, score_table, summary
from raremix.evaluation.population import read_manifest
from raremix.evaluation.runs import find_runs, matrices, read_predictions
from stages.cli import run
from stages.sections import Study


def validate(study: Study, manifest: Path, runs: Path, out: Path) -> None:
    """Summarise the classifiers on validation.

    Args:
        study: the findings, arms, shots and trials to expect.
        manifest: data/manifest.csv.
        runs: the directory of the classifiers' runs.
        out: directory to write the metrics to.
    """
    read_manifest(manifest, study.findings, study.minority)
    groups = families(study.findings, study.minority)
    tables = []
    for one in find_runs(runs, study.arms, study.shots, study.trials):
        _, labels, scores = matrices(read_predictions(one, "validation"), study.findings, one.path)
        table = score_table(labels, scores, groups)
        tables.append(table.assign(shots=one.shots, arm=one.arm, trial=one.trial))
    trials = pd.concat(tables)[["shots", "arm", "trial", "finding", "auroc", "ap"]]
    figures = summary(trials)
    write_csv(out / "runs.csv", trials)
    write_json(out / "summary.json", figures)
    write_json(out / "headline.json", headline(figures))


if __name__ == "__main__":
    run(validate)
