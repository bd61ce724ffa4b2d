"""The run as one page: report/index.html, which needs neither network nor repository. Beside it, its model card.

In: all metrics, the pictures of samples beside real images, of those nearest to training and of what gives them away,
the params, the lists of the run's real and synthetic images. Out: the page and report/model_card.md, in Hugging Face's
structure.
"""

from dataclasses import dataclass
from pathlib import Path

from raremix.report.card import card
from raremix.report.inputs import Inputs
from raremix.report.page import page
from raremix.runtime.files import replacing
from stages.cli import read_params, run
from stages.sections import Data


@dataclass(frozen=True)
class Report:
    """What the page may show."""

    show_patients: bool  # radiographs of real patients, and images made from them; a phantom's are always shown


def report(
    report: Report,
    data: Data,
    parameters: Path,
    manifest: Path,
    checksums: Path,
    metrics: Path,
    samples: Path,
    screen: Path,
    fidelity: Path,
    synthetic: Path,
    out: Path,
) -> None:
    """Write the page of a run and its model card."""
    inputs = Inputs(
        params=read_params(parameters),
        metrics=metrics,
        samples=samples,
        screen=screen,
        fidelity=fidelity,
        synthetic=synthetic,
        lists={"manifest": manifest, "list of images": checksums},
        shown=report.show_patients or data.layout == "phantom",
    )
    for name, text in {"index.html": page(inputs), "model_card.md": card(inputs)}.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(report)
