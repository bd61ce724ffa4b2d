"""Measure docs/levers.csv in a finished root run: python docs/levers.py

What each lever of dreambooth_mix, and then of the drawing, does to its classifiers, on patients that no stage has
rendered, as validation has a dozen pneumothoraces, and test has no say; docs/choices.md tells what was chosen by which
figures. Images that a lever draws anew are sifted, but not screened for copies. As many classifiers are at work as
there are cores. What was stopped goes on; remove the table to measure all of it anew.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from jsonargparse import get_loader

from raremix.classifier.model import from_backbone
from raremix.classifier.predict import load_network, probability
from raremix.classifier.recipe import recipe
from raremix.classifier.train import Examples, train
from raremix.data import images, mix
from raremix.data.balance import needed
from raremix.data.checksums import read_checksums
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_manifest, read_synthetic
from raremix.data.phantom import cohort
from raremix.data.synthetic import clearest, digests, read_gains, read_pool, without_copies
from raremix.data.trial import read_trial, training_rows
from raremix.diagnosis.truth import Scale, pictures
from raremix.evaluation.metrics import families, natural_weights, score_table
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.cores import cores
from raremix.runtime.device import one_core
from raremix.runtime.errors import UserError
from stages.classify import Classify
from stages.cli import leave, read_section
from stages.mix import UNSEEN, Mix, Sift
from stages.sections import Study
from stages.sift import ARM, gains, taught
from stages.synthesize import Synthesize, synthesize

SEED, PATIENTS, POSITIVES = 777, 2400, 350  # beyond the study's seed
TRIALS = 3
PARAMS, WORK, BACKBONE = Path("params.yaml"), Path("scratch/levers"), Path("models/backbone.safetensors")
TABLES = ("manifest.csv", "boxes.csv", "metadata.csv", "splits", "images.sha256")
WHICH, METRICS = ["arm", "lever", "trial"], ["minority_ap", "minority_auroc", "majority_auroc"]
COLUMNS = WHICH + METRICS
ROUNDED = 1e-4  # what figures of the table may differ by from those it was written from


@dataclass(frozen=True)
class Lever:
    """A dreambooth_mix that differs from the study's in one respect."""

    name: str
    draw: Callable[[], mix.Draw]  # called when its turn comes, as some draw images


class Cohort:
    """Patients who look and carry findings as the test part's do, and are weighted as nature has them."""

    def __init__(self, params: dict, study: Study, rows: pd.DataFrame) -> None:
        phantom, ingest = params["phantom"], params["ingest"]
        scale = Scale(phantom["seed"] + SEED, phantom["height"], ingest["size"], ingest["window"])
        table = cohort.tables(Path(params["data"]["root"]))
        people = cohort.test_part(table, scale.seed, PATIENTS, study.findings, POSITIVES, 0)
        self.pixels = pictures(people, [{}], scale)[0]
        self.labels = np.array([[int(finding in one.severities) for finding in study.findings] for one in people])
        natural = rows.loc[rows["official_part"] == "train", study.findings].to_numpy(np.int64)
        self.weights = natural_weights(self.labels, natural)
        self.groups = families(study.findings, study.minority)

    def scores(self, model, precision: str) -> list[float]:
        """What ``COLUMNS`` end with."""
        found = probability(model, self.pixels, precision)
        table = score_table(self.labels, found, self.groups, self.weights).set_index("finding")
        return [table["ap"]["minority"], table["auroc"]["minority"], table["auroc"]["majority"]]


def main(out: Path) -> None:
    """Write a row for each lever and trial: ``arm, lever, trial, minority_ap, minority_auroc, majority_auroc``.

    Rows that ``out`` has are kept. UserError where the study's own are not those of this run.
    """
    params = get_loader("yaml")(PARAMS.read_text())
    kinds = {"study": Study, "classify": Classify, "synthesize": Synthesize, "mix": Mix, "sift": Sift}
    study, classify, drawing, mixing, sifting = (read_section(params, *kind, PARAMS) for kind in kinds.items())
    rows = read_manifest(Path("data/manifest.csv"))
    people = Cohort(params, study, rows)
    trials = study.trials[:TRIALS]
    table = _begun(out, pd.DataFrame(_as_in_the_study(people, study, trials), columns=COLUMNS))
    measured = set(zip(table["lever"], table["trial"], strict=True))
    draws = [_draw(study, mixing, rows, trial) for trial in trials]
    levers = [(draw, lever) for draw in draws for lever in _mixes(draw, sifting.kept)]
    judge = taught(classify, sifting)
    levers += [
        (draw, Lever(name, partial(_redrawn, draw, study, changed, name, findings_of(rows), judge, sifting.kept)))
        for name, changed in _drawings(drawing)
        for draw in draws
    ]
    missing = [(draw.trial, lever) for draw, lever in levers if (lever.name, draw.trial) not in measured]
    work = Parallel(n_jobs=cores(), return_as="generator")
    for row in work(delayed(_row)(people, trial, lever, classify) for trial, lever in missing):
        table.loc[len(table)] = row
        print(*row, flush=True)
        table.to_csv(out, index=False, float_format="%.4f")  # row by row


