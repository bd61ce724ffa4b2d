"""What the lists of synthetic images tell of a run: how many, prompted with what, by which models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from raremix.data.captions import CLASS_PROMPT, with_findings
from raremix.data.synthetic import folder, negatives_of, positives
from raremix.report.blocks import Table
from raremix.report.cells import between, count, word, words
from raremix.report.inputs import Inputs

ROLES = {"instance": "instances", "prior": "prior images", "corpus": "images behind its base"}


@dataclass(frozen=True)
class Model:
    """A fine-tuned model and what was drawn with it."""

    finding: str
    shots: int
    trial: int
    images: pd.DataFrame  # its synthetic manifest and recipe, a row an image
    learned_from: "pd.Series[int]"  # real images by role

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.finding}-{self.shots}-{self.trial}"

    @property
    def folder(self) -> Path:
        """Its own, among those of the models."""
        return folder(Path("models/dreambooth"), self.finding, self.shots, self.trial)


@dataclass(frozen=True)
class Example:
    """Prompts of a synthetic image and of its pair; guidance leads away from the negative one."""

    finding: str
    prompt: str
    without: str
    negative: str


def models(inputs: Inputs) -> list[Model]:
    """The models whose synthetic images are listed, in the study's order."""
    study = inputs.params["study"]
    keys = [
        (finding, n, trial) for n in study["shots"] for trial in study["trials"] for finding in study["synthesized"]
    ]
    folders = {key: folder(inputs.synthetic, *key) for key in keys}
    return [
        Model(*key, _images(there), pd.read_csv(there / "lineage.csv", dtype=str)["role"].value_counts())
        for key, there in folders.items()
        if there.is_dir()
    ]


def prompts(made: Sequence[Model]) -> "pd.Series[str]":
    """Every distinct prompt."""
    return pd.concat([model.images["prompt"] for model in made]).drop_duplicates()


def negative_prompts(made: Sequence[Model]) -> list[str]:
    """Every distinct negative prompt that is not empty."""
    found = pd.concat([model.images["negative_prompt"] for model in made]).drop_duplicates()
    return [text for text in found if text]


def examples(made: Sequence[Model], shown: bool) -> list[Example]:
    """The first pair of each finding's first model; unless ``shown``, without what a caption tells of a patient."""
    firsts = {model.finding: model for model in reversed(made)}
    found = [_example(firsts[finding]) for finding in dict.fromkeys(model.finding for model in made)]
    return found if shown else [_bare(example) for example in found]


def table(made: Sequence[Model]) -> Table:
    """A row a finding and number of shots; where trials differ, the least and the most."""
    groups: dict[tuple[str, int], list[Model]] = {}
    for model in made:
        groups.setdefault((model.finding, model.shots), []).append(model)
    rows = [
        [
            word(words(finding)),
            count(shots),
            count(len(of)),
            between([len(positives(model.images)) for model in of]),
            between([len(model.images) - len(positives(model.images)) for model in of]),
            between([model.images["prompt"].nunique() for model in of]),
            *(between([model.learned_from.get(role, 0) for model in of]) for role in ROLES),
        ]
        for (finding, shots), of in groups.items()
    ]
    titles = ["finding", "shots", "models", "with it", "their pairs", "distinct prompts", *ROLES.values()]
    return Table("The fine-tuned models: synthetic images of each, and real images each has learned from", titles, rows)


def fingerprints(made: Sequence[Model]) -> Table:
    """The SHA-256 of each model's weights."""
    rows = [[word(model.name), word(model.images["model_sha256"].iloc[0])] for model in made]
    return Table("Weights of the fine-tuned models", ["model", "SHA-256"], rows)


def _images(there: Path) -> pd.DataFrame:
    """The manifest of a model's images with their recipe beside it."""
    manifest, recipe = (
        pd.read_csv(there / name, dtype=str, keep_default_na=False) for name in ("manifest.csv", "recipe.csv")
    )
    return manifest.merge(recipe[["image_id", "negative_prompt"]], on="image_id", validate="one_to_one")


def _bare(example: Example) -> Example:
    """The shortest prompts of the same form."""
    prompt = with_findings(CLASS_PROMPT, [example.finding])
    return Example(example.finding, prompt, CLASS_PROMPT, CLASS_PROMPT if example.negative else "")


def _example(model: Model) -> Example:
    first = positives(model.images).iloc[:1]
    pair = negatives_of(model.images, first)
    return Example(model.finding, first["prompt"].iloc[0], pair["prompt"].iloc[0], first["negative_prompt"].iloc[0])
