"""Latents of real and of generated radiographs: h and e of every sampling step.

In: radiographs of the base model's corpus, the base model. Out: real/ and generated/ (h.npy, e.npy, and images.csv with
a row an image), a picture of real images beside what their noise gives again; metrics: how faithful that is.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from numpy.typing import NDArray

from raremix.data import captions, images
from raremix.data.checksums import read_checksums
from raremix.data.manifest import read_manifest, write_csv
from raremix.diagnosis.hspace import capture, inverted, likeness, noise_for
from raremix.generator.base import load
from raremix.generator.latents import roundtrip
from raremix.generator.sample import Order, Sampling, plain
from raremix.runtime.device import device, one_core
from raremix.runtime.errors import UserError
from raremix.runtime.files import write_json
from raremix.runtime.seeds import generator
from stages.cli import run

SHOWN = 8  # images in a row of the picture


@dataclass(frozen=True)
class Latents:
    """How images are walked through."""

    images: PositiveInt  # real ones, of a patient each
    generated: PositiveInt
    sampling: Sampling  # of generated images; real ones are inverted at guidance 1, in as many steps
    refinements: NonNegativeInt  # of each step of the inversion
    least_decibels: PositiveFloat  # likeness below which a real image is left out


@one_core()
def latents(
    latents: Latents, manifest: Path, splits: Path, checksums: Path, pipeline: Path, out: Path, metrics: Path
) -> None:
    """Capture h and e of images that the base model draws, and of real ones walked back to noise."""
    rows, listed = read_manifest(manifest).set_index("image_id"), read_checksums(checksums)
    # One image a patient, or what is held out later would know the patients.
    corpus = list(rows.loc[captions.corpus_ids(splits / "corpus.csv")].groupby("patient_id").head(1).index)
    if len(corpus) < latents.images:
        raise UserError(
            f"params.yaml, latents.images: {latents.images} asked for, the corpus has {len(corpus)} patients"
        )
    chosen = sorted(generator("latents").choice(corpus, latents.images, replace=False))
    pixels = images.load(list(rows.loc[chosen, "file"]), listed)
    base = load(pipeline).to(device())
    real = _real(latents, base, chosen, pixels, out / "real", metrics)
    _generated(latents, base, out / "generated")
    decibels = real["decibels"]
    figures = {"median": round(decibels.median(), 2), "lowest": round(decibels.min(), 2)}
    summary = {"real": len(real), "kept": int(real["kept"].sum()), "decibels": figures, "generated": latents.generated}
    write_json(metrics / "summary.json", summary)


def _real(
    latents: Latents,
    base: StableDiffusionPipeline,
    names: list[str],
    pixels: NDArray[np.uint8],
    out: Path,
    metrics: Path,
) -> pd.DataFrame:
    """Walk real images back to noise and forth again; ``image_id, decibels, kept``."""
    prompts = [captions.CLASS_PROMPT] * len(names)
    unguided = replace(latents.sampling, guidance=1.0)
    noise = inverted(base, pixels, prompts, unguided, latents.refinements)
    again = capture(base, noise, Order(prompts, prompts, range(len(names))), unguided, out)
    best = roundtrip(base.vae, pixels, unguided.precision)
    table = pd.DataFrame({"image_id": names, "decibels": likeness(again, best)})
    table["kept"] = (table["decibels"] >= latents.least_decibels).astype(int)
    if not table["kept"].any():
        raise UserError(
            f"params.yaml, latents.least_decibels: no real image comes back with {latents.least_decibels:g} dB; the "
            f"best has {table['decibels'].max():.1f}; raise latents.sampling.steps or latents.refinements"
        )
    write_csv(table, out / "images.csv", "%.3f")
    shown = np.concatenate([part[:SHOWN] for part in (pixels, best, again)])
    images.save(images.grid(shown, min(SHOWN, len(names))), metrics / "real_reconstructed_inverted.png")
    return table


def _generated(latents: Latents, base: StableDiffusionPipeline, out: Path) -> None:
    """Draw images of the class prompt alone, and keep what they passed through."""
    names = [f"generated-{index:05d}" for index in range(latents.generated)]
    order = plain([captions.CLASS_PROMPT] * len(names), range(len(names)))
    drawn = capture(base, noise_for(base, names), order, latents.sampling, out)
    for name, image in zip(names, drawn, strict=True):
        images.save(image, out / "images" / f"{name}.png")
    write_csv(pd.DataFrame({"image_id": names}), out / "images.csv")


if __name__ == "__main__":
    run(latents)
