"""Audits of the autoencoder, the base model and the synthetic images; nothing of test is touched.

In: real images of train and validation, the base model, all synthetic images, the backbone. Out: judge.csv (does the
autoencoder keep the finding, and how near is it to the image?), findings.csv (is the finding in the synthetic images?),
attributes.csv, probe.csv, and DreamBooth's losses.csv.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import features, probability
from raremix.classifier.train import ClassifierTraining, Examples, train
from raremix.data import captions, images
from raremix.data.balance import oversampled
from raremix.data.checksums import read_checksums
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, read_synthetic, write_csv
from raremix.data.synthetic import folder
from raremix.data.trial import read_trial
from raremix.evaluation.audit import explained, judged, real_or_synthetic, told_apart
from raremix.evaluation.losses import loss_curves
from raremix.evaluation.reconstruction import likeness, of_findings
from raremix.generator.base import load
from raremix.generator.latents import roundtrip
from raremix.generator.sample import Sampling, draw, plain
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import device, one_core
from raremix.runtime.progress import track
from raremix.runtime.seeds import seed_for
from stages.cli import run
from stages.sections import Study


@dataclass(frozen=True)
class Audit:
    """How the synthetic images are looked at."""

    model: str  # the judge, a torchvision classifier, the backbone's
    training: ClassifierTraining  # of the judge
    samples: PositiveInt  # of the base model, for the attributes
    sampling: Sampling


@one_core()
def audit(
    study: Study,
    audit: Audit,
    manifest: Path,
    metadata: Path,
    splits: Path,
    checksums: Path,
    synthetic: Path,
    pipeline: Path,
    logs: Path,
    weights: Path,
    out: Path,
) -> None:
    """Ask whether the findings survive the autoencoder, are drawn, and whether synthetic images can be told."""
    rows, listed = read_manifest(manifest), read_checksums(checksums)
    part = rows["image_id"].map(read_trial(splits / f"trial{study.trials[0]}.csv").set_index("image_id")["part"])
    real, held_out = rows[part.isin(["train", "held_back"])], rows[part == "validation"]
    seen = _Seen(real, held_out, *(images.load(list(part["file"]), listed) for part in (real, held_out)))
    checkpoint = Checkpoint("judge", audit, study.findings, weights, manifest, splits, checksums)
    judge = _judge(audit, seen, study.findings, weights, checkpoint)
    base = load(pipeline).to(device())

    kept = _kept(audit, judge, base, seen, study.findings)
    write_csv(kept, out / "judge.csv", "%.4f")
    drawn, probes = _drawn(audit, judge, seen, study, synthetic, findings_of(rows))
    share = drawn.merge(kept[["finding", "real"]]).assign(share=lambda frame: frame["auroc"] / frame["real"])
    write_csv(share, out / "findings.csv", "%.4f")
    write_csv(probes, out / "probe.csv", "%.4f")
    write_csv(_losses(study, logs), out / "losses.csv", "%.5g")
    heeded = _heeded(audit, judge, base, seen, metadata, splits / "corpus.csv")
    write_csv(heeded, out / "attributes.csv", "%.4f")
    checkpoint.clear()


@dataclass(frozen=True)
class _Seen:
    """The real images of train (as it came, before any shots were drawn) and of validation."""

    train: pd.DataFrame
    validation: pd.DataFrame
    train_pixels: NDArray[np.uint8]
    validation_pixels: NDArray[np.uint8]


def _judge(audit: Audit, seen: _Seen, findings: list[str], weights: Path, checkpoint: Checkpoint) -> nn.Module:
    labels = seen.train[findings].to_numpy()
    examples = Examples(seen.train_pixels, labels.astype(np.float32), oversampled(labels))
    start = from_backbone(audit.model, len(findings), weights, "judge")
    judge, _ = train(start, examples, audit.training, "judge", checkpoint)
    return judge


def _kept(
    audit: Audit, judge: nn.Module, base: StableDiffusionPipeline, seen: _Seen, findings: list[str]
) -> pd.DataFrame:
    """The judge's AUROC on validation images and on their reconstructions, and how near these are: PSNR and SSIM."""
    rebuilt = roundtrip(base.vae, seen.validation_pixels, audit.sampling.precision)
    original, reconstructed = (
        probability(judge, pixels, audit.training.precision) for pixels in (seen.validation_pixels, rebuilt)
    )
    labels = seen.validation[findings].to_numpy()
    near = of_findings(labels, likeness(seen.validation_pixels, rebuilt), findings)
    return judged(labels, original, reconstructed, findings).merge(near, on="finding")


