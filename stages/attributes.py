"""The attributes that edits are asked for: those a language model named, and nonsense beside them as the null.

In: the list that ``attributes.cache`` keeps. Out: attributes.csv, which tells the words for each attribute and the name
of what can be measured in an image: a minus before it where the words mean less of it, empty where nothing measures it.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jsonargparse.typing import PositiveInt

from raremix.data import Layout
from raremix.data.findings import slug
from raremix.data.manifest import write_csv
from raremix.data.phantom.attributes import ATTRIBUTES
from raremix.diagnosis.discovered import TOLD, Discovered, check_phrase, plain, read, words
from raremix.runtime.errors import UserError
from stages.cli import run
from stages.sections import Study

COLUMNS = ["attribute", "phrase", "kind", "reads"]


@dataclass(frozen=True)
class Attributes:
    """The question, its answer, and what becomes of it."""

    cache: str  # the file that keeps the answer
    domain: str
    task: str
    count: PositiveInt  # attributes asked for
    nonsense: list[str]  # phrases that mean nothing in the domain
    reads: dict[str, str]  # attribute -> what is measured

    def __post_init__(self) -> None:
        for key in ("domain", "task"):
            if not getattr(self, key).strip():
                raise UserError(f"params.yaml, attributes.{key}: is empty; say what is asked about")
        if self.count < 2:
            raise UserError("params.yaml, attributes.count: ask for 2 or more")
        if not self.nonsense:
            raise UserError("params.yaml, attributes.nonsense: is empty; give at least one phrase")


def table(attributes: Attributes, study: Study, layout: str) -> pd.DataFrame:
    """``COLUMNS``: a row for each attribute of the list, in its order, then for each phrase of nonsense.

    Raises:
        UserError: the list answers another question, or a key or a phrase of ``attributes`` does not go with it.
    """
    held = read(Path(attributes.cache), study.findings)
    _check_question(attributes, held)
    _check_reads(attributes, held, TOLD if layout != "phantom" else tuple(ATTRIBUTES))
    reads = attributes.reads
    rows = [[one.attribute, one.phrase, "discovered", reads.get(one.attribute, "")] for one in held.attributes]
    rows += [[slug(phrase), phrase, "nonsense", ""] for phrase in _nonsense(attributes, study, held)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _check_question(attributes: Attributes, held: Discovered) -> None:
    for key in ("domain", "task", "count"):
        if getattr(held, key) != getattr(attributes, key):
            raise UserError(
                f"params.yaml, attributes.{key}: {attributes.cache} answers for '{getattr(held, key)}'; ask again: "
                "python -m stages.discover params.yaml"
            )


def _check_reads(attributes: Attributes, held: Discovered, measured: tuple[str, ...]) -> None:
    names = [one.attribute for one in held.attributes]
    for name, reading in attributes.reads.items():
        if name not in names:
            raise UserError(
                f"params.yaml, attributes.reads: {attributes.cache} has no '{name}'; it has {', '.join(names)}"
            )
        if reading.removeprefix("-") not in measured:
            raise UserError(
                f"params.yaml, attributes.reads.{name}: '{reading}' can not be measured; choose among "
                f"{', '.join(measured)}, with - before it for less of it, or remove the key"
            )


def _nonsense(attributes: Attributes, study: Study, held: Discovered) -> list[str]:
    taken = {word: one.attribute for one in held.attributes for word in words(f"{one.attribute} {one.phrase}")}
    phrases = [plain(phrase) for phrase in attributes.nonsense]
    for number, phrase in enumerate(phrases):
        check_phrase(phrase, study.findings, "params.yaml, attributes.nonsense")
        if shared := sorted(words(phrase) & set(taken)):
            raise UserError(
                f"params.yaml, attributes.nonsense: '{phrase}' shares the word '{shared[0]}' with "
                f"'{taken[shared[0]]}' of {attributes.cache}; take another phrase"
            )
        if slug(phrase) in map(slug, phrases[:number]):
            raise UserError(f"params.yaml, attributes.nonsense: '{phrase}' is there twice; remove one")
    return phrases


def attributes(attributes: Attributes, study: Study, layout: Layout, metrics: Path) -> None:
    """List the attributes that edits are asked for."""
    write_csv(table(attributes, study, layout), metrics / "attributes.csv")


if __name__ == "__main__":
    run(attributes)
