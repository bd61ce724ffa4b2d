"""Networks that read attributes in images, so that an edit can be guided, and judged by what did not guide it.

In: real images of train, the base model, the backbone. Out: a reader of pictures and one of latents, which learn from
different patients; readers.csv (R2 of each on validation) and schedule.csv (R2 of the attribute in the image that the
base model predicts at each sampling step: where on the way it is decided).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import StableDiffusionPipeline
from jsonargparse.typing import PositiveInt

from raremix.classifier.model import from_backbone
from raremix.data import Layout, images
from raremix.data.captions import CLASS_PROMPT
from raremix.data.checksums import read_checksums
from raremix.data.manifest import read_manifest, write_csv
from raremix.data.trial import read_trial
from raremix.diagnosis import readers as room
from raremix.diagnosis.attributes import known
from raremix.diagnosis.process import course, predicted, words
from raremix.diagnosis.readers import LatentReader, PictureReader, ReaderTraining, Units
from raremix.generator.base import load
from raremix.generator.latents import encode
from raremix.generator.sample import plain
from raremix.runtime.device import Precision, device, one_core, seeded
from raremix.runtime.errors import UserError
from raremix.runtime.progress import track
from stages.cli import run
from stages.diagnosed import Measured

SCHEDULE = 200  # images of validation that the schedule is measured on
VIEWS = 2  # of each latent at a drawn step, beside the clean one


@dataclass(frozen=True)
class Readers:
    """The two networks."""

    network: str  # of pictures, the backbone's
    picture: ReaderTraining
    width: PositiveInt  # channels of the first convolution that reads latents
    latent: ReaderTraining
    batch: PositiveInt  # of the base model's predictions
    precision: Precision

    def __post_init__(self) -> None:
        if self.width % room.GROUPS:
            raise UserError(f"params.yaml, readers.width: {self.width} is no multiple of {room.GROUPS}")


@one_core()
def readers(
    measured: Measured,
    readers: Readers,
    layout: Layout,
    seed: int,
    steps: int,
    manifest: Path,
    metadata: Path,
    splits: Path,
    checksums: Path,
    pipeline: Path,
    weights: Path,
    out: Path,
    metrics: Path,
) -> None:
    """Teach one network to read attributes in pictures, and another to read them in latents."""
    rows, listed = read_manifest(manifest), read_checksums(checksums)
    part = rows["image_id"].map(read_trial(splits / "trial0.csv").set_index("image_id")["part"])
    train, held_out = rows[part.isin(["train", "held_back"])], rows[part == "validation"]
    values = known(measured.attributes, layout, train, metadata, seed)
    units = room.units(values)
    checked = units.of(known(measured.attributes, layout, held_out, metadata, seed))
    pixels, seen = (images.load(list(part["file"]), listed) for part in (train, held_out))
    first = room.halves(train["patient_id"])
    base = load(pipeline).to(device())

    network = from_backbone(readers.network, len(units.attributes), weights, "reader")
    picture = PictureReader(network)
    room.fit(
        picture,
        torch.from_numpy(pixels[first]),
        units.of(values[first]),
        readers.picture,
        readers.precision,
        "pictures",
    )
    latent = _latent_reader(readers, base, pixels[~first], units.of(values[~first]), steps)
    room.save(out, picture, latent, units, readers.network)

    of_pictures = room.read(picture, torch.from_numpy(seen), readers.precision)
    clean = encode(base.vae, seen, readers.precision)
    of_latents = room.read(latent, clean, readers.precision)
    r2 = {"picture": room.explained(checked, of_pictures), "latent": room.explained(checked, of_latents)}
    table = pd.DataFrame({"attribute": units.attributes, **r2})
    write_csv(table.melt("attribute", var_name="reader", value_name="r2"), metrics / "readers.csv", "%.4f")
    few = slice(SCHEDULE)
    write_csv(
        _schedule(readers, base, latent, units, clean[few], checked[few], steps), metrics / "schedule.csv", "%.4f"
    )


def _latent_reader(
    readers: Readers,
    base: StableDiffusionPipeline,
    pixels: np.ndarray,
    targets: np.ndarray,
    steps: int,
) -> LatentReader:
    """A reader of clean latents, and of what the base model predicts of noised ones at any step."""
    clean = encode(base.vae, pixels, readers.precision)
    views = [clean]
    for view in range(VIEWS):
        at = torch.randint(steps, (len(clean),), generator=seeded("reader's steps", view))
        predictions = torch.empty_like(clean)
        for step in track(range(steps), "views of latents"):
            predictions[at == step] = _predictions(readers, base, clean[at == step], steps, step, f"view {view}")
        views.append(predictions)
    reader = LatentReader(clean.shape[1], readers.width, targets.shape[1])
    room.fit(
        reader, torch.cat(views), np.concatenate([targets] * len(views)), readers.latent, readers.precision, "latents"
    )
    return reader


@torch.no_grad()
def _predictions(
    readers: Readers, base: StableDiffusionPipeline, clean: torch.Tensor, steps: int, step: int, name: str
) -> torch.Tensor:
    """What the base model makes of ``clean`` latents that were noised to ``step``."""
    way, found = course(base, steps), []
    noise = torch.randn(clean.shape, generator=seeded("reader's noise", name, step))
    for start in range(0, len(clean), readers.batch):
        part, added = (values[start : start + readers.batch].to(device()) for values in (clean, noise))
        noisy = way.shares[step].sqrt() * part + (1 - way.shares[step]).sqrt() * added
        text = words(base, plain([CLASS_PROMPT] * len(part), range(len(part))), 1.0, readers.precision)
        found.append(predicted(base.unet, noisy, text, way, step, readers.precision)[0].cpu())
    return torch.cat(found) if found else clean


def _schedule(
    readers: Readers,
    base: StableDiffusionPipeline,
    latent: LatentReader,
    units: Units,
    clean: torch.Tensor,
    targets: np.ndarray,
    steps: int,
) -> pd.DataFrame:
    timesteps = course(base, steps).timesteps
    tables = []
    for step in track(range(steps), "schedule"):
        seen = _predictions(readers, base, clean, steps, step, "schedule")
        r2 = room.explained(targets, room.read(latent, seen, readers.precision))
        tables.append(
            pd.DataFrame({"step": step, "timestep": timesteps[step], "attribute": units.attributes, "r2": r2})
        )
    return pd.concat(tables)


if __name__ == "__main__":
    run(readers)
