"""Predict the test part, and compare the arms on it; no other stage has a classifier look at test images.

In: manifest, images and their checksums, splits, trained classifiers, validation's summary (it chooses the dreambooth
arm). Out: ``predictions.csv``; metrics weighted to natural prevalence (``runs.csv``, ``summary.json``,
``headline.json``) and with intervals (``arms.csv``), the differences between arms (``comparison.csv``), the answer
(``answer.json``), decisions at validation's thresholds (``decisions.csv``) and the differences between arms in them
(``decision_differences.csv``), tests of single trials' classifiers (``tests.csv``), scores among the images of the
three readers who saw most abnormal ones (``trio.csv``; no row where readers are not known), and curves (``roc.csv``,
``pr.csv``, ``calibration.csv``).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse.typing import OpenUnitInterval, PositiveInt
from numpy.typing import NDArray

from raremix.classifier.predict import predict_run
from raremix.data import images
from raremix.data.checksums import read_checksums
from raremix.data.findings import known
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, write_csv
from raremix.evaluation.answer import answer
from raremix.evaluation.comparison import (
    Scores,
    arm_intervals,
    choose,
    compare_arms,
    pairs,
    resample_arms,
    score_arms,
)
from raremix.evaluation.curves import curve_table, mean_precision_recall, mean_roc
from raremix.evaluation.decisions import calibration, decided, resample_decisions, tested
from raremix.evaluation.metrics import Array, Labels, families, headline, natural_weights, summary
from raremix.evaluation.population import natural_and_test
from raremix.evaluation.resampling import resamples
from raremix.evaluation.runs import Run, find_runs, matrices, read_predictions
from raremix.evaluation.thresholds import operating_points
from raremix.evaluation.trio import images_within, scores_within
from raremix.runtime.device import one_core
from raremix.runtime.errors import UserError
from raremix.runtime.files import write_json
from raremix.runtime.progress import track
from raremix.runtime.seeds import generator
from stages.cli import run
from stages.sections import Study

LEAST_RESAMPLES = 100  # fewer leave no covariance between trials worth its name


@dataclass(frozen=True)
class Compare:
    """The analysis, fixed before the test part was touched."""

    shots: PositiveInt  # of the primary result
    bootstrap: int  # resamples of the test images
    level: OpenUnitInterval  # of confidence
    margin: OpenUnitInterval  # AUROC that may be lost on the majority findings without being inferior

    def __post_init__(self) -> None:
        if self.bootstrap < LEAST_RESAMPLES:
            raise UserError(
                f"params.yaml, compare.bootstrap: {self.bootstrap} is too small; give {LEAST_RESAMPLES} or more"
            )


def check_primary(study: Study, compare: Compare) -> None:
    """Refuse a primary result at shots that are not studied.

    Raises:
        UserError: says so.
    """
    if compare.shots not in study.shots:
        raise UserError(f"params.yaml, compare.shots: {compare.shots} is not one of study.shots {study.shots}")


@one_core()
def compare(
    study: Study,
    compare: Compare,
    manifest: Path,
    checksums: Path,
    splits: Path,
    runs: Path,
    validation: Path,
    predictions: Path,
    out: Path,
) -> None:
    """Predict the test part, and compare the arms on it.

    Args:
        study: the findings, arms, shots and trials.
        compare: the analysis.
        manifest: data/manifest.csv.
        checksums: data/images.sha256.
        splits: the directory of the trials' splits.
        runs: the directory of the classifiers' runs.
        validation: summary.json of validate.
        predictions: csv file to write the test predictions to.
        out: directory to write the metrics to.
    """
    check_primary(study, compare)
    groups = families(study.findings, study.minority)
    rows = read_manifest(manifest)
    known(study.findings, findings_of(rows), "study.findings")
    natural, test = natural_and_test(rows, splits, study.trials, study.findings)
    found = find_runs(runs, study.arms, study.shots, study.trials)
    chosen = choose(json.loads(validation.read_text()), compare.shots, study.arms)
    thresholds = _thresholds(found, study.findings)
    labels = test[study.findings].to_numpy(dtype=np.int64)
    weights = natural_weights(labels, natural[study.findings].to_numpy(dtype=np.int64))

    pixels = images.load(list(test["file"]), read_checksums(checksums))
    scores = _predict(found, test, pixels, study.findings, predictions)
    trials = score_arms(scores, study.trials, labels, weights, groups)
    drawn = resamples(labels, test.patient_id.to_numpy(), compare.bootstrap, generator("compare", "bootstrap"))
    drawn = drawn * weights
    resampled = resample_arms(scores, labels, drawn, groups)
    table = compare_arms(trials, resampled, labels, groups, compare.level, (compare.shots, chosen[0]))
    figures = summary(trials)

    write_csv(trials, out / "runs.csv", "%.6g")
    write_json(out / "summary.json", figures)
    write_json(out / "headline.json", headline(figures))
    write_csv(table, out / "comparison.csv", "%.6g")
    common = [finding for finding in study.findings if finding not in study.minority]
    told = answer(table, figures, trials, common, compare.shots, chosen, compare.level, compare.margin)
    write_json(out / "answer.json", told)
    write_csv(arm_intervals(trials, resampled, compare.level), out / "arms.csv", "%.6g")
    decisions = decided(scores, thresholds, study.trials, labels, weights, groups)
    write_csv(decisions, out / "decisions.csv", "%.6g")
    called = resample_decisions(scores, thresholds, labels, weights, drawn, groups)
    differences = compare_arms(decisions, called, labels, groups, compare.level, (compare.shots, None))
    write_csv(differences.drop(columns="p_holm"), out / "decision_differences.csv", "%.6g")
    held = pairs(scores)
    trio = [
        scores_within(images_within(rows), one, list(test["image_id"]), labels, _of(one, scores, study.trials), groups)
        for one in found
    ]
    write_csv(pd.concat(trio), out / "trio.csv", "%.6g")
    write_csv(tested(held, scores, thresholds, study.trials, labels, study.findings), out / "tests.csv", "%.6g")
    primary = {arm: stack for (shots, arm), stack in scores.items() if shots == compare.shots}
    for name, curve in (("roc", mean_roc), ("pr", mean_precision_recall)):
        write_csv(curve_table(curve, labels, primary, weights, study.findings), out / f"{name}.csv", "%.4g")
    write_csv(calibration(primary, labels, weights, study.findings), out / "calibration.csv", "%.4g")


def _predict(
    runs: list[Run], test: pd.DataFrame, pixels: NDArray[np.uint8], findings: Sequence[str], out: Path
) -> Scores:
    """Probabilities of the test part by shots and arm; the predictions go to ``out`` as well."""
    scores: dict[tuple[int, str], list[Array]] = {}
    tables = []
    for one in track(runs, "predict test", total=len(runs)):
        table = predict_run(one.path, test, pixels, "test")
        predicted, labels, probabilities = matrices(table, findings, one.path)
        _check_same(predicted, labels, test, findings, one.path)
        scores.setdefault((one.shots, one.arm), []).append(probabilities)
        tables.append(table.assign(arm=one.arm, shots=one.shots, trial=one.trial))
    columns = ["arm", "shots", "trial", "image_id", "part", "finding", "label", "probability"]
    write_csv(pd.concat(tables)[columns], out, "%.6g")
    return {key: np.stack(trials) for key, trials in scores.items()}


def _of(run: Run, scores: Scores, trials: Sequence[int]) -> Array:
    """The probabilities ``[images, findings]`` of one run."""
    return scores[run.shots, run.arm][trials.index(run.trial)]


def _thresholds(runs: list[Run], findings: list[str]) -> dict[tuple[int, str], Array]:
    """By shots and arm, where each finding is called: Youden's point on validation, the trials' predictions pooled."""
    pooled: dict[tuple[int, str], list[pd.DataFrame]] = {}
    for one in runs:
        pooled.setdefault((one.shots, one.arm), []).append(read_predictions(one, "validation"))
    return {
        (shots, arm): operating_points(pd.concat(tables), findings, f"{arm}, {shots} shots")
        for (shots, arm), tables in pooled.items()
    }


def _check_same(predicted: list[str], labels: Labels, test: pd.DataFrame, findings: Sequence[str], path: Path) -> None:
    if predicted != test.image_id.tolist() or (labels != test[list(findings)].to_numpy()).any():
        raise UserError(f"{path}: its predictions are not of the test part's images; run: dvc repro -f classify")


if __name__ == "__main__":
    run(compare)
