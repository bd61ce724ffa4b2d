"""Summarise the classifiers on validation.

In: the manifest and every run's validation predictions. Out: ``runs.csv`` (a row per run and finding),
``summary.json`` (mean and SD over trials) and ``headline.json`` (what ``dvc exp show`` lists). All tuning reads this.
"""

from pathlib import Path

import pandas as pd

from raremix.data.findings import known
from raremix.data.manifest import findings, read_manifest, write_csv
from raremix.evaluation.losses import loss_curves
from raremix.evaluation.metrics import families, headline, score_table, summary
from raremix.evaluation.runs import find_runs, matrices, read_predictions
from raremix.runtime.files import write_json
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
    known(study.findings, findings(read_manifest(manifest)), "study.findings")
    groups = families(study.findings, study.minority)
    tables = []
    found = find_runs(runs, study.arms, study.shots, study.trials)
    for one in found:
        _, labels, scores = matrices(read_predictions(one, "validation"), study.findings, one.path)
        table = score_table(labels, scores, groups)
        tables.append(table.assign(shots=one.shots, arm=one.arm, trial=one.trial))
    trials = pd.concat(tables)[["shots", "arm", "trial", "finding", "auroc", "ap"]]
    figures = summary(trials)
    losses = loss_curves((one.arm, pd.read_csv(one.path / "losses.csv")["loss"].to_list()) for one in found)
    write_csv(trials, out / "runs.csv", "%.6g")
    write_json(out / "summary.json", figures)
    write_json(out / "headline.json", headline(figures))
    write_csv(losses, out / "losses.csv", "%.5g")


if __name__ == "__main__":
    run(validate)
