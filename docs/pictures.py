"""Draw docs/phantoms.png; docs/study.png from a finished run; docs/diagnosis.png from metrics/ and docs/estimators.csv.

python docs/pictures.py [study | diagnosis]
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

from raremix.data.phantom import render
from raremix.data.phantom.attributes import FINDINGS

SEVERITIES = (0.1, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
TILE = 128


def tile(patient: int, **changes: float) -> Image.Image:
    """A phantom in a black square of TILE pixels, 8-bit grey."""
    pixels, _ = render(patient, **changes)
    picture = Image.fromarray((pixels >> 8).astype(np.uint8))
    picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    square = Image.new("L", (TILE, TILE))
    square.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return square


def phantoms(path: Path) -> None:
    """Rows: the findings in VinDr-CXR's order; columns: severity from subtle to gross, a new patient in each tile."""
    page = Image.new("L", (TILE * len(SEVERITIES), TILE * len(FINDINGS)))
    for row, finding in enumerate(FINDINGS):
        for column, severity in enumerate(SEVERITIES):
            patient = 1000 + row * len(SEVERITIES) + column
            page.paste(tile(patient, **{finding: severity}), (column * TILE, row * TILE))
    page.quantize(64).convert("L").save(path, optimize=True)


def study(path: Path) -> None:
    """Above: real instances, synthetic images with the finding, their pairs without it; below: the result."""
    summary = json.loads(Path("metrics/compare/summary.json").read_text())
    answer = json.loads(Path("metrics/compare/answer.json").read_text())
    arms = summary[str(answer["shots"])]
    figure = plt.figure(figsize=(10, 10.5), layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=[3.6, 3.6, 2.6])
    for row, finding in enumerate(["nodule_mass", "pneumothorax"]):
        axes = figure.add_subplot(grid[row, :])
        picture = Image.open(f"results/synthesize/{answer['shots']}-0/{finding}/real_positive_negative.png")
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        third = picture.height / 3
        axes.set_yticks([third * (k + 0.5) for k in range(3)], ["real", "synthetic", "its pair,\nwithout"])
        axes.set_xticks([])
        axes.set_title(finding)
    for column, metric in enumerate(["ap", "auroc"]):
        axes = figure.add_subplot(grid[2, column])
        scores = [arms[arm]["minority"][metric] for arm in arms]
        axes.barh(list(arms), [s["mean"] for s in scores], xerr=[s["sd"] or 0 for s in scores], color="0.6")
        axes.invert_yaxis()
        axes.set_xlabel({"ap": "average precision", "auroc": "AUROC"}[metric] + ", minority findings, test; bars: SD")
    figure.savefig(path, dpi=90)


def diagnosis(path: Path) -> None:
    """Above: each method's estimates against the true effects; below: agreement by how much edits count."""
    beside = pd.read_csv("metrics/sensitivity/beside.csv")
    agreement = json.loads(Path("metrics/sensitivity/summary.json").read_text())["agreement"]
    measured = pd.read_csv(path.with_name("estimators.csv"))
    figure = plt.figure(figsize=(10, 7), layout="constrained")
    grid = figure.add_gridspec(2, 4)
    for column, (method, rows) in enumerate(beside.groupby("method", sort=False)):
        reach = 1.1 * rows[["estimate", "true"]].abs().to_numpy().max()
        axes = figure.add_subplot(grid[0, column], aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
        axes.axline((0, 0), slope=1, color="0.8")
        for finding, of_one in rows.groupby("finding"):
            axes.scatter(of_one["true"], of_one["estimate"], s=14, label=finding)
        axes.set_title(f"{method}: {agreement[method]['spearman']:.2f}")
        axes.set_xlabel("true change in probability")
        if column == 0:
            axes.set_ylabel("estimated")
            figure.legend(fontsize=8, loc="outside upper center", ncols=4)
    axes = figure.add_subplot(grid[1, :])
    for (method, least), rows in measured.groupby(["method", "readable"]):
        axes.plot(rows["share_of_edits"], rows["spearman"], marker="o", label=f"{method}, readers from R2 {least}")
    axes.axhline(0.8, color="0.6", linestyle=":", label="goal")
    axes.set_xlabel("how much edits count beside images as they are")
    axes.set_ylabel(f"rank correlation with the truth,\nmean of {measured['classifiers'].iloc[0]} classifiers")
    axes.legend()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    here = Path(__file__).parent
    match sys.argv[1:]:
        case ["study"]:
            study(here / "study.png")
        case ["diagnosis"]:
            diagnosis(here / "diagnosis.png")
        case _:
            phantoms(here / "phantoms.png")
