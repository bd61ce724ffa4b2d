"""Who trains, validates and tests, and which few images each trial gets of the minority findings."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

from raremix.data.findings import TRIO
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator, seed_for


def partition(
    manifest: pd.DataFrame, findings: Sequence[str], seed: int, validation: float, test: float
) -> "pd.Series[str]":
    """``train``, ``validation``, ``test`` or ``reserve`` for each row of ``manifest``, all of a patient's the same.

    An official test part is used as such; without one, the share ``test`` of the patients is drawn. ``validation`` is
    a share of the other patients. Both draws are stratified over patients (Sechidis et al. 2011, iterative
    stratification) by ``findings`` and by the reader trio. An official ``reserve`` is for the ceiling alone: real
    images that no other arm sees.

    Raises:
        UserError: a patient is on both sides of the official split, or only some images have an official part.
    """
    _check_official(manifest)
    official = manifest["official_part"]
    parts = official.where(official.isin(["test", "reserve"]), "train").astype(object)
    if not (official == "test").any():
        undivided = manifest[parts == "train"]
        parts[undivided.index[_draw(undivided, findings, test, seed, "test")]] = "test"
    rest = manifest[parts == "train"]
    parts[rest.index[_draw(rest, findings, validation, seed, "validation")]] = "validation"
    return parts


def corpus(
    manifest: pd.DataFrame, votes: pd.DataFrame, parts: "pd.Series[str]", findings: Sequence[str]
) -> pd.DataFrame:
    """``image_id`` of train images whose patient carries none of ``findings``, by any reader, at any visit."""
    marked = (votes[list(findings)].to_numpy() + manifest[list(findings)].to_numpy()).any(axis=1)
    carriers = set(manifest.loc[marked, "patient_id"])
    free = (parts == "train") & ~manifest["patient_id"].isin(carriers)
    return manifest.loc[free, ["image_id"]]


def draw_trial(
    manifest: pd.DataFrame, parts: "pd.Series[str]", minority: Sequence[str], most: int, seed: int, trial: int
) -> pd.DataFrame:
    """``image_id, part, shot_rank`` of one trial.

    For each minority finding, ``most`` train images with that minority finding and no other are ranked 0 to most - 1
    in a drawn order, so that fewer shots are always the first of more. Every other train image with a minority finding
    is ``held_back``.

    Raises:
        UserError: there are fewer such images.
    """
    ranks = pd.Series(pd.NA, index=manifest.index, dtype="Int64")
    several = manifest[list(minority)].sum(axis=1)
    for finding in minority:
        single = manifest.index[(parts == "train") & (manifest[finding] == 1) & (several == 1)].to_numpy()
        if len(single) < most:
            raise UserError(
                f"params.yaml, study.shots: {most} images of '{finding}' asked, but {len(single)} train images carry "
                "it as their only minority finding; lower study.shots or take more data"
            )
        order = generator("split", seed, "shots", finding, trial).permutation(single)
        ranks[order[:most]] = np.arange(most)
    held_back = (parts == "train") & (several > 0) & ranks.isna()
    return pd.DataFrame(
        {"image_id": manifest["image_id"], "part": parts.mask(held_back, "held_back"), "shot_rank": ranks}
    )


def check_parts(manifest: pd.DataFrame, parts: "pd.Series[str]", findings: Sequence[str], least: int) -> None:
    """Refuse a validation part with fewer than ``least`` images of a finding, or a test part with none.

    Raises:
        UserError: names the finding and its counts.
    """
    for finding in findings:
        counts = manifest[finding].groupby(parts).sum().reindex(["train", "validation", "test"], fill_value=0)
        told = ", ".join(f"{part} {n}" for part, n in counts.items())
        if counts["validation"] < least:
            raise UserError(
                f"'{finding}' has fewer than split.min_validation = {least} validation images (images: {told}); "
                "raise split.validation, lower split.min_validation or take more data"
            )
        if counts["test"] == 0:
            raise UserError(
                f"'{finding}' has no test image (images: {told}); raise split.test or choose another finding"
            )


def count(manifest: pd.DataFrame, trial: pd.DataFrame, findings: Sequence[str], number: int) -> pd.DataFrame:
    """``trial, part, finding, images``; the finding ``all`` counts every image of a part."""
    marks = manifest[list(findings)].assign(all=1)
    counts = marks.groupby(trial["part"]).sum().rename_axis("part").reset_index()
    long = counts.melt("part", var_name="finding", value_name="images")
    return long.sort_values(["part", "finding"]).assign(trial=number)[["trial", "part", "finding", "images"]]


def _check_official(manifest: pd.DataFrame) -> None:
    official = manifest["official_part"]
    if (official == "").any() and (official != "").any():
        image = manifest.loc[official == "", "image_id"].iloc[0]
        raise UserError(f"data/manifest.csv: image '{image}' has no official part where others have; give all or none")
    sides = manifest.groupby("patient_id")["official_part"].nunique()
    if (sides > 1).any():
        patient = sides.index[sides > 1][0]
        images = manifest[manifest["patient_id"] == patient].groupby("official_part")["image_id"].first()
        told = ", ".join(f"{part} '{image}'" for part, image in images.sort_index(ascending=False).items())
        raise UserError(
            f"data/manifest.csv: patient '{patient}' is on both sides of the official split ({told}); correct the ids "
            "or remove one side's images"
        )


def _draw(
    manifest: pd.DataFrame, findings: Sequence[str], share: float, seed: int, part: str
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which rows belong to a drawn ``share`` of the patients."""
    marks = manifest[list(findings)].assign(trio=(manifest["reader_trio"] == "|".join(sorted(TRIO))).astype(int))
    patients = marks.groupby(manifest["patient_id"]).max()
    if not 1 <= round(share * len(patients)) < len(patients):
        raise UserError(f"params.yaml, split.{part}: {share:g} of {len(patients)} patients leaves no one on one side")
    # A label that one patient has, or all but one, can't be stratified; two columns at least, or it is not multi-label.
    both = patients.columns[patients.sum().between(2, len(patients) - 2)].union([findings[0], "trio"], sort=False)
    stratify = MultilabelStratifiedShuffleSplit(
        n_splits=1, test_size=share, random_state=seed_for("split", seed, part) % 2**32
    )
    _, chosen = next(stratify.split(np.zeros(len(patients)), patients[both].to_numpy()))
    return manifest["patient_id"].isin(patients.index[chosen]).to_numpy()
