"""Audits of the autoencoder, the base model and the synthetic images; nothing of test is touched.

In: real images of train and validation, the base model, all synthetic images, the backbone. Out: summary.json,
judge.csv, findings.csv (is the finding in the synthetic images?), attributes.csv and probe.csv.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import nn

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import features, probability
from raremix.classifier.train import ClassifierTraining, Examples, train
from raremix.data import captions, images
from raremix.data.balance import oversampled
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, read_synthetic, write_csv
from raremix.data.trial import read_trial
from raremix.evaluation.audit import heeded, judged, real_or_synthetic, told_apart
from raremix.generator.base import load
from raremix.generator.latents import roundtrip
from raremix.generator.sample import Sampling, draw
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import device
from raremix.runtime.progress import track
from raremix.runtime.seeds import seed_for
from stages.cli import run
from stages.sections import Study


@dataclass(frozen=True)
class Audit:
    """How the synthetic images are looked at."""

    model: str  # the judge, a torchvision classifier, the backbone's
    training: ClassifierTraining  # of the judge
    samples: int  # of the base model, for the attributes
    sampling: Sampling


def audit(
    study: Study,
    audit: Audit,
    manifest: Path,
    metadata: Path,
    splits: Path,
    synthetic: Path,
    pipeline: Path,
    weights: Path,
    out: Path,
) -> None:
    """Ask whether the findings survive the autoencoder, are drawn, and whether synthetic images can be told."""
    rows = read_manifest(manifest)
    part = rows["image_id"].map(read_trial(splits / f"trial{study.trials[0]}.csv").set_index("image_id")["part"])
    real, held_out = rows[part.isin(["train", "held_back"])], rows[part == "validation"]
    judge = _judge(audit, real, study.findings, weights)
    base = load(pipeline).to(device())
    pixels = images.load(held_out["file"])

    rebuilt = probability(judge, roundtrip(base.vae, pixels, audit.sampling.precision), audit.training.precision)
    original = probability(judge, pixels, audit.training.precision)
    kept = judged(held_out[study.findings].to_numpy(), original, rebuilt, study.findings)
    write_csv(kept, out / "judge.csv", "%.4f")

    made = {
        (finding, shots, trial): read_synthetic(
            synthetic / f"{finding}-{shots}-{trial}" / "manifest.csv", findings_of(rows)
        )
        for finding in study.findings
        for shots in study.shots
        for trial in study.trials
    }
    drawn, probes = [], []
    ordinary = features(judge, pixels[(held_out[study.findings] == 0).all(axis=1).to_numpy()], audit.training.precision)
    for (finding, shots, trial), table in track(made.items(), "audit", len(made)):
        seen = images.load(table["file"])
        scores = probability(judge, seen, audit.training.precision)[:, study.findings.index(finding)]
        positive = (table[finding] == 1).to_numpy()
        auroc = told_apart(scores[positive], scores[~positive])
        drawn.append((finding, shots, trial, int(positive.sum()), auroc))
        invented = features(judge, seen[~positive], audit.training.precision)
        probes.append((finding, shots, trial, real_or_synthetic(ordinary, invented)))
    found = pd.DataFrame(drawn, columns=["finding", "shots", "trial", "images", "auroc"])
    share = found.merge(kept[["finding", "real"]]).assign(share=lambda frame: frame["auroc"] / frame["real"])
    write_csv(share, out / "findings.csv", "%.4f")
    probe = pd.DataFrame(probes, columns=["finding", "shots", "trial", "auc"])
    write_csv(probe, out / "probe.csv", "%.4f")
    heed = _attributes(audit, judge, base, real, held_out, metadata, splits / "corpus.csv")
    write_csv(heed, out / "attributes.csv", "%.4f")


def _judge(audit: Audit, real: pd.DataFrame, findings: list[str], weights: Path) -> nn.Module:
    labels = real[findings].to_numpy()
    examples = Examples(images.load(real["file"]), labels.astype(np.float32), oversampled(labels))
    checkpoint = Checkpoint("judge", audit, weights, list(real["image_id"]))
    judge, _ = train(
        from_backbone(audit.model, len(findings), weights, "judge"), examples, audit.training, "judge", checkpoint
    )
    return judge


def _attributes(
    audit: Audit,
    judge: nn.Module,
    base: StableDiffusionPipeline,
    real: pd.DataFrame,
    held_out: pd.DataFrame,
    metadata: Path,
    corpus: Path,
) -> pd.DataFrame:
    """R2 of ridge regressors of the continuous attributes, on real images and on samples of the base model."""
    facts = pd.read_csv(metadata, dtype={"image_id": str}).set_index("image_id")
    ids = pd.read_csv(corpus, dtype=str)["image_id"]
    thirds = captions.thirds(facts.loc[ids])
    learned = features(judge, images.load(real["file"]), audit.training.precision)
    checked = features(judge, images.load(held_out["file"]), audit.training.precision)
    wanted, sampled = _samples(audit, base, facts, metadata, corpus)
    seen = features(judge, sampled, audit.training.precision)
    on_real, on_samples = {}, {}
    for name, means in thirds.means.items():
        centre, spread = facts.loc[ids, name].mean(), facts.loc[ids, name].std()
        regressor = RidgeCV(np.logspace(-1, 4, 11)).fit(learned, (facts.loc[real["image_id"], name] - centre) / spread)
        truth = (facts.loc[held_out["image_id"], name].to_numpy() - centre) / spread
        asked = np.array(means)[np.digitize(wanted[name], thirds.cuts[name])]
        on_real[name] = (truth, regressor.predict(checked))
        on_samples[name] = ((asked - centre) / spread, regressor.predict(seen))
    return heeded(on_real, on_samples)


def _samples(
    audit: Audit, base: StableDiffusionPipeline, facts: pd.DataFrame, metadata: Path, corpus: Path
) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """The facts that captions of the corpus tell, and a sample of the base model for each."""
    described = captions.describe(metadata, corpus)
    chosen = pd.read_csv(corpus, dtype=str)["image_id"][: audit.samples]
    prompts, seeds = [described[image] for image in chosen], [seed_for("audit", index) for index in range(len(chosen))]
    batches = [
        draw(base, prompts[at : at + 32], seeds[at : at + 32], audit.sampling) for at in range(0, len(prompts), 32)
    ]
    return facts.loc[chosen], np.concatenate(batches)


if __name__ == "__main__":
    run(audit)
