"""What a run's own figures say against taking it for more than it is, a sentence each."""

from raremix.report.cells import NONE, interval, number, reach, words
from raremix.report.inputs import Inputs

UNSEEN = "no detectable difference from"  # the answer's word where an interval holds zero


def limits(inputs: Inputs) -> list[str]:
    """All that the run has figures for, and what its params imply."""
    told = (_trials, _few, _unseen, _majority, _gap, _copies, _edits)
    return [sentence for tell in told for sentence in tell(inputs)]


def _trials(inputs: Inputs) -> list[str]:
    if not inputs.figures("compare/answer.json"):
        return []
    if len(inputs.trials) == 1:
        return ["There is one trial: intervals count images, not which few real images were drawn."]
    return [f"Intervals rest on {len(inputs.trials)} trials, each a draw of the few real images and of all seeds."]


def _few(inputs: Inputs) -> list[str]:
    """The finding of which test has the fewest images, in the trial that has fewest."""
    table = inputs.table("split/counts.csv")
    if table.empty:
        return []
    there = table[(table["part"] == "test") & table["finding"].isin(inputs.findings)]
    if there.empty:
        return []
    rarest = there.sort_values("images", kind="stable").iloc[0]
    return [
        f"Of {words(rarest['finding'])}, the rarest finding of the task on test, {rarest['images']:,} images decide."
    ]


def _unseen(inputs: Inputs) -> list[str]:
    """What the primary comparisons could not have seen."""
    found = inputs.figures("compare/answer.json")
    return [
        f"{found['arm']} shows no detectable difference from {against}, which is not equality: a true difference of "
        f"less than {number(one['detectable'], 2).text} would have stayed unseen more often than one time in five."
        for against, one in found.get("against", {}).items()
        if one["verdict"] == UNSEEN and number(one.get("detectable")).text != NONE
    ]


def _majority(inputs: Inputs) -> list[str]:
    found = inputs.figures("compare/answer.json")
    return [
        f"Over the majority findings the AUROC of {found['arm']} is not shown to be as good as that of {against}: "
        f"{interval(one['difference'], one['low'], one['high'], signed=True).text}, by a margin of {found['margin']:g}."
        for against, one in found.get("majority", {}).items()
        if not one["non_inferior"]
    ]


def _gap(inputs: Inputs) -> list[str]:
    table, arm = inputs.at_shots("fidelity/added.csv"), inputs.figures("compare/answer.json").get("arm")
    if table.empty or arm not in set(table["arm"]):
        return []
    apart = reach(list(table.loc[table["arm"] == arm, "gap"]), 2).text
    if apart == NONE:
        return []
    return [
        f"Images that {arm} adds can be told from real ones with the same finding: AUC {apart}, mean and range over "
        "trials; 0.5 would be no gap."
    ]


def _copies(inputs: Inputs) -> list[str]:
    table = inputs.at_shots("screen/memorisation.csv")
    if table.empty:
        return []
    copies, images, chance = table["copies"].sum(), table["images"].sum(), table["false_alarms"].mean()
    return [
        f"{copies:,} of {images:,} synthetic images count as copies of training images; of ordinary images, "
        f"{chance:.1%} do by chance. A copy that was altered may pass."
    ]


def _edits(inputs: Inputs) -> list[str]:
    drawing = inputs.params["synthesize"]
    if drawing["strength"] == 1:
        return []
    how = (
        "are training radiographs with a finding laid over them, and their pairs are those radiographs as they were; "
        "fidelity and gap look at whole images, and so at much that is real"
    )
    if drawing["onto"] == "drawn":
        how = "start from training radiographs, and keep of them what the noise leaves"
    private = "" if inputs.is_phantom else " They show patients, and are as private as the radiographs."
    return [f"Synthetic images {how}.{private}"]
