"""Measure docs/generator_levers.csv in a finished root run: python docs/generator_levers.py

What each lever of the generator does to what it draws, by a judge that knows every real image but those of validation
and test, and has trained as long as the classifiers' ceiling needs: the audit's earlier judge, half as long taught,
took pneumothoraces that looked like effusions for good ones. It measures and chooses; no arm sees it. As many models
are at work as there are cores.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from jsonargparse import get_loader
from sklearn.metrics import roc_auc_score
from torch import nn

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import probability
from raremix.classifier.train import Examples, train
from raremix.data import images
from raremix.data.balance import oversampled
from raremix.data.checksums import read_checksums
from raremix.data.manifest import read_manifest
from raremix.data.synthetic import negatives_of, positives
from raremix.data.trial import read_trial
from raremix.data.views import Views
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.cores import cores
from raremix.runtime.device import one_core
from stages.base import Base, base
from stages.classify import Classify
from stages.cli import read_section
from stages.dreambooth import Dreambooth, Prior, dreambooth
from stages.sections import Study
from stages.synthesize import Synthesize, synthesize

PARAMS = Path("params.yaml")
WORK = Path("scratch/generator_levers")
TRIALS, PAIRS = 3, 160
JUDGE_STEPS = 600
UNSEEN = ("validation", "test")  # by the judge
DATA, SPLITS, BASE = Path("data"), WORK / "splits", Path("models/base")
TABLES = ("manifest", "votes", "boxes", "metadata")


@dataclass(frozen=True)
class Lever:
    """A generator that differs from the study's in one respect; the first, without a name, in none."""

    name: str
    base: Base
    teaching: Dreambooth
    drawing: Synthesize


def main(out: Path) -> None:
    """Write ``lever, finding, trial, auroc, pairs_won, with, without, others``, a row a lever and checkpoint."""
    params = get_loader("yaml")(PARAMS.read_text())
    kinds = {"study": Study, "base": Base, "dreambooth": Dreambooth, "synthesize": Synthesize, "classify": Classify}
    study, taught_first, teaching, drawing, classify = (read_section(params, *kind, PARAMS) for kind in kinds.items())
    judge = _judge(study, classify)
    _plan_of_shares()
    usual = Lever("", taught_first, teaching, replace(drawing, least=PAIRS))
    checkpoints = [(finding, trial) for finding in study.minority for trial in study.trials[:TRIALS]]
    table = []
    for lever in _levers(usual):
        pipeline = _base(lever, usual)
        rows = Parallel(n_jobs=cores(), return_as="generator")(
            delayed(_row)(judge, study, lever, usual, pipeline, *checkpoint) for checkpoint in checkpoints
        )
        for row in rows:
            table.append(row)
            print(*row, flush=True)
            columns = ["lever", "finding", "trial", "auroc", "pairs_won", "with", "without", "others"]
            pd.DataFrame(table, columns=columns).to_csv(out, index=False, float_format="%.4f")


def _row(
    judge: nn.Module, study: Study, lever: Lever, usual: Lever, pipeline: Path, finding: str, trial: int
) -> tuple[str | float, ...]:
    drawn = _drawn(lever, usual, study, pipeline, finding, trial)
    with one_core():
        return lever.name, finding, trial, *_judged(judge, drawn, study.findings, finding)


