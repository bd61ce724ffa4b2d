"""The training sets of all arms, shots and trials.

In: data/manifest.csv, data/images.sha256, data/splits; for the dreambooth arms data/synthetic (every checkpoint's
images), data/screened (which of these are copies, and are left out with their pairs) and data/sifted (how well each
shows its finding); data/roundtrip for the arm of that name. Out: data/mix/<arm>-<shots>-<trial>.csv, and the checksums
of its images; metrics/mix/balance.csv.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from jsonargparse.typing import ClosedUnitInterval, OpenUnitInterval, PositiveInt

from raremix.data import mix as room
from raremix.data.checksums import read_checksums, write_checksums
from raremix.data.findings import known
from raremix.data.manifest import findings, read_manifest, write_csv
from raremix.data.synthetic import Pool, check_folders, clearest, digests, read_gains, read_pool, without_copies
from raremix.data.trial import read_trial, training_rows
from raremix.runtime.errors import UserError
from stages.cli import run
from stages.sections import Study

UNSEEN = ("held_back", "reserve")  # parts that no arm but real_ceiling trains on


@dataclass(frozen=True)
class Mix:
    """How the arms are mixed."""

    synthetic_share: OpenUnitInterval  # of a batch of dreambooth_balanced
    real_share: ClosedUnitInterval  # least share of a finding's weight that real images hold in dreambooth_mix
    denied: Literal["minority", "all"]  # findings that dreambooth_mix's images count as without, unless drawn with them

    def without(self, study: Study) -> list[str]:
        """The findings that ``denied`` stands for."""
        return study.minority if self.denied == "minority" else study.findings


@dataclass(frozen=True)
class Sift:
    """Which synthetic images train classifiers."""

    steps: PositiveInt  # of the classifier that sifts
    kept: ClosedUnitInterval  # share of each finding's pairs, those that gain most by it

    def __post_init__(self) -> None:
        if self.kept == 0:
            raise UserError("params.yaml, sift.kept: 0 leaves no synthetic image; give more, 1 keeps all")


def mix(
    study: Study,
    mix: Mix,
    sift: Sift,
    manifest: Path,
    splits: Path,
    checksums: Path,
    synthetic: Path,
    screened: Path,
    sifted: Path,
    roundtrip: Path,
    out: Path,
    metrics: Path,
) -> None:
    """Write every arm's training set and the balance it reaches."""
    frame, of_real = read_manifest(manifest), read_checksums(checksums)
    task = known(study.findings, findings(frame), "study.findings")
    generated = any(arm in room.SYNTHETIC_ARMS for arm in study.arms)
    if generated:
        check_folders(synthetic, study.synthesized, study.shots, study.trials)
    rebuilt = pd.read_csv(roundtrip / "manifest.csv", dtype=str)
    balance = []
    for trial in study.trials:
        divided = read_trial(splits / f"trial{trial}.csv")
        unseen = divided.loc[divided["part"].isin(UNSEEN), "image_id"]
        extra = frame.loc[frame["image_id"].isin(unseen), ["image_id", "file", *task]]
        for shots in study.shots:
            real = training_rows(frame, divided, shots)[["image_id", "file", *task]]
            again = real.drop(columns="file").merge(rebuilt, on="image_id")
            pool: Pool = {}
            if generated:
                pool = read_pool(
                    synthetic, study.synthesized, task, findings(frame), shots, trial, set(real["image_id"])
                )
                pool = without_copies(pool, screened / f"copies-{shots}-{trial}.csv")
                pool = clearest(pool, read_gains(sifted / f"{shots}-{trial}.csv", pool), sift.kept)
            listed = of_real | digests([again, *pool.values()])
            shares = mix.synthetic_share, mix.real_share
            draw = room.Draw(real, task, pool, extra, again, *shares, mix.without(study), shots, trial)
            for arm in study.arms:
                rows = room.build(arm, draw)
                write_csv(rows, out / f"{arm}-{shots}-{trial}.csv", float_format="%.8g")
                write_checksums({file: listed[file] for file in rows["file"]}, out / f"{arm}-{shots}-{trial}.sha256")
                balance.append(room.reached(arm, draw, rows))
    reached = pd.concat(balance)
    write_csv(reached, metrics / "balance.csv", float_format="%.6g")
    means = reached.pivot_table("positives", ["shots", "arm"], "finding", sort=False)
    print(means.to_string(float_format="%.0f".__mod__))


if __name__ == "__main__":
    run(mix)
