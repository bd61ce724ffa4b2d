"""What is known of a radiograph, in words the text encoder has a whole token for.

Continuous facts are told in thirds of their distribution in the base corpus: ``dark``, ``medium`` or ``bright``
exposure, and so on. A finding is one reserved token, ``<nodule_mass>``, so that fine-tuning on it touches no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raremix.data.findings import NAMES, slug
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
DEVICES = ("pacemaker", "tube", "leads")
VIEWS = {"PA": "pa view", "AP": "ap view"}


@dataclass(frozen=True)
class Thirds:
    """Per continuous fact its two cut points and the mean of each third; a fact that nobody knows is absent."""

    cuts: dict[str, tuple[float, float]]
    means: dict[str, tuple[float, float, float]]


def thirds(metadata: pd.DataFrame) -> Thirds:
    """The thirds of each continuous column of ``metadata`` (a row per image of the base corpus)."""
    cuts: dict[str, tuple[float, float]] = {}
    means: dict[str, tuple[float, float, float]] = {}
    for fact in LEVELS:
        values = metadata[fact].dropna().astype(float).to_numpy()
        if len(np.unique(values)) < 3:
            continue
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        level = np.digitize(values, [low, high])
        cuts[fact] = (float(low), float(high))
        means[fact] = tuple(float(values[level == third].mean()) for third in range(3))  # type: ignore[assignment]
    return Thirds(cuts, means)


def caption(facts: Mapping[Any, Any], findings: Iterable[str], edges: Thirds) -> str:
    """The caption of one radiograph from its metadata row and the slugs of its findings."""
    words = [CLASS_PROMPT, VIEWS.get(str(facts["view"]), ""), SEXES.get(str(facts["sex"]), "")]
    for fact, (low, high) in edges.cuts.items():
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
    reserved = [token(slug(name)) for name in NAMES]
    words = [word for phrase in [*phrases, *sorted(set(prompts))] for word in phrase.split()]
    return list(dict.fromkeys([*words, *DEVICES, *reserved]))


def of_corpus(manifest: Path, metadata: Path, corpus: Path) -> pd.DataFrame:
    """A row per image of the base corpus: image_id, file and prompt, the caption with the tokens of its findings."""
    ids = pd.read_csv(corpus, dtype=str)["image_id"]
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
    known = pd.read_csv(metadata, dtype={"image_id": str, "view": str, "sex": str, "devices": str}).set_index(
        "image_id"
    )
    ids = pd.read_csv(corpus, dtype=str)["image_id"]
    if missing := sorted(set(ids) - set(known.index)):
        raise UserError(f"{metadata}: no row for image '{missing[0]}'; run `dvc repro ingest`")
    edges = thirds(known.loc[ids])
    return {str(image): caption(facts, [], edges) for image, facts in known.to_dict("index").items()}


def with_findings(described: str, findings: Iterable[str]) -> str:
    """``described`` and the tokens of ``findings``."""
    return " ".join([described, *map(token, findings)])


def word_table(prompts: pd.Series) -> pd.DataFrame:
    """Which words each prompt holds, 0 or 1, for the words that some prompts hold and others do not."""
    table = prompts.str.get_dummies(sep=" ")
    return table.loc[:, table.nunique() > 1]
