"""Under which terms a run's data, its synthetic images and its weights stand."""

from dataclasses import dataclass
from typing import Any

from raremix.report.inputs import Inputs

OWN = "apache-2.0"  # this repository's
PUBLISHED = {"CompVis/stable-diffusion-v1-4": "creativeml-openrail-m"}  # by hub repository, as its own card has it
VINDR = "physionet-credentialed-health-data-license-1.5.0"
VINDR_LINK = "https://physionet.org/content/vindr-cxr/view-license/1.0.0/"

OF_PHANTOM = (
    "The radiographs are rendered by this repository's simulator: no patient is in them. Which findings go together, "
    "and how often readers agree, follows tables of counts derived from VinDr-CXR's published labels (`data/phantom`), "
    "which the repository holds as facts."
)
OF_VINDR = (
    "The radiographs are VinDr-CXR's, those of patients. The copy on PhysioNet stands under the PhysioNet Credentialed "
    "Health Data License 1.5.0, which forbids to share access to the data with anyone and allows lawful scientific "
    "research alone; the copy on Kaggle stands under the rules of its competition (VinBigData Chest X-ray "
    "Abnormalities Detection). Read those of the copy that was used."
)
OF_NIH = (
    "The radiographs are ChestX-ray14's, those of patients of the NIH Clinical Center, which provides them without "
    "restriction on their use and asks for a link to its page (https://nihcc.app.box.com/v/ChestXray-NIHCC), a "
    "citation of Wang et al., CVPR 2017, and its name as the provider."
)
OF_TABLE = (
    "The radiographs are from a folder of the user's own. Their licence is not known to this run: whoever shares "
    "anything of it has to read it first."
)
FREELY = "Synthetic images and weights descend from no patient and may be shared, as the code may (Apache-2.0)."
NO_MORE_FREELY = (
    "Synthetic images and the weights of every model here are derived from patients' radiographs, and a model "
    "fine-tuned on a handful of them can repeat them. Where `synthesize.onto` is original, half of the images are such "
    "radiographs, unaltered. They may not be shared more freely than the data: treat them as the data."
)


@dataclass(frozen=True)
class Licence:
    """The terms, in words and as the card's front matter."""

    name: str
    data: str  # whose the radiographs are, and under which licence
    sharing: str  # what follows for synthetic images and weights
    fields: dict[str, Any]  # ``license`` and its fellows, as the Hugging Face Hub knows them


def licence(inputs: Inputs) -> Licence:
    """The terms of a run, by the layout of its data and by its base model."""
    layout, published = inputs.params["data"]["layout"], inputs.params["base"]["pretrained"]
    if layout == "vindr":
        return Licence(
            "that of the data (below)",
            OF_VINDR,
            _with_base(NO_MORE_FREELY, published),
            {"license": "other", "license_name": VINDR, "license_link": VINDR_LINK},
        )
    if layout == "phantom":
        terms = PUBLISHED.get(published, "unknown") if published else OWN
        name = "the base model's" if published else "Apache-2.0"
        return Licence(name, OF_PHANTOM, _with_base(FREELY, published), {"license": terms})
    return Licence(
        "that of the data (below)" if layout == "nih" else "that of the data, which is not known to the run",
        OF_NIH if layout == "nih" else OF_TABLE,
        _with_base(NO_MORE_FREELY, published),
        {"license": "unknown"},
    )


def _with_base(sharing: str, published: str | None) -> str:
    """``sharing``, and that weights descend from a published model's, too."""
    if not published:
        return sharing
    terms = {"creativeml-openrail-m": "CreativeML OpenRAIL-M"}.get(PUBLISHED.get(published, ""), "see its own card")
    return f"{sharing} Weights of diffusion models also stand under the base model's licence ({terms})."
