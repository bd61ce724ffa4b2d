"""What classifiers truly react to, as the phantom alone can tell: the same patients, one attribute changed.

In: the phantom's tables, one of the study's classifiers, those of planted. The patients are of another seed, so nothing
has seen them. Out: effects.csv (the mean change in probability by classifier, attribute and finding, and its interval)
and summary.json (how reliable these figures are, by classifier). Real data have no such truth: there both are empty.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray

from raremix.classifier.predict import predict_run
from raremix.data import Layout
from raremix.data.dicom import Window
from raremix.data.findings import FINDINGS
from raremix.data.manifest import write_csv
from raremix.data.phantom import cohort
from raremix.data.phantom.attributes import ATTRIBUTES
from raremix.diagnosis.truth import Scale, effects, levels, pictures, reliability
from raremix.runtime.device import one_core
from raremix.runtime.errors import UserError
from raremix.runtime.files import write_json
from stages.cli import run
from stages.sections import Study

COLUMNS = ["classifier", "attribute", "low_end", "high_end", "finding", "effect", "low", "high", "n"]


@dataclass(frozen=True)
class Truth:
    """What is asked of whom."""

    classifier: str  # its directory in results/classify
    attributes: list[str]  # of the phantom; fixed before anything was estimated
    patients: PositiveInt

    def __post_init__(self) -> None:
        if unknown := [name for name in self.attributes if name not in ATTRIBUTES]:
            raise UserError(
                f"params.yaml, truth.attributes: the phantom has no '{unknown[0]}'; it has {', '.join(ATTRIBUTES)}"
            )
        if len(self.attributes) < 2 or len(set(self.attributes)) < len(self.attributes):
            raise UserError("params.yaml, truth.attributes: name at least two, each once")


def check_classifier(study: Study, truth: Truth) -> None:
    """Refuse a classifier that the study does not train.

    Raises:
        UserError: names it, and one that there is.
    """
    trained = [f"{arm}-{n}-{k}" for arm in study.arms for n in study.shots for k in study.trials]
    if truth.classifier not in trained:
        raise UserError(
            f"params.yaml, truth.classifier: the study trains no '{truth.classifier}'; take one such as {trained[-1]}"
        )


@one_core()
def truth(
    truth: Truth,
    layout: Layout,
    root: Path,
    seed: int,
    height: int,
    size: int,
    window: Window,
    classifier: Path,
    planted: Path,
    metrics: Path,
) -> None:
    """Change one attribute of a phantom patient after the other, and see what each classifier makes of it."""
    if layout != "phantom":
        write_csv(pd.DataFrame(columns=COLUMNS), metrics / "effects.csv")
        write_json(metrics / "summary.json", {"reliability": {}})
        return
    scale = Scale(seed + 1, height, size, window)
    patients = cohort.test_part(cohort.tables(root), scale.seed, truth.patients, [], 0, 0)  # one visit each
    moved = {name: levels(patients, name, scale.seed) for name in truth.attributes}
    seen = pictures(patients, [{name: end} for name, ends in moved.items() for end in ends], scale)
    rows = _rows(patients)
    tables, summary = [], {}
    for path in [classifier, *sorted(config.parent for config in planted.glob("*/config.json"))]:
        findings, chances = _chances(path, rows, seen)
        before, after = chances[::2], chances[1::2]
        tables += [
            effects(before[k], after[k], name).assign(
                classifier=path.name, attribute=name, finding=findings, low_end=low, high_end=high, n=len(rows)
            )
            for k, (name, (low, high)) in enumerate(moved.items())
        ]
        figures = reliability(after - before, "truth")
        summary[path.name] = {kind: round(figure, 4) for kind, figure in figures.items()}
    write_csv(pd.concat(tables)[COLUMNS], metrics / "effects.csv", "%.5f")
    write_json(metrics / "summary.json", {"reliability": summary})


def _chances(path: Path, rows: pd.DataFrame, seen: NDArray[np.uint8]) -> tuple[list[str], NDArray[np.float64]]:
    """The findings of the classifier in ``path``, and their probability in each picture: [changes, n, findings]."""
    predicted = [predict_run(path, rows, pixels, "truth") for pixels in seen]
    chances = [frame["probability"].to_numpy().reshape(len(rows), -1) for frame in predicted]
    return list(predicted[0]["finding"].unique()), np.stack(chances)


def _rows(patients: list[cohort.Image]) -> pd.DataFrame:
    """image_id, and a column for each of the fourteen findings."""
    present = [{finding: int(finding in one.severities) for finding in FINDINGS} for one in patients]
    return pd.DataFrame(present).assign(image_id=[f"{one.patient}-{one.visit}" for one in patients])


if __name__ == "__main__":
    run(truth)
