"""A trial's fine-tuned models, one a finding: its reserved token learned from a handful of radiographs.

In: manifest, votes, boxes, metadata, the trial's split, the base model, which is loaded once. Out, in a folder a
finding: a pipeline or LoRA and its lineage (every radiograph that taught it or its base model); in the log directory
losses and sample grids.
"""

import gc
import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from dvclive import Live
from jsonargparse.typing import PositiveInt

from raremix.data import captions, images
from raremix.data.checksums import Checksums, read_checksums
from raremix.data.findings import known
from raremix.data.instances import box_masks, choose, ordinary
from raremix.data.lineage import check_lineage, read_lineage, write_lineage
from raremix.data.manifest import findings as findings_of
from raremix.data.manifest import read_boxes, read_manifest, read_votes
from raremix.data.trial import read_trial, training_rows
from raremix.generator import tuned
from raremix.generator.base import load
from raremix.generator.dreambooth import Captioned, DreamBoothTraining, check_parts, fine_tune
from raremix.generator.sample import Sampling, draw, plain
from raremix.runtime import processes
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, device, one_core
from raremix.runtime.errors import UserError
from raremix.runtime.files import copy, discard, give
from raremix.runtime.seeds import seed_for
from stages.cli import run
from stages.sections import Study

GRID = 8  # images in a sample grid's row
MODEL, LOG = "model", "log"


@dataclass(frozen=True)
class Prior:
    """The radiographs that keep the model from forgetting what ordinary ones look like."""

    source: Literal["real", "generated"]
    images: PositiveInt


@dataclass(frozen=True)
class Dreambooth:
    """DreamBooth's protocol."""

    instances: PositiveInt | Literal["all"]
    lora_rank: PositiveInt | None  # null fine-tunes the whole UNet
    initializers: dict[str, str]  # finding -> the finding known to the base model whose embedding its token starts from
    prior: Prior
    precision: Precision
    training: DreamBoothTraining
    sampling: Sampling  # of sample grids and generated prior images

    def __post_init__(self) -> None:
        if self.lora_rank is not None and self.training.text_encoder:
            raise UserError("params.yaml, dreambooth.training.text_encoder: a LoRA is of the UNet alone; say false")


@dataclass(frozen=True)
class _Lesson:
    """What one finding's model learns from."""

    finding: str
    name: str
    instances: pd.DataFrame
    ordinary: pd.DataFrame
    learned_from: dict[str, list[str]]  # image ids by role


@dataclass(frozen=True)
class _Materials:
    """What all of a trial's models have in common."""

    base: StableDiffusionPipeline
    described: dict[str, str]  # caption by image id
    boxes: pd.DataFrame
    checksums: Checksums


@one_core()
def dreambooth(
    study: Study,
    dreambooth: Dreambooth,
    shots: int,
    trial: int,
    manifest: Path,
    votes: Path,
    boxes: Path,
    metadata: Path,
    splits: Path,
    checksums: Path,
    pipeline: Path,
    out: Path,
    log: Path,
) -> None:
    """Teach copies of the base model a finding each, from the trial's shots of it."""
    processes.begin()
    check_parts(dreambooth.training)
    rows = read_manifest(manifest)
    known(study.synthesized, findings_of(rows), "study.synthesized")
    known(dreambooth.initializers, findings_of(rows), "dreambooth.initializers")
    marks, marked = read_votes(votes, rows), read_boxes(boxes)
    training = training_rows(rows, read_trial(splits / f"trial{trial}.csv"), shots)
    corpus = list(read_lineage(pipeline)["image_id"])
    lessons = [
        _lesson(dreambooth, finding, shots, trial, training, marks, marked, corpus) for finding in study.synthesized
    ]
    described, listed = captions.describe(metadata, splits / "corpus.csv"), read_checksums(checksums)
    materials = _Materials(load(pipeline), described, marked, listed)
    inputs = Checkpoint(dreambooth, processes.count(), manifest, votes, boxes, metadata, splits, checksums, pipeline)
    made = {lesson.finding: _made(dreambooth, lesson, materials, inputs.directory.name) for lesson in lessons}
    processes.wait()  # the first is to take nothing away that others still look for
    if processes.first():
        for finding, folder in made.items():
            give(folder / MODEL, out / finding)
            give(folder / LOG, log / finding)
        for folder in made.values():
            discard(folder)


