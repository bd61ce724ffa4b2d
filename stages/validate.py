"""Summarise the classifiers on validation.

In: the manifest and every run's validation predictions. Out: ``runs.csv`` (a row per run and finding),
``summary.json`` (mean and SD over trials), ``trio.csv`` (the same on images of the three readers who saw most abnormal
ones, where readers are known) and ``headline.json`` (what ``dvc exp show`` lists). All tuning reads this.
"""

from pathlib import Path

import pandas as pd

from raremix.data.findings import known
from raremix.data.manifest import findings, read_manifest, write_csv
from raremix.evaluation.losses import loss_curves
from raremix.evaluation.metrics import families, headline, score_table, summary
from raremix.evaluation.runs import find_runs, matrices, read_predictions
from raremix.evaluation.trio import images_within, scores_within
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
    rows = read_manifest(manifest)
    known(study.findings, findings(rows), "study.findings")
    groups, within = families(study.findings, study.minority), images_within(rows)
    tables, trio = [], []
    found = find_runs(runs, study.arms, study.shots, study.trials)
    for one in found:
        ids, labels, scores = matrices(read_predictions(one, "validation"), study.findings, one.path)
        table = score_table(labels, scores, groups)
        trio.append(scores_within(within, one, ids, labels, scores, groups))
        tables.append(table.assign(shots=one.shots, arm=one.arm, trial=one.trial))
    trials = pd.concat(tables)[["shots", "arm", "trial", "finding", "auroc", "ap"]]
    figures = summary(trials)
    losses = loss_curves((one.arm, pd.read_csv(one.path / "losses.csv")["loss"].to_list()) for one in found)
    write_csv(trials, out / "runs.csv", "%.6g")
    write_csv(pd.concat(trio), out / "trio.csv", "%.6g")
    write_json(out / "summary.json", figures)
    write_json(out / "headline.json", headline(figures))
    write_csv(losses, out / "losses.csv", "%.5g")


if __name__ == "__main__":
    run(validate)
