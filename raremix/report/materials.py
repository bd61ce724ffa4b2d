"""What the classifiers learned from: synthetic images beside real ones, the split, the mixes."""

from raremix.data.synthetic import folder
from raremix.report import charts
from raremix.report.blocks import Chart, Fold, Picture, Section, Side, Table, Text
from raremix.report.cells import between, reach, word, words
from raremix.report.inputs import Inputs
from raremix.report.pictures import picture
from raremix.report.tables import figure, groups, plain, spoken, tabulate, values, whole

HIDDEN = "Radiographs are left out: they are, or were made from, those of real patients (report.show_patients)."
ROWS = (
    "Above: the real images a model was fine-tuned on, repeated where they are few. In the middle: the first synthetic "
    "ones with the finding, whether sifted out afterwards or not. Below: their pairs, without it."
)
LEFT = (
    "The target: synthetic images carry other findings as often as the real images of their finding do. Asked for is a "
    "share of that (split.company), since each further finding in a prompt makes the others fainter, and drawn is what "
    "label sets of the base model's corpus allow. Left: what the target lacks, below 0 where there is more; the mean "
    "over trials and its range."
)
PARTS = ("train", "validation", "test", "held_back", "reserve", "left_out")


def samples(inputs: Inputs) -> Section:
    """Real instances beside synthetic images of each finding."""
    title = "Real beside synthetic"
    if not inputs.shown:
        return Section(title, [Text(HIDDEN)])
    by_trial = [(trial, _grids(inputs, trial)) for trial in inputs.trials]
    found = [(trial, grids) for trial, grids in by_trial if grids]
    if not found:
        return Section(title, [Text("Not in this run: no model left a picture of its samples.")])
    folds = [Fold(f"Trial {trial}", [Side(grids)]) for trial, grids in found[1:]]
    return Section(title, [Text(ROWS), Side(found[0][1]), *folds])


def split(inputs: Inputs) -> Section:
    """How many images each part has of each finding."""
    table = inputs.table("split/counts.csv")
    if table.empty:
        return Section("The split", [Text("Not in this run: no metrics/split/counts.csv.")])
    there = values(table, "part")
    parts = [part for part in PARTS if part in there]
    first = ["all", *inputs.findings]
    findings = sorted(values(table, "finding"), key=lambda name: first.index(name) if name in first else len(first))
    rows = [
        [
            word("all images" if finding == "all" else words(finding)),
            *(
                between(list(table["images"][(table["finding"] == finding) & (table["part"] == part)]))
                for part in parts
            ),
        ]
        for finding in findings
    ]
    note = "By patient. Where trials differ, the least and the most; of minority findings train has the shots alone."
    caption = "Images with each finding, the task's findings first"
    return Section("The split", [Text(note), Table(caption, ["finding", *map(words, parts)], rows)])


def mix(inputs: Inputs) -> Section:
    """How even the arms' training sets are."""
    table = inputs.at_shots("mix/balance.csv")
    if table.empty:
        return Section("The mixes", [Text("Not in this run: no metrics/mix/balance.csv.")])
    means = table.groupby(["finding", "arm"], sort=False)[["rows", "positives", "prevalence"]].mean().reset_index()
    plots = [
        Chart(
            words(finding),
            f"Positives of {words(finding)} in the training set of each arm. The figures are in the table below.",
            charts.bars(rows, "arm", ("positives", "positives")),
        )
        for finding, rows in groups(means, "finding")
    ]
    columns = {
        "arm": plain("arm"),
        "finding": spoken("finding"),
        "without repeats": whole("rows"),
        "positives": whole("positives"),
        "prevalence": figure("prevalence"),
    }
    figures = tabulate(f"Balance of the mixes, {inputs.shots} shots, mean over trials", means, columns)
    note = (
        "Positives of each finding in the arms' training sets as they are drawn, repeats counted. Of a finding's "
        "synthetic images those train that gain most by it in the eyes of a classifier that has learned from them all "
        "(sift.kept); in dreambooth_mix they weigh for the others, too."
    )
    folds = [Fold("The figures as a table", [figures]), *_left(inputs)]
    return Section("The mixes", [Text(note), Side(plots), *folds])


def _left(inputs: Inputs) -> list[Fold]:
    """What the plan of label sets could not reach."""
    table = inputs.at_shots("split/imbalance.csv")
    if table.empty:
        return []
    of = table.groupby("finding", sort=False)
    left = of["left"].agg(list).to_dict()
    columns = {
        "finding": spoken("finding"),
        "target": whole("target"),
        "real": whole("real"),
        "planned": whole("planned"),
        "left": lambda row: reach(left[row["finding"]], 0),
    }
    means = of[["target", "real", "planned"]].mean().reset_index()
    title = f"Images with each finding as planned, before any are sifted out, {inputs.shots} shots, mean over trials"
    return [Fold("What the label sets leave", [Text(LEFT), tabulate(title, means, columns)])]


def _grids(inputs: Inputs, trial: int) -> list[Picture]:
    files = {
        finding: folder(inputs.samples, finding, inputs.shots, trial) / "real_positive_negative.png"
        for finding in inputs.findings
    }
    return [
        picture(
            file,
            f"{words(finding)}, trial {trial}",
            f"Chest radiographs in three rows: real ones with {words(finding)}, synthetic ones with it, and their "
            "pairs without it.",
        )
        for finding, file in files.items()
        if file.is_file()
    ]
