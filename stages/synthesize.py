"""Synthetic radiographs of one finding, and the same ones prompted without it.

In: a fine-tuned model, the captions of the base corpus, and how many images the mixes need. Out: PNGs with a manifest,
and a picture of the real instances beside synthetic ones.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from raremix.data import captions, images
from raremix.data.manifest import SYNTHETIC, read_manifest, write_csv
from raremix.data.manifest import findings as findings_of
from raremix.generator import tuned
from raremix.generator.sample import Sampling, draw_all
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import device
from raremix.runtime.files import sha256
from raremix.runtime.seeds import generator, seed_for
from stages.cli import run

GRID = 8  # images in a row of the picture


@dataclass(frozen=True)
class Synthesize:
    """How images are sampled."""

    least: int  # images of each finding, where the mixes need fewer
    batch: int
    strength: float  # 1 starts from pure noise; less starts from a noised radiograph of the base model's corpus
    sampling: Sampling


def synthesize(
    synthesize: Synthesize,
    finding: str,
    shots: int,
    trial: int,
    manifest: Path,
    metadata: Path,
    splits: Path,
    pipeline: Path,
    model: Path,
    out: Path,
    log: Path,
) -> None:
    """Sample pairs of images that share seed and caption: one with the finding's token, one without."""
    rows = read_manifest(manifest)
    name = f"{finding}-{shots}-{trial}"
    instances = pd.read_csv(model / "instances.csv", dtype=str)
    plan = _plan(synthesize, name, finding, trial, _needed(splits, shots, trial, finding), rows, metadata, splits)
    made = tuned.load_tuned(pipeline, model, captions.token(finding)).to(device())
    checkpoint = Checkpoint("synthesize", name, synthesize, manifest, metadata, splits / "corpus.csv", model)
    folder = checkpoint.directory / "images"
    originals = images.load(rows.set_index("image_id").loc[plan["original"], "file"])
    files = [folder / f"{image}.png" for image in plan["image_id"]]
    prompts, seeds = list(plan["prompt"]), list(plan["seed"])
    draw_all(made, prompts, seeds, files, synthesize.sampling, synthesize.batch, originals, synthesize.strength)
    out.mkdir(parents=True, exist_ok=True)
    folder.replace(out / "images")
    plan["file"] = [str(out / "images" / f"{image}.png") for image in plan["image_id"]]
    plan["parents"] = "|".join(instances["image_id"])
    if synthesize.strength < 1:
        plan["parents"] += "|" + plan["original"]
    plan["model_sha256"] = tuned.fingerprint(model)
    plan["sampler"], plan["steps"], plan["guidance"] = (
        "dpmsolver++",
        synthesize.sampling.steps,
        synthesize.sampling.guidance,
    )
    plan["sha256"] = [sha256(Path(file)) for file in plan["file"]]
    write_csv(plan[[*SYNTHETIC, *findings_of(rows)]], out / "manifest.csv")
    _picture(rows, instances, plan, finding, log)
    checkpoint.clear()


def _needed(splits: Path, shots: int, trial: int, finding: str) -> int:
    needed = pd.read_csv(splits / "needed.csv").set_index(["shots", "trial", "finding"])["positives"]
    return int(needed.loc[(shots, trial, finding)])


def _plan(
    synthesize: Synthesize,
    name: str,
    finding: str,
    trial: int,
    needed: int,
    rows: pd.DataFrame,
    metadata: Path,
    splits: Path,
) -> pd.DataFrame:
    """A row per image to make: image_id, original, prompt, seed and the findings it is prompted with."""
    columns = findings_of(rows)
    labels = rows.set_index("image_id")[columns]
    described = captions.describe(metadata, splits / "corpus.csv")
    corpus = pd.read_csv(splits / "corpus.csv", dtype=str)["image_id"]
    plan = []
    for index in range(max(needed, synthesize.least)):
        model_of = corpus.iloc[generator("caption", finding, trial, index).integers(len(corpus))]
        for kind in ("pos", "neg"):
            carried = labels.loc[model_of].to_dict() | {finding: int(kind == "pos")}
            prompt = captions.with_findings(described[model_of], [column for column in columns if carried[column]])
            seed = seed_for("synthesize", finding, trial, index)
            row = {"image_id": f"{name}-{index:05d}-{kind}", "original": model_of, "prompt": prompt, "seed": seed}
            plan.append(row | carried)
    return pd.DataFrame(plan)


def _picture(rows: pd.DataFrame, instances: pd.DataFrame, plan: pd.DataFrame, finding: str, log: Path) -> None:
    """Real instances above synthetic positives above the same seeds without the finding."""
    log.mkdir(parents=True, exist_ok=True)
    real = rows.set_index("image_id").loc[instances["image_id"], "file"]
    shown = [list(real)[index % len(real)] for index in range(GRID)]
    for value in (1, 0):
        shown += list(plan.loc[plan[finding] == value, "file"][:GRID])
    images.save(images.grid(images.load(shown), GRID), log / "real_positive_negative.png")


if __name__ == "__main__":
    run(synthesize)
