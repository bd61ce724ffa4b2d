"""The params sections that several stages read, and the values they may have."""

from dataclasses import dataclass

from jsonargparse.typing import NonNegativeInt, PositiveInt

from raremix.data import Layout
from raremix.data.findings import known
from raremix.runtime.errors import UserError

# The names alone: with an import of raremix.data.mix, every change of an arm would render the phantom anew.
ARMS = (
    "vanilla", "undersample", "oversample", "reweight", "crt", "ldam_drw", "classical_augmentation", "roundtrip",
    "real_ceiling", "ratio_1", "ratio_2", "ratio_5", "ratio_10", "dreambooth_mix", "dreambooth_balanced",
    "synthetic_pretrain", "synthetic_only", "prior_only", "shuffled",
)  # fmt: skip
STREAMS = ("dreambooth_balanced", "synthetic_pretrain", "synthetic_only")  # those with synthetic images of each finding


@dataclass(frozen=True)
class Data:
    """Where the radiographs are."""

    root: str  # the phantom's tables, VinDr-CXR's directory, or a directory with manifest.csv
    layout: Layout


@dataclass(frozen=True)
class Study:
    """What the matrix stages fan out over; these themselves read ``synthesized`` of it at most."""

    findings: list[str]  # slugs of the task's findings
    minority: list[str]  # those of them that are trained on a few shots
    synthesized: list[str]  # those that get synthetic images: at least all but the most frequent one
    arms: list[str]
    shots: list[PositiveInt]  # real training images of each minority finding
    trials: list[NonNegativeInt]  # draws of the whole experiment

    def __post_init__(self) -> None:
        """Refuse a study that can't be carried out, whatever the data set.

        Raises:
            UserError: names the key, what is wrong there and what to do.
        """
        for key, values in vars(self).items():
            if not values:
                raise UserError(f"params.yaml, study.{key}: is empty; name at least one")
            if twice := [value for value in values if values.count(value) > 1]:
                raise UserError(f"params.yaml, study.{key}: '{twice[0]}' is there twice; remove one")
        known(self.minority, self.findings, "study.minority")
        known(self.synthesized, self.findings, "study.synthesized")
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise UserError(f"params.yaml, study.arms: unknown arm '{unknown[0]}'; choose among {', '.join(ARMS)}")
        lacking = [finding for finding in self.findings if finding not in self.synthesized]
        if lacking and (streams := [arm for arm in self.arms if arm in STREAMS]):
            raise UserError(
                f"params.yaml, study.synthesized: {streams[0]} has synthetic images of each finding; add "
                f"'{lacking[0]}', or take the arm from study.arms"
            )