def _begun(out: Path, study: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``out``, or the ``study``'s own where there is no such file."""
    if not out.exists():
        return study
    table = pd.read_csv(out, keep_default_na=False)
    own = table[: len(study)]
    if not own[WHICH].equals(study[WHICH]) or not np.allclose(own[METRICS], study[METRICS], atol=ROUNDED):
        raise UserError(f"{out}: its first rows are not this run's; remove it to measure all levers anew")
    return table


def _as_in_the_study(people: Cohort, study: Study, trials: list[int]) -> Iterator[list[str | float]]:
    for arm in ("oversample", ARM, "real_ceiling"):
        for trial in trials:
            network, config = load_network(Path(f"results/classify/{arm}-{study.shots[0]}-{trial}"))
            yield [arm, "", trial, *people.scores(network, config["precision"])]


def _row(people: Cohort, trial: int, lever: Lever, classify: Classify) -> list[str | float]:
    model = _fit(lever.draw(), classify)
    with one_core():
        return [ARM, lever.name, trial, *people.scores(model, classify.training.precision)]


def _draw(study: Study, mixing: Mix, rows: pd.DataFrame, trial: int) -> mix.Draw:
    """What the mix stage draws from, at the first number of shots, before anything is sifted out."""
    shots, columns = study.shots[0], ["image_id", "file", *study.findings]
    divided = read_trial(Path(f"data/splits/trial{trial}.csv"))
    real = training_rows(rows, divided, shots)[columns]
    unseen = divided.loc[divided["part"].isin(UNSEEN), "image_id"]
    pool = read_pool(
        Path("data/synthetic"),
        study.synthesized,
        study.findings,
        findings_of(rows),
        shots,
        trial,
        set(real["image_id"]),
    )
    pool = without_copies(pool, Path(f"data/screened/copies-{shots}-{trial}.csv"))
    again = real.drop(columns="file").merge(pd.read_csv("data/roundtrip/manifest.csv", dtype=str), on="image_id")
    extra = rows.loc[rows["image_id"].isin(unseen), columns]
    shares = mixing.synthetic_share, mixing.real_share
    return mix.Draw(real, study.findings, pool, extra, again, *shares, mixing.without(study), shots, trial)


def _mixes(everything: mix.Draw, kept: float) -> Iterator[Lever]:
    """Of the images as they are drawn."""
    for share in (0.25, 0.75, 1.0):
        yield Lever(f"kept {share:g}", partial(_sifted, everything, share))
    draw = _sifted(everything, kept)
    for held in (0.0, 0.5):
        yield Lever(f"real share {held:g}", partial(replace, draw, real_share=held))
    yield Lever("no finding's label left out", partial(replace, draw, denied=draw.findings))


def _sifted(everything: mix.Draw, share: float) -> mix.Draw:
    gains = read_gains(Path(f"data/sifted/{everything.shots}-{everything.trial}.csv"), everything.pool)
    return replace(everything, pool=clearest(everything.pool, gains, share))


def _drawings(usual: Synthesize) -> Iterator[tuple[str, Synthesize]]:
    yield "onto drawn", replace(usual, onto="drawn")
    yield "everywhere", replace(usual, place=None)
    yield "guidance 18", replace(usual, sampling=replace(usual.sampling, guidance=18.0))
    for limit in (0.22, 0.45):
        yield f"limit {limit:g}", replace(usual, guidance_limit=limit)


def _redrawn(
    draw: mix.Draw,
    study: Study,
    drawing: Synthesize,
    name: str,
    findings: list[str],
    judge: Classify,
    share: float,
) -> mix.Draw:
    """``draw`` with images of the same models, drawn in another way, and sifted."""
    trial, tables = f"{draw.shots}-{draw.trial}", [Path("data") / table for table in TABLES]
    lacking = [finding for finding, lacks in needed(draw.real[draw.findings]).items() if lacks]
    needing = replace(study, arms=[ARM], synthesized=lacking)
    models = Path("models/base"), Path("models/dreambooth") / trial
    outs = [WORK / name.replace(" ", "_") / out / trial for out in ("images", "tables", "pictures")]
    synthesize(needing, drawing, draw.shots, draw.trial, *tables, *models, *outs)
    again = {finding: read_synthetic(outs[1] / finding / "manifest.csv", findings) for finding in lacking}
    pool = dict(draw.pool) | again
    drawn = replace(draw, pool=pool)
    with one_core():
        found = gains(drawn, judge, read_checksums(Path("data/images.sha256")), BACKBONE)
    return replace(drawn, pool=clearest(pool, found.set_index("image_id")["gain"], share))


def _fit(draw: mix.Draw, classify: Classify):  # type: ignore[no-untyped-def]
    rows = mix.build(ARM, draw)
    listed = read_checksums(Path("data/images.sha256")) | digests(draw.pool.values())
    labels = rows[draw.findings].to_numpy(np.float32)
    draws = (rows[phase].to_numpy(np.float64) for phase in ("weight", "late"))
    examples = Examples(images.load(list(rows["file"]), listed), labels, *draws)
    start = from_backbone(classify.model, labels.shape[1], BACKBONE, draw.trial)
    seed = f"{draw.shots}-{draw.trial}"
    checkpoint = Checkpoint("lever", classify, rows.to_csv(), sorted(listed.items()), BACKBONE)
    with one_core():
        model, _ = train(start, examples, classify.training, seed, checkpoint, recipe(ARM))
    checkpoint.clear()
    return model


if __name__ == "__main__":
    try:
        main(Path(__file__).parent / "levers.csv")
    except UserError as error:
        leave(str(error), 2)