def _levers(usual: Lever) -> Iterator[Lever]:
    yield usual
    for strength in (0.5, 0.9):
        yield replace(usual, name=f"strength {strength:g}", drawing=replace(usual.drawing, strength=strength))
    for guidance in (9.0, 18.0):
        sampling = replace(usual.drawing.sampling, guidance=guidance)
        yield replace(usual, name=f"guidance {guidance:g}", drawing=replace(usual.drawing, sampling=sampling))
    for limit in (0.22, 0.45):
        yield replace(usual, name=f"limit {limit:g}", drawing=replace(usual.drawing, guidance_limit=limit))
    yield replace(usual, name="everywhere", drawing=replace(usual.drawing, place=None))
    still = replace(usual.teaching.training, views=Views(0.0, 0.0, 0.0), encoded_views=1)
    yield replace(usual, name="instances as they are", teaching=replace(usual.teaching, training=still))
    frozen = replace(usual.teaching.training, text_encoder=False)
    yield replace(usual, name="captions not taught", teaching=replace(usual.teaching, training=frozen))
    for name, prior in (("prior drawn", Prior("generated", 200)), ("prior of 50 images", Prior("real", 50))):
        yield replace(usual, name=name, teaching=replace(usual.teaching, prior=prior))
    yield replace(usual, name="token from nothing", teaching=replace(usual.teaching, initializers={}))
    yield replace(usual, name="all shots as instances", teaching=replace(usual.teaching, instances="all"))
    for weight in (1.0, 16.0):
        training = replace(usual.teaching.training, prior_weight=weight)
        yield replace(usual, name=f"prior weight {weight:g}", teaching=replace(usual.teaching, training=training))
    half = replace(usual.base.autoencoder, steps=usual.base.autoencoder.steps // 2)
    yield replace(usual, name="autoencoder, half the steps", base=replace(usual.base, autoencoder=half))


def _base(lever: Lever, usual: Lever) -> Path:
    """The base model's folder; it is trained only where the study's is another."""
    if lever.base == usual.base:
        return BASE
    here = WORK / lever.name.replace(" ", "_")
    tables = [DATA / f"{name}.csv" for name in ("manifest", "metadata", "boxes", "splits/corpus")]
    base(lever.base, *tables, DATA / "images.sha256", here / "base", here / "log")
    return here / "base"


def _drawn(lever: Lever, usual: Lever, study: Study, pipeline: Path, finding: str, trial: int) -> pd.DataFrame:
    """The manifest of the lever's pairs; a model is taught only where the study has none that is taught so."""
    only, shots = replace(study, synthesized=[finding]), study.shots[0]
    here = WORK / lever.name.replace(" ", "_") / f"{finding}-{shots}-{trial}"
    models, tables = Path("models/dreambooth") / f"{shots}-{trial}", [DATA / f"{name}.csv" for name in TABLES]
    if (lever.base, lever.teaching) != (usual.base, usual.teaching):
        models = here / "models"
        files = [*tables, DATA / "splits", DATA / "images.sha256", pipeline, models, here / "log"]
        dreambooth(only, lever.teaching, shots, trial, *files)
    manifest, _, boxes, metadata = tables
    files = [manifest, boxes, metadata, SPLITS, DATA / "images.sha256", pipeline, models]
    synthesize(only, lever.drawing, shots, trial, *files, here / "images", here / "tables", here / "pictures")
    return pd.read_csv(here / "tables" / finding / "manifest.csv")


def _plan_of_shares() -> None:
    """The study's plan with no images asked for, so that ``least`` says how many pairs are drawn."""
    SPLITS.mkdir(parents=True, exist_ok=True)
    for table in (DATA / "splits").glob("*.csv"):
        shutil.copy(table, SPLITS)
    for file in SPLITS.glob("plan-*.csv"):
        plan = pd.read_csv(file, keep_default_na=False)
        plan.assign(images=0).to_csv(file, index=False)


def _judge(study: Study, classify: Classify) -> nn.Module:
    rows = read_manifest(DATA / "manifest.csv")
    parts = read_trial(DATA / "splits" / f"trial{study.trials[0]}.csv").set_index("image_id")["part"]
    seen = rows[~rows["image_id"].map(parts).isin(UNSEEN)]
    labels = seen[study.findings].to_numpy(np.int64)
    pixels = images.load(list(seen["file"]), read_checksums(DATA / "images.sha256"))
    backbone = Path("models/backbone.safetensors")
    start = from_backbone(classify.model, len(study.findings), backbone, "judge")
    training = replace(classify.training, steps=JUDGE_STEPS)
    checkpoint = Checkpoint("judge of levers", training, DATA / "manifest.csv", backbone)
    examples = Examples(pixels, labels.astype(np.float32), oversampled(labels))
    return train(start, examples, training, "judge of levers", checkpoint)[0]


def _judged(judge: nn.Module, drawn: pd.DataFrame, task: Sequence[str], finding: str) -> tuple[float, ...]:
    """AUROC of positives against negatives; share of pairs whose positive scores higher; mean scores.

    The scores are the judge's probabilities of the ``finding`` in positives and in negatives, and, in positives, of the
    other findings of the ``task``, which none of them is to have.
    """
    first = positives(drawn)
    digests = dict(zip(drawn["file"], drawn["sha256"], strict=True))
    having, lacking = (
        probability(judge, images.load(list(rows["file"]), digests), "float32")
        for rows in (first, negatives_of(drawn, first))
    )
    place = list(task).index(finding)
    own, without = having[:, place], lacking[:, place]
    marks = np.repeat([1, 0], len(first))
    others = np.delete(having, place, axis=1).mean()
    auroc = roc_auc_score(marks, np.concatenate([own, without]))
    return float(auroc), float((own > without).mean()), float(own.mean()), float(without.mean()), float(others)


if __name__ == "__main__":
    main(Path(__file__).parent / "generator_levers.csv")
