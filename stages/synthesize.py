"""A trial's synthetic radiographs of each finding, and the same ones prompted without it.

In: the trial's fine-tuned models, the captions of the base corpus, the plan of the label sets that the mixes need, and
the boxes of the radiographs that train, which tell where a finding may be. Out, in a folder a finding: PNGs; in a
folder of their own, so that later stages need not look at every image, their manifest with checksums, the rest of their
recipe and their model's lineage; a picture of the real instances beside synthetic ones.

A pair is as it was drawn, or it is the radiograph that both its images start from, without and with the finding: what
the token changes is then laid over that radiograph (``synthesize.onto``).
"""

import gc
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from numpy.typing import NDArray

from raremix.data import captions, images
from raremix.data.checksums import Checksums, read_checksums
from raremix.data.label_sets import in_order, label_sets, read_plan
from raremix.data.lineage import FILE as LINEAGE
from raremix.data.lineage import read_lineage
from raremix.data.manifest import SYNTHETIC, read_boxes, read_manifest, write_csv
from raremix.data.manifest import findings as findings_of
from raremix.data.places import marked, places
from raremix.data.trial import read_trial, training_rows
from raremix.data.views import Views
from raremix.generator import tuned
from raremix.generator.effect import laid_over
from raremix.generator.sample import Order, Sampler, Sampling, draw_all, set_up, skipped
from raremix.runtime import processes
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import device, one_core
from raremix.runtime.errors import UserError
from raremix.runtime.files import copy, sha256
from raremix.runtime.seeds import generator, seed_for
from stages.cli import run
from stages.sections import Study

GRID = 8  # images in a row of the picture
RECIPE = ["image_id", "negative_prompt", "guidance_limit", "strength", "onto", "original", "place", "reader"]


@dataclass(frozen=True)
class Synthesize:
    """How images are sampled."""

    least: PositiveInt  # images of each finding, where the mixes need fewer
    strength: ClosedUnitInterval  # 1 starts from pure noise, less from a noised radiograph of the base model's corpus
    onto: Literal["drawn", "original"]  # leave a pair as it is drawn, or lay its difference over that radiograph
    negative_prompt: Literal["empty", "without_finding"]  # what guidance leads away from
    guidance_limit: PositiveFloat | None  # how far it leads at most, in norms of the unguided prediction
    place: Views | None  # it leads there alone where a reader marked one that trains, moved so; null: everywhere
    sampler: Sampler
    compiled: bool  # torch.compile of the UNet; it pays where its kernels are small and images are many
    sampling: Sampling

    def __post_init__(self) -> None:
        skipped(self.sampling, self.strength)
        if self.onto == "original" and self.strength == 1:
            raise UserError(
                "params.yaml, synthesize.onto: at a strength of 1 images start from noise and have no original; say "
                "drawn, or lower synthesize.strength"
            )
        if self.place is not None and (self.negative_prompt != "without_finding" or self.sampling.guidance <= 1):
            raise UserError(
                "params.yaml, synthesize.place: only guidance away from images without the finding leads to a place; "
                "say without_finding as synthesize.negative_prompt and give synthesize.sampling.guidance above 1, or "
                "say null"
            )


@dataclass(frozen=True)
class _Task:
    """What is to be drawn with one finding's model, and what it starts from."""

    finding: str
    plan: pd.DataFrame  # a row an image
    marks: list[pd.DataFrame]  # where readers marked the finding; none where it is drawn everywhere
    model: Path
    instances: list[str]  # the radiographs that taught it, by id
    checkpoint: Checkpoint

    @property
    def files(self) -> list[Path]:
        """Where the images are drawn, so that what is killed goes on."""
        return [self.checkpoint.directory / "images" / f"{image}.png" for image in self.plan["image_id"]]