def _drawn(
    audit: Audit, judge: nn.Module, seen: _Seen, study: Study, synthetic: Path, findings: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Per checkpoint: is its finding drawn, and can its images be told from real ones of validation?

    ``auroc``: the judge's score of the finding in positives against negatives. ``others``: the same score in the
    positives of the other findings' checkpoints against their negatives, so what guidance alone does to it.
    """
    labels = seen.validation[study.findings]
    real = features(judge, seen.validation_pixels, audit.training.precision)
    keys = [(n, trial, finding) for n in study.shots for trial in study.trials for finding in study.synthesized]
    scores, probes = {}, []
    for shots, trial, finding in track(keys, "audit", len(keys)):
        table = read_synthetic(folder(synthetic, finding, shots, trial) / "manifest.csv", findings)
        checksums = dict(zip(table["file"], table["sha256"], strict=True))
        pixels = images.load(list(table["file"]), checksums)
        positive = (table[finding] == 1).to_numpy()
        judged_pixels = probability(judge, pixels, audit.training.precision)
        scores[shots, trial, finding] = judged_pixels[positive], judged_pixels[~positive]
        invented = features(judge, pixels, audit.training.precision)
        with_it = real_or_synthetic(real[(labels[finding] == 1).to_numpy()], invented[positive])
        without = real_or_synthetic(real[(labels == 0).all(axis=1).to_numpy()], invented[~positive])
        probes.append((finding, shots, trial, with_it, without))
    drawn = []
    for shots, trial, finding in keys:
        column = study.findings.index(finding)
        aurocs = {
            other: told_apart(*(part[:, column] for part in scores[shots, trial, other])) for other in study.synthesized
        }
        own = aurocs.pop(finding)
        drawn.append((finding, shots, trial, len(scores[shots, trial, finding][0]), own, _mean(aurocs.values())))
    key = ["finding", "shots", "trial"]
    return (
        pd.DataFrame(drawn, columns=[*key, "images", "auroc", "others"]),
        pd.DataFrame(probes, columns=[*key, "positives", "negatives"]),
    )


def _mean(values: Collection[float]) -> float:
    """NaN of none, as in a study of a single finding."""
    return sum(values) / len(values) if values else float("nan")


def _losses(study: Study, logs: Path) -> pd.DataFrame:
    """DreamBooth's losses, as dvclive logged them: a curve a finding, the mean over shots and trials."""
    files = [
        (finding, folder(logs, finding, n, trial) / "plots" / "metrics" / "loss.tsv")
        for finding in study.synthesized
        for n in study.shots
        for trial in study.trials
    ]
    return loss_curves((finding, pd.read_csv(file, sep="\t")["loss"].to_list()) for finding, file in files)


def _heeded(
    audit: Audit, judge: nn.Module, base: StableDiffusionPipeline, seen: _Seen, metadata: Path, corpus: Path
) -> pd.DataFrame:
    """R2 of what captions tell of each continuous attribute, by ridge regressors: on real images and on samples.

    The regressors learn the attribute itself on the real images of train, from what the judge sees.
    """
    facts = captions.read_metadata(metadata)
    of_corpus = facts.loc[captions.corpus_ids(corpus)]
    cuts = captions.thirds(of_corpus)
    chosen = list(of_corpus.index[: audit.samples])
    sampled = _samples(audit, base, metadata, corpus, chosen)
    learned, checked, invented = (
        features(judge, pixels, audit.training.precision)
        for pixels in (seen.train_pixels, seen.validation_pixels, sampled)
    )
    rows = []
    for name in cuts:
        known = facts.loc[seen.train["image_id"], name]
        regressor = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
        regressor.fit(learned[known.notna()], known.dropna())
        real, drawn = (
            explained(captions.told(facts.loc[ids], of_corpus, cuts)[name], regressor.predict(looked), views)
            for ids, looked, views in (
                (list(seen.validation["image_id"]), checked, facts.loc[seen.validation["image_id"], "view"]),
                (chosen, invented, facts.loc[chosen, "view"]),
            )
        )
        rows += [(name, scope, real[scope], drawn[scope]) for scope in real]
    return pd.DataFrame(rows, columns=["attribute", "scope", "real", "sampled"])


def _samples(
    audit: Audit, base: StableDiffusionPipeline, metadata: Path, corpus: Path, chosen: list[str]
) -> NDArray[np.uint8]:
    """A sample of the base model for the caption of each image in ``chosen``."""
    described = captions.describe(metadata, corpus)
    seeds = [seed_for("audit", index) for index in range(len(chosen))]
    return draw(base, plain([described[image] for image in chosen], seeds), audit.sampling)


if __name__ == "__main__":
    run(audit)
