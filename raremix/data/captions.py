"""What is known of a radiograph, in words the text encoder has a whole token for.

Continuous facts are told in thirds of their distribution in the base corpus: ``dark``, ``medium`` or ``bright``
exposure, and so on. A finding is one reserved token, ``<nodule_mass>``, so that fine-tuning on it touches no other.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raremix.data.cells import check_unique, finite, read_table
from raremix.data.findings import DEVICES, FINDINGS
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest
from raremix.runtime.errors import UserError

CLASS_PROMPT = "chest x-ray"
LEVELS: Mapping[str, tuple[str, str, str]] = {
    "exposure_index": ("low exposure", "usual exposure", "high exposure"),
    "body_thickness": ("slim body", "usual body", "wide body"),
    "source_distance": ("near source", "usual source", "far source"),
}
SEXES = {"F": "female", "M": "male"}
VIEWS = {"PA": "pa view", "AP": "ap view"}


Cuts = Mapping[str, tuple[float, float]]  # fact -> where its middle third begins and ends


def thirds(metadata: pd.DataFrame) -> Cuts:
    """The thirds of each continuous column of ``metadata`` (a row per image of the base corpus).

    A fact that nobody knows, or that takes so few values that a third is empty, is absent.
    """
    cuts: dict[str, tuple[float, float]] = {}
    for fact in LEVELS:
        values = metadata[fact].dropna().astype(float).to_numpy()
        if not len(values):
            continue
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        if len(np.unique(np.digitize(values, [low, high]))) == 3:
            cuts[fact] = (float(low), float(high))
    return cuts


def told(metadata: pd.DataFrame, corpus: pd.DataFrame, cuts: Cuts) -> pd.DataFrame:
    """What a caption tells of each continuous fact, for the rows of ``metadata``.

    That is the fact's mean among the rows of ``corpus`` with the same view and third, NaN where the fact is unknown.
    The view matters: it says whether a near source is a bedside one.
    """

    def group(rows: pd.DataFrame, fact: str) -> list[pd.Series]:
        return [rows["view"].fillna(""), pd.Series(np.digitize(rows[fact], cuts[fact]), rows.index)]

    columns = {}
    for fact in cuts:
        known = corpus[corpus[fact].notna()]
        means = known[fact].groupby(group(known, fact)).mean()
        asked = metadata[metadata[fact].notna()]
        columns[fact] = pd.Series(means.reindex(pd.MultiIndex.from_arrays(group(asked, fact))).to_numpy(), asked.index)
    return pd.DataFrame(columns, metadata.index)


def caption(facts: Mapping[Any, Any], findings: Iterable[str], cuts: Cuts) -> str:
    """The caption of one radiograph from its metadata row and the slugs of its findings."""
    words = [CLASS_PROMPT, VIEWS.get(str(facts["view"]), ""), SEXES.get(str(facts["sex"]), "")]
    for fact, (low, high) in cuts.items():
        value = float(facts[fact])
        words.append("" if np.isnan(value) else LEVELS[fact][int(np.digitize(value, [low, high]))])
    words += [device for device in DEVICES if device in str(facts["devices"]).split("|")]
    words += [token(finding) for finding in findings]
    return " ".join(word for word in words if word)


def token(finding: str) -> str:
    """The reserved token of a finding's slug."""
    return f"<{finding}>"


def vocabulary(prompts: Iterable[str]) -> list[str]:
    """Every word a caption can hold and every word of ``prompts``, each to become one whole token.

    The reserved tokens of all fourteen findings are among them, so that fine-tuning need not add any.
    """
    phrases = [CLASS_PROMPT, *VIEWS.values(), *SEXES.values(), *(word for third in LEVELS.values() for word in third)]
    reserved = map(token, FINDINGS)
    words = [word for phrase in [*phrases, *sorted(set(prompts))] for word in phrase.split()]
    return list(dict.fromkeys([*words, *DEVICES, *reserved]))


def of_corpus(manifest: Path, metadata: Path, corpus: Path) -> pd.DataFrame:
    """A row per image of the base corpus: image_id, file and prompt, the caption with the tokens of its findings."""
    ids = corpus_ids(corpus)
    rows = read_manifest(manifest).set_index("image_id").loc[ids].reset_index()
    facts = describe(metadata, corpus)
    found = findings_of(rows)
    prompts = [
        with_findings(facts[row["image_id"]], [finding for finding in found if row[finding]])
        for row in rows.to_dict("records")
    ]
    return rows[["image_id", "file"]].assign(prompt=prompts)


def describe(metadata: Path, corpus: Path) -> dict[str, str]:
    """The caption of every image of ``metadata``, its findings left out.

    The thirds are those of the images listed in ``corpus``, so that no validation or test image has a say in them.

    Raises:
        UserError: an image of the corpus has no row in ``metadata``.
    """
    known = read_metadata(metadata)
    ids = corpus_ids(corpus)
    if missing := sorted(set(ids) - set(known.index)):
        raise UserError(f"{metadata}: no row for image '{missing[0]}'; run `dvc repro ingest`")
    cuts = thirds(known.loc[ids])
    return {str(image): caption(facts, [], cuts) for image, facts in known.to_dict("index").items()}


def corpus_ids(corpus: Path) -> list[str]:
    """The images that the base model may learn from.

    Raises:
        UserError: ``corpus`` is missing or no such table.
    """
    return read_table(corpus, ["image_id"], "run `dvc repro split`")["image_id"].to_list()


def read_metadata(path: Path) -> pd.DataFrame:
    """``data/metadata.csv`` by image_id: view, sex and devices as text, the continuous facts as numbers; NaN if empty.

    Raises:
        UserError: it is missing or no such table; names the row of an image that is there twice or of no number.
    """
    table = read_table(path, ["image_id", "view", "sex", *LEVELS, "devices"], "run `dvc repro ingest`")
    check_unique(table["image_id"], path)
    known = table.mask(table == "")
    for fact in LEVELS:
        finite(table[fact].mask(known[fact].isna(), "0"), path)
    return known.assign(**{fact: pd.to_numeric(known[fact]) for fact in LEVELS}).set_index("image_id")


def with_findings(described: str, findings: Iterable[str]) -> str:
    """``described`` and the tokens of ``findings``."""
    return " ".join([described, *map(token, findings)])


def word_table(prompts: pd.Series) -> pd.DataFrame:
    """Which words each prompt holds, 0 or 1, for the words that some prompts hold and others do not."""
    table = prompts.str.get_dummies(sep=" ")
    return table.loc[:, table.nunique() > 1]
