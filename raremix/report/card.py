"""The model card of a run (Mitchell et al. 2019) as the Hugging Face Hub has it, from the run's files alone."""

import importlib.resources
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

from raremix.data.captions import token
from raremix.report import audits, drawn, fidelity, materials, result
from raremix.report.blocks import Block, Fold, Listing, Part, Section, Table, Text
from raremix.report.cells import Cell, count, word, words
from raremix.report.inputs import Inputs
from raremix.report.licence import licence
from raremix.report.limits import limits
from raremix.runtime.files import sha256

TAGS = [
    "chest-x-ray",
    "radiology",
    "dreambooth",
    "synthetic-data",
    "multi-label-classification",
    "not-for-clinical-use",
]
DATA = {
    "phantom": "the embedded phantom",
    "vindr": "VinDr-CXR",
    "nih": "NIH ChestX-ray14",
    "table": "a folder of radiographs with a table",
}
TEST = "Test images, weighted to natural prevalence; each arm's classifiers, mean and deviation over trials."


@dataclass(frozen=True)
class Evaluated:
    """A part of the evaluation: tables that the page has, too, and how to read them."""

    title: str
    note: str
    tables: Sequence[Table]


def card(inputs: Inputs) -> str:
    """The card as Markdown with its front matter; a part of which the run has no figures is left out."""
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"text": _text, "code": _code, "words": words, "token": token}
    environment.filters |= {"listed": _listed, "table": _table}
    made = drawn.models(inputs)
    study = inputs.params["study"]
    return environment.from_string(_template()).render(
        front=_front_matter(inputs),
        params=inputs.params,
        study=study,
        data=DATA[inputs.params["data"]["layout"]],
        licence=licence(inputs),
        answer=inputs.figures("compare/answer.json"),
        ingested=inputs.figures("ingest/summary.json"),
        limits=limits(inputs),
        models=len(study["synthesized"]) * len(study["shots"]) * len(study["trials"]),
        classifiers=len(study["arms"]) * len(study["shots"]) * len(study["trials"]),
        counted=[*_tables(materials.split(inputs).blocks), *_tables(materials.mix(inputs).blocks)],
        made=made,
        made_table=drawn.table(made) if made else None,
        prompts=sorted(drawn.prompts(made)) if made else [],
        negatives=drawn.negative_prompts(made) if made else [],
        shown=inputs.shown,
        examples=drawn.examples(made, inputs.shown) if made else [],
        budgets=_budgets(inputs.params),
        evaluated=_evaluated(inputs),
        hashes=_hashes(inputs, made),
    )


def model_card(inputs: Inputs) -> Section:
    """The card on the page: what may be shared, and the whole of it on demand."""
    terms = licence(inputs)
    lead = f"{terms.data} {terms.sharing}".replace("`", "")
    where = "The whole card stands below, and as model_card.md beside this page, to go with what is shared."
    return Section("Model card", [Text(lead), Text(where), Fold("The model card", [Listing(card(inputs))])])


def _front_matter(inputs: Inputs) -> str:
    """What the Hub reads; a base model only where a revision pins one of the Hub's."""
    base = inputs.params["base"]
    fields = licence(inputs).fields | {"base_model": base["pretrained"] if base["revision"] else None}
    data = ModelCardData(language="en", library_name="diffusers", pipeline_tag="text-to-image", tags=TAGS, **fields)
    return data.to_yaml(line_break="\n")


def _budgets(params: dict[str, Any]) -> Table:
    """What each kind of model was trained for."""
    rows = [
        [word(title), word(network), count(how["steps"]), count(how["batch"]), Cell(f"{how['lr']:g}", how["lr"])]
        for title, network, how in _trainings(params)
    ]
    return Table("Training budgets", ["what", "network", "steps", "batch", "learning rate"], rows)


def _trainings(params: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    base, backbone, tuning = params["base"], params["backbone"], params["dreambooth"]
    if not base["pretrained"]:
        yield "base model: autoencoder", "AutoencoderKL", base["autoencoder"]
        yield "base model: denoiser and text encoder", "UNet2DConditionModel", base["denoiser"]
    tuned = "UNet" if tuning["lora_rank"] is None else f"LoRA of the UNet, rank {tuning['lora_rank']}"
    yield "each fine-tuned model", tuned, tuning["training"]
    if backbone["start"] == "corpus":
        yield "backbone of all classifiers", backbone["model"], backbone["training"]
    yield "each classifier", params["classify"]["model"], params["classify"]["training"]
    yield "judge of the audits", params["audit"]["model"], params["audit"]["training"]


def _evaluated(inputs: Inputs) -> list[Evaluated]:
    """The parts of which there are tables."""
    parts: list[tuple[str, str, Callable[[Inputs], Section]]] = [
        ("The primary result", result.FIXED, result.answer),
        ("The arms", TEST, result.arms),
        ("What is drawn: the judge's audits", audits.NOTE, audits.audits),
        (
            "Fidelity, copies, gap",
            f"{fidelity.witness(inputs)} {fidelity.NOTE} {fidelity.COPIES} {fidelity.ADDED}",
            fidelity.fidelity,
        ),
    ]
    found = [Evaluated(title, note, list(_tables(build(inputs).blocks))) for title, note, build in parts]
    return [part for part in found if part.tables]


def _tables(blocks: Sequence[Block]) -> Iterator[Table]:
    """All tables among ``blocks``, however deep."""
    for block in blocks:
        if isinstance(block, Table):
            yield block
        elif isinstance(block, Part | Fold):
            yield from _tables(block.blocks)


def _table(table: Table) -> str:
    """A table in Markdown, its caption above it."""
    ruler = ["---:" if figures else "---" for figures in table.numeric]
    rows = [map(_text, table.columns), ruler, *([_text(cell.text) for cell in row] for row in table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"{_text(table.caption)}:", "", *lines, ""])


def _hashes(inputs: Inputs, made: Sequence[drawn.Model]) -> list[Table]:
    """What tells which data and which weights these are."""
    rows = [[word(name), word(sha256(path))] for name, path in inputs.lists.items() if path.is_file()]
    lists = [Table("Lists of the run's data", ["list", "SHA-256"], rows)] if rows else []
    return [*lists, *([drawn.fingerprints(made)] if made else [])]


def _text(text: object) -> str:
    """Words that Markdown must not read as marks of its own."""
    return str(text).replace("\\", "\\\\").replace("<", "\\<").replace("|", "\\|").replace("*", "\\*")


def _code(text: str) -> str:
    return f"`{text}`"


def _listed(names: Sequence[object]) -> str:
    return ", ".join(words(str(name)) for name in names)


def _template() -> str:
    return importlib.resources.files("raremix.report").joinpath("card.md").read_text(encoding="utf-8")
