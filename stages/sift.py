"""Which synthetic images show their finding, in the eyes of a classifier that has learned from all of them.

Some of what a token draws is no finding. A classifier learns first what most images of a label share, and only later
what is wrong with the rest (Arpit et al. 2017), so that its own verdict tells them apart (Northcutt et al. 2021,
confident learning). This one is trained as dreambooth_mix's, but in steps of its own number, on a trial's real images
and all that was drawn for it; no other real image has a say.

In: the trials' splits, the synthetic images but for copies, the backbone. Out: data/sifted/<shots>-<trial>.csv, a row
a pair: ``image_id`` of the image with the finding, and ``gain``, the logit of its finding less that of its pair.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit
from torch import nn

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import probability
from raremix.classifier.recipe import recipe
from raremix.classifier.train import Examples, train
from raremix.data import images
from raremix.data import mix as room
from raremix.data.checksums import Checksums, read_checksums
from raremix.data.findings import known
from raremix.data.manifest import findings, read_manifest, write_csv
from raremix.data.synthetic import digests, negatives_of, positives, read_pool, without_copies
from raremix.data.trial import read_trial, training_rows
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, one_core
from stages.classify import Classify
from stages.cli import run
from stages.mix import Mix, Sift
from stages.sections import Study

ARM = "dreambooth_mix"
SURE = 1e-6  # a probability nearer to 0 or 1 is taken for this near


@one_core()
def sift(
    study: Study,
    mix: Mix,
    sift: Sift,
    classify: Classify,
    manifest: Path,
    splits: Path,
    checksums: Path,
    synthetic: Path,
    screened: Path,
    weights: Path,
    out: Path,
) -> None:
    """Train on all synthetic images of each trial, and tell how much each of them gains by its finding."""
    rows, listed, judge = read_manifest(manifest), read_checksums(checksums), taught(classify, sift)
    task = known(study.findings, findings(rows), "study.findings")
    for trial in study.trials:
        divided = read_trial(splits / f"trial{trial}.csv")
        for shots in study.shots:
            real = training_rows(rows, divided, shots)[["image_id", "file", *task]]
            pool = read_pool(synthetic, study.synthesized, task, findings(rows), shots, trial, set(real["image_id"]))
            pool = without_copies(pool, screened / f"copies-{shots}-{trial}.csv")
            shares = mix.synthetic_share, mix.real_share
            draw = room.Draw(real, task, pool, real[:0], real[:0], *shares, mix.without(study), shots, trial)
            write_csv(gains(draw, judge, listed, weights), out / f"{shots}-{trial}.csv", "%.4f")


def taught(classify: Classify, sift: Sift) -> Classify:
    """What sifts: a classifier of the study's, in steps of its own number."""
    return replace(classify, training=replace(classify.training, steps=sift.steps))


def gains(draw: room.Draw, judge: Classify, checksums: Checksums, weights: Path) -> pd.DataFrame:
    """``image_id, gain`` of each positive in the pool of ``draw``, whose real images are in ``checksums``.

    The ``judge`` learns from the whole pool, and starts and draws as the study's classifiers do.
    """
    rows, name = room.build(ARM, draw), f"{draw.shots}-{draw.trial}"
    listed = {**checksums, **digests(draw.pool.values())}
    checkpoint = Checkpoint("sift", name, judge, rows.to_csv(), listed, weights)
    pixels, marks = images.load(list(rows["file"]), listed), rows[draw.findings].to_numpy(np.float32)
    start = from_backbone(judge.model, len(draw.findings), weights, draw.trial)
    examples = Examples(pixels, marks, rows["weight"].to_numpy(np.float64))
    model, _ = train(start, examples, judge.training, name, checkpoint, recipe(ARM))
    found = [
        _gains(model, draw.findings.index(finding), drawn, judge.training.precision, listed)
        for finding, drawn in draw.pool.items()
    ]
    checkpoint.clear()
    return pd.concat(found)


def _gains(
    model: nn.Module, output: int, drawn: pd.DataFrame, precision: Precision, checksums: Checksums
) -> pd.DataFrame:
    shown = positives(drawn)
    having, lacking = (
        logit(probability(model, images.load(list(rows["file"]), checksums), precision)[:, output].clip(SURE, 1 - SURE))
        for rows in (shown, negatives_of(drawn, shown))
    )
    return pd.DataFrame({"image_id": shown["image_id"].to_numpy(), "gain": having - lacking})


if __name__ == "__main__":
    run(sift)
