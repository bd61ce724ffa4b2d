"""Measure docs/levers.csv in a finished root run: python docs/levers.py

What each lever of the classifiers does, and what each lever of the drawing does to the classifiers, on patients that
no stage has rendered, as validation has a dozen pneumothoraces, and test has no say; docs/study.md tells what was
chosen by which figures. Images that a lever draws anew are not screened for copies.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse import get_loader
from numpy.typing import NDArray

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import load_network, probability
from raremix.classifier.recipe import recipe
from raremix.classifier.train import ClassifierTraining, Examples, train
from raremix.data import images, mix
from raremix.data.balance import needed
from raremix.data.checksums import read_checksums
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, read_synthetic
from raremix.data.phantom import cohort
from raremix.data.synthetic import negatives_of, positives, read_pool, without_copies
from raremix.data.trial import read_trial, training_rows
from raremix.diagnosis.truth import Scale, pictures
from raremix.evaluation.metrics import families, natural_weights, score_table
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import one_core
from stages.classify import Classify
from stages.cli import read_section
from stages.mix import UNSEEN, Mix
from stages.sections import Study
from stages.synthesize import Synthesize, synthesize

SEED, PATIENTS, POSITIVES = 777, 2400, 350  # beyond the study's seed
PARAMS, WORK = Path("params.yaml"), Path("scratch/levers")
TABLES = ("manifest.csv", "boxes.csv", "metadata.csv", "splits", "images.sha256")
COLUMNS = ["arm", "lever", "trial", "minority_ap", "minority_auroc", "majority_auroc"]


@dataclass(frozen=True)
class Lever:
    """A classifier that differs from the study's in one respect; without a ``name``, in none."""

    arm: str
    name: str
    draw: Callable[[], mix.Draw]  # called when its turn comes, as some draw images
    training: ClassifierTraining


class Cohort:
    """Patients who look and carry findings as the test part's do, and are weighted as nature has them."""

    def __init__(self, params: dict, study: Study, natural: NDArray[np.int64]) -> None:
        phantom, ingest = params["phantom"], params["ingest"]
        scale = Scale(phantom["seed"] + SEED, phantom["height"], ingest["size"], ingest["window"])
        table = cohort.tables(Path(params["data"]["root"]))
        people = cohort.test_part(table, scale.seed, PATIENTS, study.findings, POSITIVES, 0)
        self.pixels = pictures(people, [{}], scale)[0]
        self.labels = np.array([[int(finding in one.severities) for finding in study.findings] for one in people])
        self.weights = natural_weights(self.labels, natural)
        self.groups = families(study.findings, study.minority)

    def scores(self, model, precision: str) -> pd.DataFrame:
        found = probability(model, self.pixels, precision)
        return score_table(self.labels, found, self.groups, self.weights).set_index("finding")


def main(out: Path) -> None:
    """Write a row for each lever and trial: ``arm, lever, trial, minority_ap, minority_auroc, majority_auroc``."""
    params = get_loader("yaml")(PARAMS.read_text())
    kinds = {"study": Study, "classify": Classify, "synthesize": Synthesize, "mix": Mix}
    study, classify, drawing, mixing = (read_section(params, name, kind, PARAMS) for name, kind in kinds.items())
    rows = read_manifest(Path("data/manifest.csv"))
    people = Cohort(params, study, rows.loc[rows["official_part"] == "train", study.findings].to_numpy(np.int64))
    table = pd.DataFrame(columns=COLUMNS)
    for trial in study.trials:
        draw = _draw(study, mixing, rows, trial)
        for lever in _levers(draw, classify, drawing, findings_of(rows)):
            found = people.scores(_fit(lever, lever.draw(), classify.model), lever.training.precision)
            figures = found["ap"]["minority"], found["auroc"]["minority"], found["auroc"]["majority"]
            table.loc[len(table)] = [lever.arm, lever.name, trial, *figures]
            print(*table.iloc[-1], flush=True)
            table.to_csv(out, index=False, float_format="%.4f")  # row by row


def _draw(study: Study, mixing: Mix, rows: pd.DataFrame, trial: int) -> mix.Draw:
    """What the mix stage draws from, at the first number of shots."""
    shots, columns = study.shots[0], ["image_id", "file", *study.findings]
    divided = read_trial(Path(f"data/splits/trial{trial}.csv"))
    real = training_rows(rows, divided, shots)[columns]
    unseen = divided.loc[divided["part"].isin(UNSEEN), "image_id"]
    pool = read_pool(Path("data/synthetic"), study.findings, findings_of(rows), shots, trial, set(real["image_id"]))
    pool = without_copies(pool, Path(f"data/screened/copies-{shots}-{trial}.csv"))
    again = real.drop(columns="file").merge(pd.read_csv("data/roundtrip/manifest.csv", dtype=str), on="image_id")
    extra = rows.loc[rows["image_id"].isin(unseen), columns]
    shares = mixing.synthetic_share, mixing.real_share
    return mix.Draw(real, study.findings, pool, extra, again, *shares, mixing.without(study), shots, trial)