@one_core()
def synthesize(
    study: Study,
    synthesize: Synthesize,
    shots: int,
    trial: int,
    manifest: Path,
    boxes: Path,
    metadata: Path,
    splits: Path,
    checksums: Path,
    pipeline: Path,
    models: Path,
    drawn: Path,
    out: Path,
    log: Path,
) -> None:
    """Sample pairs of images that share seed and caption: one with a finding's token, one without."""
    processes.begin()
    rows, listed = read_manifest(manifest), read_checksums(checksums)
    split, marked_boxes = splits / f"trial{trial}.csv", read_boxes(boxes)
    training = training_rows(rows, read_trial(split), shots)
    inputs = Checkpoint(synthesize, manifest, boxes, metadata, splits / "corpus.csv", split, checksums, pipeline)
    tasks = []
    for finding in study.synthesized:
        sets = read_plan(splits / f"plan-{shots}-{trial}.csv", finding)
        name, model = f"{finding}-{shots}-{trial}", models / finding
        lineage = read_lineage(model)
        plan = _plan(synthesize, name, finding, trial, sets, rows, metadata, splits)
        marks = marked(training, marked_boxes, finding, trial) if synthesize.place else []
        checkpoint = Checkpoint("synthesize", name, sets.to_csv(), model, inputs.directory.name)
        instances = list(lineage.loc[lineage["role"] == "instance", "image_id"])
        tasks.append(_Task(finding, plan, marks, model, instances, checkpoint))
    for task in tasks:
        gc.collect()  # a compiled network holds itself, and a GPU may have room for one
        _draw(synthesize, task, trial, rows, listed, pipeline, drawn, out, log)
    if processes.first():
        for task in tasks:
            task.checkpoint.clear()


def _draw(
    synthesize: Synthesize,
    task: _Task,
    trial: int,
    rows: pd.DataFrame,
    listed: Checksums,
    pipeline: Path,
    drawn: Path,
    out: Path,
    log: Path,
) -> None:
    """Draw one finding's images; the first process writes them, their tables and the picture."""
    plan, finding, files = task.plan, task.finding, task.files
    starts = list(rows.set_index("image_id").loc[plan["original"], "file"])
    originals = images.load(starts, listed) if synthesize.strength < 1 else None
    inside = _place(synthesize, task, trial, images.load(starts[:1], listed).shape[-1])
    made = tuned.load_tuned(pipeline, task.model, captions.token(finding)).to(device())
    set_up(made, synthesize.sampler, synthesize.compiled)
    order = Order(list(plan["prompt"]), list(plan["negative_prompt"]), list(plan["seed"]), originals, inside)
    draw_all(made, order, files, synthesize.sampling, synthesize.strength, synthesize.guidance_limit)
    if not processes.first():
        return
    shutil.rmtree(drawn / finding, ignore_errors=True)
    for file in files:
        copy(file, drawn / finding / file.name)
    plan["file"] = [str(drawn / finding / file.name) for file in files]
    if synthesize.onto == "original" and originals is not None:
        _lay_over(originals, plan["file"], inside)
    _tell(plan, synthesize, task.instances, task.model)
    copy(task.model / LINEAGE, out / finding / LINEAGE)
    write_csv(plan[RECIPE], out / finding / "recipe.csv")
    write_csv(plan[[*SYNTHETIC, *findings_of(rows)]], out / finding / "manifest.csv")
    _picture(rows.set_index("image_id").loc[task.instances, "file"], plan, finding, listed, log / finding)


