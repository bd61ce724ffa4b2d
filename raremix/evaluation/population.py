"""Which images are tested, and which population they stand for."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from raremix.data.trial import read_trial
from raremix.runtime.errors import UserError

NATURAL = ("train", "validation", "held_back")  # together the train part as it came, before any shots were drawn


def natural_and_test(
    manifest: pd.DataFrame, splits: Path, trials: Sequence[int], findings: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest's rows of the natural population and of the test part (sorted by image id), the same in all trials.

    Raises:
        UserError: a trial is missing, the trials test different images, the manifest lacks one of them, or the test
            part holds no image with, or none without, a finding.
    """
    parts = {trial: read_trial(splits / f"trial{trial}.csv") for trial in trials}
    tested = {trial: set(split.image_id[split.part == "test"]) for trial, split in parts.items()}
    first = trials[0]
    for trial in trials:
        if tested[trial] != tested[first]:
            raise UserError(f"{splits}: trials {first} and {trial} test different images; run dvc repro split")
    for image_id in sorted(tested[first] - set(manifest.image_id))[:1]:
        raise UserError(f"{splits}/trial{first}.csv: image '{image_id}' is not in the manifest; run dvc repro split")
    natural = parts[first].image_id[parts[first].part.isin(NATURAL)]
    test = manifest[manifest.image_id.isin(tested[first])].sort_values("image_id", ignore_index=True)
    _check_both_classes(test, findings)
    return manifest[manifest.image_id.isin(natural)], test


def _check_both_classes(test: pd.DataFrame, findings: Sequence[str]) -> None:
    for finding in findings:
        if test[finding].nunique() < 2:
            raise UserError(f"the test part needs images with and without '{finding}'; enlarge it or drop the finding")
