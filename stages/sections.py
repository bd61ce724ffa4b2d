"""The params sections that several stages read, and the values they may have."""

from dataclasses import dataclass
from typing import Literal

from raremix.data.findings import known
from raremix.runtime.errors import UserError

# The names alone: with an import of raremix.data.mix, every change of an arm would render the phantom anew.
ARMS = ("vanilla", "undersample", "oversample", "dreambooth_mix", "dreambooth_balanced", "prior_only", "shuffled")


@dataclass(frozen=True)
class Data:
    """Where the radiographs are."""

    root: str  # the phantom's tables, VinDr-CXR's directory, or a directory with manifest.csv
    layout: Literal["phantom", "vindr", "table"]


@dataclass(frozen=True)
class Study:
    """What the matrix stages fan out over; no fanned-out stage reads it."""

    findings: list[str]  # slugs of the task's findings
    minority: list[str]  # those of them that are trained on a few shots
    arms: list[str]
    shots: list[int]  # real training images of each minority finding
    trials: list[int]  # draws of the whole experiment


def check_study(study: Study) -> None:
    """Refuse a study that can't be carried out, whatever the data set; each stage that reads one starts with this.

    Raises:
        UserError: names the params key, what is wrong there and what to do.
    """
    for key, values in vars(study).items():
        if not values:
            raise UserError(f"params.yaml, study.{key}: is empty; name at least one")
        if twice := [value for value in values if values.count(value) > 1]:
            raise UserError(f"params.yaml, study.{key}: '{twice[0]}' is there twice; remove one")
    known(study.minority, study.findings, "study.minority")
    if unknown := [arm for arm in study.arms if arm not in ARMS]:
        raise UserError(f"params.yaml, study.arms: unknown arm '{unknown[0]}'; choose among {', '.join(ARMS)}")
    check_least("study.shots", min(study.shots), 1)
    check_least("study.trials", min(study.trials), 0)


def check_least(key: str, value: float, least: float) -> None:
    """Refuse a ``value`` below ``least``.

    Raises:
        UserError: names the params ``key``.
    """
    if not value >= least:
        raise UserError(f"params.yaml, {key}: {value:g} is too small; give {least:g} or more")


def check_share(key: str, value: float) -> None:
    """Refuse a ``value`` that is not between 0 and 1, both excluded.

    Raises:
        UserError: names the params ``key``.
    """
    if not 0 < value < 1:
        raise UserError(f"params.yaml, {key}: {value:g} is not between 0 and 1; give a share, such as 0.2")