def _levers(draw: mix.Draw, classify: Classify, drawing: Synthesize, findings: list[str]) -> Iterator[Lever]:
    usual = classify.training
    arms = ("oversample", "dreambooth_mix", "dreambooth_balanced", "real_ceiling")
    yield from (Lever(arm, "", lambda: draw, usual) for arm in arms)
    for name, changed in _drawings(drawing):
        yield Lever("dreambooth_mix", name, partial(_redrawn, draw, changed, name, findings), usual)
    yield from (Lever(arm, "half the steps", lambda: draw, replace(usual, steps=usual.steps // 2)) for arm in arms)
    every = partial(replace, draw, denied=draw.findings)
    yield Lever("dreambooth_mix", "no finding's label left out", every, usual)
    for share in (0.0, 0.5):
        held = partial(replace, draw, real_share=share)
        yield Lever("dreambooth_mix", f"real share {share:g}", held, usual)
    for share in (0.25, 0.75):
        shared = partial(replace, draw, synthetic_share=share)
        yield Lever("dreambooth_balanced", f"synthetic share {share:g}", shared, usual)
    yield Lever("dreambooth_balanced", "the clearest half", lambda: replace(draw, pool=_clearest(draw, usual)), usual)


def _drawings(usual: Synthesize) -> Iterator[tuple[str, Synthesize]]:
    everywhere = replace(usual, guidance_limit=0.45, place=None)
    yield "everywhere, limit 0.45", everywhere
    before = replace(everywhere, sampling=replace(usual.sampling, guidance=18.0))
    yield "as before: everywhere, guidance 18, limit 0.45", before
    yield "limit 0.22", replace(usual, guidance_limit=0.22)
    yield "limit 0.45", replace(usual, guidance_limit=0.45)
    yield "strength 0.5", replace(usual, strength=0.5)
    yield "onto drawn", replace(usual, onto="drawn")


def _redrawn(draw: mix.Draw, drawing: Synthesize, name: str, findings: list[str]) -> mix.Draw:
    """``draw`` with images of the same models, drawn in another way."""
    pool = dict(draw.pool)
    tables = [Path("data") / name for name in TABLES]
    for finding in (finding for finding, lacking in needed(draw.real[draw.findings]).items() if lacking):
        key = f"{finding}-{draw.shots}-{draw.trial}"
        model, here = Path("models/dreambooth") / key, WORK / name.replace(" ", "_") / key
        outs = here / "images", here / "table", here / "picture"
        synthesize(drawing, finding, draw.shots, draw.trial, *tables, Path("models/base"), model, *outs)
        pool[finding] = read_synthetic(here / "table" / "manifest.csv", findings)
    return replace(draw, pool=pool)


def _clearest(draw: mix.Draw, training: ClassifierTraining) -> dict[str, pd.DataFrame]:
    """Of each checkpoint's pairs the half in which a classifier that knows real images alone sees the finding best."""
    judge, _ = load_network(Path(f"results/classify/oversample-{draw.shots}-{draw.trial}"))
    kept = {}
    for place, (finding, rows) in enumerate(draw.pool.items()):
        first = positives(rows)
        digests = dict(zip(rows["file"], rows["sha256"], strict=True))
        seen = [
            probability(judge, images.load(list(kind["file"]), digests), training.precision)[:, place]
            for kind in (first, negatives_of(rows, first))
        ]
        odds = [np.log(one.clip(1e-6, 1 - 1e-6) / (1 - one.clip(1e-6, 1 - 1e-6))) for one in seen]
        best = first.iloc[np.sort(np.argsort(odds[1] - odds[0], kind="stable")[: len(first) // 2])]
        kept[finding] = pd.concat([best, negatives_of(rows, best)])
    return kept


def _fit(lever: Lever, draw: mix.Draw, network: str):  # type: ignore[no-untyped-def]
    rows = mix.build(lever.arm, draw)
    digests = read_checksums(Path("data/images.sha256")) | {
        file: digest
        for table in (*draw.pool.values(), draw.rebuilt)
        for file, digest in zip(table["file"], table["sha256"], strict=True)
    }
    labels = rows[draw.findings].to_numpy(np.float32)
    draws = (rows[phase].to_numpy(np.float64) for phase in ("weight", "late"))
    examples = Examples(images.load(list(rows["file"]), digests), labels, *draws)
    backbone = Path("models/backbone.safetensors")
    start = from_backbone(network, labels.shape[1], backbone, draw.trial)
    seed = f"{draw.shots}-{draw.trial}"
    checkpoint = Checkpoint("lever", lever.arm, lever.training, rows.to_csv(), sorted(digests.items()), backbone)
    with one_core():
        model, _ = train(start, examples, lever.training, seed, checkpoint, recipe(lever.arm))
    checkpoint.clear()
    return model


if __name__ == "__main__":
    main(Path(__file__).parent / "levers.csv")
