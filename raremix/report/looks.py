"""Where a classifier looks, what edits look like, and where on the way an attribute can be told."""

import pandas as pd

from raremix.report import charts
from raremix.report.blocks import Chart, Fold, Part, Picture, Side, Table, Text
from raremix.report.cells import number, word, words
from raremix.report.inputs import Inputs
from raremix.report.materials import HIDDEN
from raremix.report.pictures import picture
from raremix.report.tables import figure, groups, plain, ranged, spoken, tabulate, values, whole

SPACES = {"h": "h-space", "e": "e-space"}
PICTURES = {  # caption and what is seen
    "panel.png": (
        "Carriers of each finding, the true lesion outlined",
        "Radiographs beside their maps by Grad-CAM, Integrated Gradients and counterfactuals, two rows a finding.",
    ),
    "counterfactuals.png": (
        "Before and after the smallest shift that flips a decision, and the difference",
        "Pairs of radiographs before and after an edit, each with a map of the difference.",
    ),
}
TRAVERSAL = (
    "One radiograph edited along attributes; below each the probability of the finding named beside the row",
    "Rows of one chest radiograph, each edited along one attribute in five doses from negative to positive.",
)


def traversals(inputs: Inputs) -> Part | None:
    """One radiograph edited along attributes."""
    path = inputs.metrics / "sensitivity" / "traversal.png"
    if not path.is_file():
        return None
    return Part("Traversals", [picture(path, *TRAVERSAL) if inputs.shown else Text(HIDDEN)])


def looks(inputs: Inputs) -> Part | None:
    """Where the classifier looks, against the phantom's lesions, and what flips its decisions."""
    located, flips = inputs.table("explain/localisation.csv"), inputs.table("explain/counterfactuals.csv")
    if located.empty:
        return None
    of_located = {
        "finding": spoken("finding"),
        "method": spoken("method"),
        "images": whole("n"),
        "pointing game": ranged("pointing", "pointing_low", "pointing_high", 2),
        "by chance": figure("chance_pointing", 2),
        "IoU": ranged("iou", "iou_low", "iou_high", 2),
        "IoU by chance": figure("chance_iou", 2),
    }
    tables = [tabulate("Is the true lesion where each method points?", located, of_located)]
    if len(flips):
        counts = {"images": whole("n"), "flipped": whole("flipped")}
        of_flips = {"finding": spoken("finding"), "decision": plain("decision"), **counts}
        of_flips["median size of the shift"] = figure("median_size")
        tables.append(tabulate("Counterfactuals: decisions that a small shift of the latent flips", flips, of_flips))
    return Part("Where it looks", [*tables, *_panels(inputs)])


def boundaries(inputs: Inputs) -> Part | None:
    """How well an attribute's boundary separates held-out images at each sampling step."""
    table = inputs.table("boundary/boundaries.csv")
    if table.empty:
        return None
    table["space"], table["attribute"] = table["space"].replace(SPACES), table["attribute"].map(words)
    plots = [
        Chart(
            space,
            f"AUC of each attribute's boundary in {space} by sampling step, in colours. The figures are below.",
            charts.heat(rows, ("step", "sampling step, from noise to image"), "attribute", ("auc", "AUC"), (0.5, 1.0)),
        )
        for space, rows in groups(table, "space")
    ]
    fold = Fold("The figures as tables", [_by_step(space, rows) for space, rows in groups(table, "space")])
    note = "AUC on held-out images; 0.5 is chance."
    return Part("Attributes' boundaries by step", [Text(note), Side(plots), fold])


def _panels(inputs: Inputs) -> list[Side | Text]:
    files = {name: inputs.metrics / "explain" / name for name in PICTURES}
    there = {name: file for name, file in files.items() if file.is_file()}
    if not inputs.shown:
        return [Text(HIDDEN)] if there else []
    pictures: list[Picture] = [picture(file, *PICTURES[name]) for name, file in there.items()]
    return [Side(pictures)] if pictures else []


def _by_step(space: str, table: pd.DataFrame) -> Table:
    wide = table.pivot(index="attribute", columns="step", values="auc").reindex(values(table, "attribute"))
    rows = [
        [word(name), *(number(value, 2) for value in row)] for name, row in zip(wide.index, wide.values, strict=True)
    ]
    return Table(f"AUC in {space} by sampling step", ["attribute", *(f"step {step}" for step in wide.columns)], rows)
