"""How good the synthetic images are: beside real ones, against copies, and what each arm's images add."""

from pathlib import Path

import pandas as pd

from raremix.report import charts
from raremix.report.blocks import Chart, Fold, Legend, Part, Picture, Section, Side, Table, Text
from raremix.report.cells import number, reach, word, words
from raremix.report.inputs import Inputs
from raremix.report.materials import HIDDEN
from raremix.report.pictures import picture
from raremix.report.tables import figure, groups, plain, spoken, tabulate, values, whole

TITLE = "Fidelity, gap and copies"
FIGURES = {
    "kid": ("KID", 2),
    "precision": ("precision", 2),
    "recall": ("recall", 2),
    "density": ("density", 2),
    "coverage": ("coverage", 2),
    "similarity_synthetic": ("MS-SSIM of pairs", 2),
}
NOTE = (
    "On validation; the mean over trials and their range. The rows of real training images say what two sets of real "
    "images reach: hold the others against these. KID: 0 for one population, in the features' own scale. MS-SSIM: the "
    "higher, the less diverse. All: with any of these findings, which are as frequent there as the mixes need them in "
    "synthetic images, and as nature has them in real ones; that counts as a difference."
)
COPIES = (
    "A copy is a synthetic image nearer to a training image, in relation to the next fifty, than hardly any real image "
    "is that no model has seen; the radiograph that it is laid over does not count, and pairs that are such a "
    "radiograph are not looked at. Of ordinary images the share in the last column passes for copies by chance. No arm "
    "trains on a copy, nor on the other image of its pair."
)
ADDED = (
    "Gap: AUC with which the images that an arm adds can be told from real ones with the same finding, 0.5 is perfect. "
    "Diversity: by how much they raise the effective number of different images (Vendi score); repeating adds none. "
    "Pairs without the finding count as added where an arm trains on them, also where they are radiographs."
)
GIVEAWAYS = (
    "The images that the gap's probe is surest of, each held out from the probe that judges it. Class-activation maps "
    "(Zhou et al. 2016), held against the mean ones, say what each place adds to its score: red speaks for added, "
    "blue for real, all of an arm on one scale. They are as coarse as the network's last maps, a resnet's a cell for "
    "32 pixels."
)


def fidelity(inputs: Inputs) -> Section:
    """The tables of the fidelity and screen stages, and the images nearest to training."""
    measured = inputs.at_shots("fidelity/fidelity.csv")
    if measured.empty:
        return Section(TITLE, [Text("Not in this run: no metrics/fidelity/fidelity.csv.")])
    blocks = [_added(inputs.at_shots("fidelity/added.csv")), _giveaways(inputs), _copies(inputs)]
    notes = Text(f"{witness(inputs)} {NOTE}")
    return Section(TITLE, [notes, _measured(measured), *(block for block in blocks if block)])


def witness(inputs: Inputs) -> str:
    """Whose features they are."""
    other = inputs.params["fidelity"]["xrayvision"]
    return "By features of torchxrayvision's DenseNet-121." if other else "By features of the backbone."


def _measured(table: pd.DataFrame) -> Table:
    rows = []
    for finding, of_finding in groups(table, "finding"):
        for kind, of_kind in groups(of_finding, "kind"):
            images = [number(of_kind[name].mean(), 0) for name in ("images", "real", "kid_subset")]
            figures = [reach(of_kind[name].tolist(), digits) for name, (_, digits) in FIGURES.items()]
            rows.append([word(words(finding)), word(kind), *images, *figures])
    titles = [title for title, _ in FIGURES.values()]
    return Table(
        "Synthetic images and real training images beside those of validation",
        ["finding", "images", "how many", "of validation", "in each of KID's subsets", *titles],
        rows,
    )


def _copies(inputs: Inputs) -> Part | None:
    table = inputs.at_shots("screen/memorisation.csv")
    if table.empty:
        return None
    columns = {
        "trial": whole("trial"),
        "finding": spoken("finding"),
        "images": whole("images"),
        "copies": whole("copies"),
        "least distance, features": figure("least_feature_distance"),
        "least distance, pixels": figure("least_pixel_distance"),
        "a copy's, features": figure("feature_threshold"),
        "a copy's, pixels": figure("pixel_threshold"),
        "by chance": figure("false_alarms"),
    }
    counted = int(table["copies"].sum()), int(table["images"].sum())
    lead = Text(f"{counted[0]:,} of {counted[1]:,} synthetic images count as copies. {COPIES}")
    fold = Fold("By trial and finding", [tabulate("Copies of training images", table, columns)])
    return Part("Copies of training images", [lead, fold, *_nearest(inputs)])


def _nearest(inputs: Inputs) -> list[Picture | Text]:
    alt = "Pairs of chest radiographs: a synthetic one, and beside it the training image that is nearest to it."
    caption = "The first trial's synthetic images nearest to training, each beside its nearest; the worst first"
    return _shown(inputs, inputs.screen / "nearest.png", caption, alt)


def _giveaways(inputs: Inputs) -> Part | None:
    alt = (
        "Chest radiographs in four rows: ones that {arm} adds, the same with the places that tell them from real ones "
        "in red, real ones, and the same with the places that tell them from added ones in blue."
    )
    caption = "{arm}, first trial: the added images that are told most surely, and the real ones, each above its map"
    shown = [
        block
        for arm in inputs.params["study"]["arms"]
        for block in _shown(inputs, inputs.fidelity / f"gap-{arm}.png", caption.format(arm=arm), alt.format(arm=arm))
    ]
    return Part("What gives an arm's images away", [Text(GIVEAWAYS), *dict.fromkeys(shown)]) if shown else None


def _shown(inputs: Inputs, path: Path, caption: str, alt: str) -> list[Picture | Text]:
    """The picture at ``path``, or why it is left out; nothing if there is none."""
    if not path.is_file():
        return []
    return [picture(path, caption, alt)] if inputs.shown else [Text(HIDDEN)]


def _added(table: pd.DataFrame) -> Part | None:
    if table.empty:
        return None
    means = table.groupby("arm", sort=False)[["added", "gap", "diversity"]].mean().reset_index()
    arms = values(means, "arm")
    chart = Chart(
        "What each arm's added images are like, mean over trials",
        "For each arm that adds images, the domain gap and the diversity gained. The figures are in the table below.",
        charts.points(means, ("diversity", "diversity gained"), ("gap", "domain gap (AUC)"), ("arm", arms)),
    )
    columns = {"arm": plain("arm"), "added images": whole("added"), "gap": figure("gap")}
    figures = tabulate("Gap and diversity, mean over trials", means, columns | {"diversity": figure("diversity", 2)})
    return Part("Gap against diversity", [Text(ADDED), Legend(charts.point_keys(arms)), Side([chart]), figures])