def _lesson(
    dreambooth: Dreambooth,
    finding: str,
    shots: int,
    trial: int,
    training: pd.DataFrame,
    marks: pd.DataFrame,
    boxes: pd.DataFrame,
    corpus: list[str],
) -> _Lesson:
    count = None if dreambooth.instances == "all" else dreambooth.instances
    instances = choose(training, marks, boxes, finding, trial, count)
    normal = ordinary(training, marks, trial, dreambooth.prior.images)
    learned_from = {
        "instance": list(instances["image_id"]),
        "prior": list(normal["image_id"]) if dreambooth.prior.source == "real" else [],
        "corpus": corpus,
    }
    for images_of_role in learned_from.values():
        check_lineage(images_of_role, set(training["image_id"]), f"params.yaml, dreambooth: the model of '{finding}'")
    return _Lesson(finding, f"{finding}-{shots}-{trial}", instances, normal, learned_from)


def _made(dreambooth: Dreambooth, lesson: _Lesson, materials: _Materials, inputs: str) -> Path:
    """Where a finding's model and its log wait for those of the others, so that a kill costs none that is done."""
    checkpoint = Checkpoint(lesson.name, inputs)
    if not checkpoint.made.is_dir():
        _teach(dreambooth, lesson, materials, checkpoint)
        gc.collect()  # models refer to themselves in circles, and so would keep a GPU's memory from the next one
    if processes.first():
        checkpoint.clear()
    return checkpoint.made


def _teach(dreambooth: Dreambooth, lesson: _Lesson, materials: _Materials, checkpoint: Checkpoint) -> None:
    """Fine-tune a copy of the base model; the first process writes what it has made, whole or not at all."""
    token, related = captions.token(lesson.finding), dreambooth.initializers.get(lesson.finding)
    initializer = captions.token(related) if related else None
    model = tuned.prepare(deepcopy(materials.base), token, initializer, dreambooth.lora_rank)
    taught = _captioned(lesson, materials)
    prior = _prior(dreambooth, model, lesson, materials)
    grids = checkpoint.directory / "grids"
    shown = [f"{prior.prompts[index]} {token}" for index in range(min(GRID, len(prior.prompts)))]

    def sample(step: int) -> None:
        seeds = [seed_for("dreambooth sample", lesson.name, index) for index in range(len(shown))]
        drawn = draw(model, plain(shown, seeds), dreambooth.sampling)
        images.save(images.grid(drawn, len(shown)), grids / f"step{step:05d}.png")

    losses = fine_tune(model, taught, prior, dreambooth.training, dreambooth.precision, lesson.name, checkpoint, sample)
    if not processes.first():
        return
    part = checkpoint.made.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    tuned.save(model, part / MODEL, token, dreambooth.lora_rank)
    write_lineage(lesson.learned_from, part / MODEL)
    for grid in sorted(grids.glob("*.png")):
        copy(grid, part / LOG / grid.name)
    with Live(str(part / LOG), save_dvc_exp=False, dvcyaml=None, report=None) as live:
        for loss in losses:
            live.log_metric("loss", loss)
            live.next_step()
    part.rename(checkpoint.made)


def _captioned(lesson: _Lesson, materials: _Materials) -> Captioned:
    """The instances, with prompts of all that they carry."""
    rows = lesson.instances
    pixels = images.load(list(rows["file"]), materials.checksums)
    columns = findings_of(rows)
    prompts = [
        captions.with_findings(materials.described[row["image_id"]], [name for name in columns if row[name]])
        for row in rows.to_dict("records")
    ]
    masks = box_masks(materials.boxes, rows["image_id"], [lesson.finding], pixels.shape[-1])
    return Captioned(pixels, prompts, masks)


def _prior(dreambooth: Dreambooth, model: StableDiffusionPipeline, lesson: _Lesson, materials: _Materials) -> Captioned:
    """Ordinary radiographs, or as many images of the ``model`` before it has learned anything."""
    prompts = [materials.described[image] for image in lesson.ordinary["image_id"]]
    if dreambooth.prior.source == "real":
        pixels = images.load(list(lesson.ordinary["file"]), materials.checksums)
    else:
        seeds = [seed_for("prior", lesson.name, index) for index in range(len(prompts))]
        pixels = draw(model.to(device()), plain(prompts, seeds), dreambooth.sampling)
    return Captioned(pixels, prompts, np.zeros(pixels.shape, np.float32))


if __name__ == "__main__":
    run(dreambooth)
