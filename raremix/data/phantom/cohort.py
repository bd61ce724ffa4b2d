"""Who is in the data set and what they have, before anything is rendered."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raremix.data.findings import slug
from raremix.data.phantom.pathology import SEVERITY
from raremix.data.phantom.readers import Agreement, severity_rank, votes
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator

MORE_VISITS = 0.17  # after each visit, the chance of another: 1.2 visits a patient
VALIDATION = 10  # images of each minority finding that validation needs beside the shots


@dataclass(frozen=True)
class Tables:
    """VinDr-CXR's statistics: label sets with their shares, and reader agreement by finding."""

    sets: list[frozenset[str]]
    shares: NDArray[np.float64]
    agreement: dict[str, Agreement]

    def share(self, finding: str) -> float:
        return float(sum(share for labels, share in zip(self.sets, self.shares, strict=True) if finding in labels))


@dataclass(frozen=True)
class Image:
    """One radiograph to render; ``severities`` are the changes that ``render`` takes."""

    part: str
    patient: int
    visit: int
    severities: dict[str, float]
    votes: dict[str, int]


def tables(root: Path) -> Tables:
    """The two tables under ``root``.

    Raises:
        UserError: a table is missing.
    """
    for name in ("label_sets.csv", "reader_agreement.csv"):
        if not (root / name).is_file():
            raise UserError(f"{root / name}: no such table; data.root of the phantom is the repository's data/phantom")
    with (root / "label_sets.csv").open(newline="") as file:
        rows = [(row["label_set"], int(row["images"])) for row in csv.DictReader(file)]
    with (root / "reader_agreement.csv").open(newline="") as file:
        agreement = {
            slug(row["finding"]): Agreement(int(row["two"]) / int(row["any"]), int(row["three"]) / int(row["any"]))
            for row in csv.DictReader(file)
        }
    sets = [frozenset(slug(name) for name in names.split("|") if name) for names, _ in rows]
    counts = np.array([count for _, count in rows], dtype=np.float64)
    return Tables(sets, counts / counts.sum(), agreement)


def enriched(table: Tables, minority: list[str], factor: float) -> Tables:
    """The table with the share of label sets that hold a minority finding multiplied by ``factor``."""
    rare = np.array([not labels.isdisjoint(minority) for labels in table.sets])
    shares = table.shares * np.where(rare, factor, 1.0)
    return Tables(table.sets, shares / shares.sum(), table.agreement)


def check_size(table: Tables, minority: list[str], shots: int, images: int) -> None:
    """Whether ``images`` are enough for ``shots`` of each minority finding and ten in validation.

    Raises:
        UserError: says how many images are needed.
    """
    for finding in minority:
        share = table.share(finding)
        needed = int(np.ceil((shots + VALIDATION) / max(share, 1e-9)))
        if images < needed:
            raise UserError(
                f"phantom.train_images is {images}: with VinDr-CXR's prevalence that is {images * share:.0f} of "
                f"{finding}, and {shots} shots + {VALIDATION} for validation need {needed} images; raise it or lower "
                "study.shots"
            )


def training_part(table: Tables, seed: int, images: int) -> list[Image]:
    """``images`` radiographs of patients with one or several visits; label sets at the table's shares."""
    labels = _systematic(table, images, generator("phantom", seed, "label sets"))
    who = _visits(images, generator("phantom", seed, "visits"))
    return _with_severities(table, "train", who, labels, seed)


def test_part(
    table: Tables, seed: int, images: int, findings: list[str], positives: int, first_patient: int
) -> list[Image]:
    """``images`` patients, one visit each: at least ``positives`` of each finding, the rest as nature has them.

    Raises:
        UserError: ``images`` cannot hold so many positives.
    """
    rng = generator("phantom", seed, "test label sets")
    labels = _carriers(table, findings, positives, rng)
    if len(labels) > images:
        raise UserError(
            f"phantom.test_images is {images}: {positives} positives of each of {', '.join(findings)} need "
            f"{len(labels)}; raise it or lower phantom.test_positives"
        )
    labels += _systematic(table, images - len(labels), rng)
    return _once_each(table, "test", labels, seed, first_patient, rng)


def reserve_part(table: Tables, seed: int, findings: list[str], positives: int, first_patient: int) -> list[Image]:
    """Patients, one visit each, of whom ``positives`` or more carry each finding, and everyone carries one."""
    rng = generator("phantom", seed, "reserve label sets")
    return _once_each(table, "reserve", _carriers(table, findings, positives, rng), seed, first_patient, rng)


def _carriers(table: Tables, findings: list[str], positives: int, rng: np.random.Generator) -> list[frozenset[str]]:
    """Label sets as nature has them among carriers, until ``positives`` of them hold each finding, the rarest first."""
    labels: list[frozenset[str]] = []
    for finding in sorted(findings, key=table.share):
        lacking = positives - sum(finding in labels_ for labels_ in labels)
        carriers = np.array([finding in labels_ for labels_ in table.sets])
        if lacking > 0:
            shares = table.shares * carriers
            labels += _systematic(Tables(table.sets, shares / shares.sum(), table.agreement), lacking, rng)
    return labels


def _once_each(
    table: Tables, part: str, labels: list[frozenset[str]], seed: int, first_patient: int, rng: np.random.Generator
) -> list[Image]:
    """A patient and a visit for each label set, in a drawn order."""
    who = [(first_patient + k, 0) for k in range(len(labels))]
    return _with_severities(table, part, who, [labels[k] for k in rng.permutation(len(labels))], seed)


def _with_severities(
    table: Tables, part: str, who: list[tuple[int, int]], labels: list[frozenset[str]], seed: int
) -> list[Image]:
    images = []
    dealt = votes(labels, table.agreement, seed, part)
    for (patient, visit), counts in zip(who, dealt, strict=True):
        severities = {}
        for finding in sorted(counts):
            rng = generator("phantom", seed, patient, visit, finding, "severity")
            low, high = SEVERITY[finding]
            rank = severity_rank(counts[finding], table.agreement[finding], rng)
            severities[finding] = round(low + (high - low) * rank, 4)
        images.append(Image(part, patient, visit, severities, counts))
    return images


def _systematic(table: Tables, images: int, rng: np.random.Generator) -> list[frozenset[str]]:
    """Systematic sampling: each label set's count is within one of its share, and so is each finding's, nearly.

    The table is walked with its rarest findings together, at equal steps from one random start.
    """
    rarity = sorted(table.agreement, key=table.share)
    order = sorted(range(len(table.sets)), key=lambda k: [finding not in table.sets[k] for finding in rarity])
    edges = np.cumsum(table.shares[order])
    picks = np.searchsorted(edges / edges[-1], (np.arange(images) + rng.random()) / max(images, 1), side="right")
    return [table.sets[order[k]] for k in rng.permutation(np.minimum(picks, len(order) - 1))]


def _visits(images: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    who: list[tuple[int, int]] = []
    patient = visit = 0
    while len(who) < images:
        who.append((patient, visit))
        patient, visit = (patient, visit + 1) if rng.random() < MORE_VISITS else (patient + 1, 0)
    return who
