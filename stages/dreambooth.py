"""One fine-tuned model: a finding's reserved token learned from a handful of radiographs.

In: manifest, votes, boxes, metadata, the trial's split, the base model. Out: a pipeline or LoRA and its lineage (every
radiograph that taught it or its base model); in the log directory losses and sample grids.
"""

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
from raremix.generator.dreambooth import Captioned, DreamBoothTraining, check_parts, fine_tune
from raremix.generator.sample import Sampling, draw, plain
from raremix.runtime import processes
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import Precision, device, one_core
from raremix.runtime.errors import UserError
from raremix.runtime.files import copy
from raremix.runtime.seeds import seed_for
from stages.cli import run

GRID = 8  # images in a sample grid's row


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


@one_core()
def dreambooth(
    dreambooth: Dreambooth,
    finding: str,
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
    """Teach the base model one finding, from the trial's shots of it."""
    processes.begin()
    check_parts(dreambooth.training)
    rows = read_manifest(manifest)
    known([finding], findings_of(rows), "study.findings")
    known(dreambooth.initializers, findings_of(rows), "dreambooth.initializers")
    marks = read_votes(votes, rows)
    training = training_rows(rows, read_trial(splits / f"trial{trial}.csv"), shots)
    count = None if dreambooth.instances == "all" else dreambooth.instances
    marked = read_boxes(boxes)
    instances = choose(training, marks, marked, finding, trial, count)
    normal = ordinary(training, marks, trial, dreambooth.prior.images)
    learned_from = {
        "instance": list(instances["image_id"]),
        "prior": list(normal["image_id"]) if dreambooth.prior.source == "real" else [],
        "corpus": list(read_lineage(pipeline)["image_id"]),
    }
    for images_of_role in learned_from.values():
        check_lineage(images_of_role, set(training["image_id"]), f"params.yaml, dreambooth: the model of '{finding}'")
    described = captions.describe(metadata, splits / "corpus.csv")
    related = dreambooth.initializers.get(finding)
    model = tuned.prepare(
        pipeline, captions.token(finding), captions.token(related) if related else None, dreambooth.lora_rank
    )
    name = f"{finding}-{shots}-{trial}"

    listed = read_checksums(checksums)
    taught = _captioned(instances, finding, described, marked, listed)
    prior = _prior(dreambooth, model, [described[image] for image in normal["image_id"]], normal, name, listed)
    inputs = [dreambooth, processes.count(), manifest, votes, boxes, metadata, splits, checksums, pipeline]
    checkpoint = Checkpoint(name, *inputs)
    grids = checkpoint.directory / "grids"  # a resumed run must not have lost those drawn before; DVC empties ``log``
    shown = [f"{prior.prompts[index]} {captions.token(finding)}" for index in range(min(GRID, len(prior.prompts)))]

    def sample(step: int) -> None:
        seeds = [seed_for("dreambooth sample", name, index) for index in range(len(shown))]
        drawn = draw(model, plain(shown, seeds), dreambooth.sampling)
        images.save(images.grid(drawn, len(shown)), grids / f"step{step:05d}.png")

    losses = fine_tune(model, taught, prior, dreambooth.training, dreambooth.precision, name, checkpoint, sample)
    if not processes.first():
        return
    tuned.save(model, out, captions.token(finding), dreambooth.lora_rank)
    write_lineage(learned_from, out)
    for grid in sorted(grids.glob("*.png")):
        copy(grid, log / grid.name)
    with Live(str(log), save_dvc_exp=False, dvcyaml=None, report=None) as live:
        for loss in losses:
            live.log_metric("loss", loss)
            live.next_step()
    checkpoint.clear()


def _captioned(
    rows: pd.DataFrame, finding: str, described: dict[str, str], boxes: pd.DataFrame, checksums: Checksums
) -> Captioned:
    pixels = images.load(list(rows["file"]), checksums)
    columns = findings_of(rows)
    prompts = [
        captions.with_findings(described[row["image_id"]], [name for name in columns if row[name]])
        for row in rows.to_dict("records")
    ]
    return Captioned(pixels, prompts, box_masks(boxes, rows["image_id"], [finding], pixels.shape[-1]))


def _prior(
    dreambooth: Dreambooth,
    model: StableDiffusionPipeline,
    prompts: list[str],
    normal: pd.DataFrame,
    name: str,
    checksums: Checksums,
) -> Captioned:
    if dreambooth.prior.source == "real":
        pixels = images.load(list(normal["file"]), checksums)
    else:
        seeds = [seed_for("prior", name, index) for index in range(len(prompts))]
        pixels = draw(model.to(device()), plain(prompts, seeds), dreambooth.sampling)
    return Captioned(pixels, prompts, np.zeros(pixels.shape, np.float32))


if __name__ == "__main__":
    run(dreambooth)