def _place(synthesize: Synthesize, task: _Task, trial: int, size: int) -> NDArray[np.float32] | None:
    """Where in each image of the plan the token leads, ``[n, size, size]``, the same in a pair; None is everywhere.

    Adds to the plan the radiograph that it was marked in, and the reader.
    """
    plan = task.plan
    if synthesize.place is None:
        plan["place"] = plan["reader"] = ""
        return None
    found = places(task.marks, task.finding, trial, len(plan) // 2, size, synthesize.place)
    plan["place"], plan["reader"] = found.images * 2, found.readers * 2
    return np.concatenate([found.inside] * 2)


def _lay_over(originals: NDArray[np.uint8], files: "pd.Series[str]", inside: NDArray[np.float32] | None) -> None:
    """Replace each pair among the ``files``, positives first, by its original with what the token changes, and without.

    ``originals`` and ``inside`` are those of the files ``[n, side, side]``.
    """
    for index, pair in enumerate(zip(*np.split(files.to_numpy(), 2), strict=True)):
        with_it, without = images.load(pair, {file: sha256(Path(file)) for file in pair})
        place = None if inside is None else inside[index]
        images.save(laid_over(originals[index], with_it, without, place), Path(pair[0]))
        images.save(originals[index], Path(pair[1]))


def _tell(plan: pd.DataFrame, synthesize: Synthesize, instances: list[str], model: Path) -> None:
    """Add to the ``plan`` how its images came about, and their checksums."""
    plan["strength"], plan["onto"] = synthesize.strength, synthesize.onto
    if synthesize.strength == 1:
        plan["original"] = ""
    started = plan[["original", "place"]].itertuples(index=False)
    plan["parents"] = ["|".join(dict.fromkeys([*instances, *filter(None, row)])) for row in started]
    plan["model_sha256"] = tuned.fingerprint(model)
    plan["sampler"], plan["steps"] = synthesize.sampler, synthesize.sampling.steps
    guided = plan["prompt"] != plan["negative_prompt"]
    plan["guidance"] = guided.map({True: synthesize.sampling.guidance, False: 1.0})
    plan["guidance_limit"] = synthesize.guidance_limit
    plan["sha256"] = [sha256(Path(file)) for file in plan["file"]]


def _plan(
    synthesize: Synthesize,
    name: str,
    finding: str,
    trial: int,
    sets: pd.DataFrame,
    rows: pd.DataFrame,
    metadata: Path,
    splits: Path,
) -> pd.DataFrame:
    """A row per image to make, the positives first: image_id, original, prompts, seed, findings it is prompted with."""
    columns = findings_of(rows)
    labels = rows.set_index("image_id")[columns]
    described = captions.describe(metadata, splits / "corpus.csv")
    corpus = labels.loc[captions.corpus_ids(splits / "corpus.csv")]
    having = {name: list(of.index) for name, of in corpus.groupby(label_sets(corpus, columns))}
    count = max(int(sets["images"].sum()), synthesize.least)
    order = in_order(sets, count, generator("label_sets", finding, trial))
    plan = []
    for kind in ("pos", "neg"):
        for index, label_set in enumerate(order):
            originals = having[label_set]
            model_of = originals[generator("caption", finding, trial, index).integers(len(originals))]
            others = labels.loc[model_of].to_dict() | {finding: 0}
            carried = others | {finding: int(kind == "pos")}
            prompt, without = (
                captions.with_findings(described[model_of], [column for column in columns if labelled[column]])
                for labelled in (carried, others)
            )
            row = {
                "image_id": f"{name}-{index:05d}-{kind}",
                "original": model_of,
                "prompt": prompt,
                "negative_prompt": without if synthesize.negative_prompt == "without_finding" else "",
                "seed": seed_for("synthesize", finding, trial, index),
            }
            plan.append(row | carried)
    return pd.DataFrame(plan)


def _picture(real: "pd.Series[str]", plan: pd.DataFrame, finding: str, checksums: Checksums, log: Path) -> None:
    """The files of real instances above synthetic positives above their pairs without the finding."""
    shown = [list(real)[index % len(real)] for index in range(GRID)]
    for value in (1, 0):
        shown += list(plan.loc[plan[finding] == value, "file"][:GRID])
    known = {**checksums, **dict(zip(plan["file"], plan["sha256"], strict=True))}
    images.save(images.grid(images.load(shown, known), GRID), log / "real_positive_negative.png")


if __name__ == "__main__":
    run(synthesize)
