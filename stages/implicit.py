"""The implicit function of h, and how all modes of editing compare on images of validation.

In: latents of real images, the boundaries' directions, the readers, the base model. Out: the function; training.csv (by
step of the way: how much of what was asked it missed in the last fifth of its training), shifts.csv (what it does to h,
by step) and modes.csv (spaces, steps, strengths and branches of guidance).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from raremix.data import images
from raremix.data.captions import CLASS_PROMPT
from raremix.data.checksums import read_checksums
from raremix.data.manifest import write_csv
from raremix.diagnosis import implicit as room
from raremix.diagnosis.editing import Way, back, check_start, chosen, patients
from raremix.diagnosis.hspace import noise_for
from raremix.diagnosis.implicit import ImplicitTraining
from raremix.diagnosis.modes import compared, guided, unguided
from raremix.diagnosis.process import course, words
from raremix.diagnosis.readers import load_latent, load_picture, read, readable
from raremix.diagnosis.shifts import shifts
from raremix.diagnosis.stored import read as read_latents
from raremix.diagnosis.stored import read_directions
from raremix.generator.base import load
from raremix.generator.sample import plain
from raremix.runtime.device import device, one_core
from stages.cli import run
from stages.diagnosed import Editing
from stages.latents import Latents

TRIED_ON = 16  # images
LOOKED_AT = 64  # images whose shifts are measured
TRIED = 3  # attributes, those that are read best


@one_core()
def implicit(
    latents: Latents,
    editing: Editing,
    implicit: ImplicitTraining,
    manifest: Path,
    splits: Path,
    checksums: Path,
    pipeline: Path,
    walked: Path,
    directions: Path,
    readers: Path,
    r2: Path,
    out: Path,
    metrics: Path,
) -> None:
    """Learn how h must change for one attribute alone to change, and compare it with other modes of editing."""
    check_start(editing.start, latents.sampling.steps)
    (latent, units), (picture, _) = load_latent(readers), load_picture(readers)
    best = readable(r2, units, editing.readable)
    spaces = {space: read_directions(directions / f"{space}.safetensors")["moves"] for space in ("e", "h")}
    rows = chosen(patients(manifest, splits), min(TRIED_ON, editing.images))
    pixels = images.load(list(rows["file"]), read_checksums(checksums))
    base = load(pipeline).to(device())
    way = course(base, latents.sampling.steps)
    text = words(base, plain([CLASS_PROMPT], [0]), 1.0, implicit.precision)
    real_ones, kept = read_latents(walked), np.flatnonzero(pd.read_csv(walked / "images.csv")["kept"])
    learned, errors = room.train(
        base.unet,
        real_ones,
        kept,
        text,
        way,
        latent,
        (units.reach / 2).astype(np.float32),
        implicit,
    )
    room.save(out, learned)
    write_csv(_by_step(errors, way.timesteps), metrics / "training.csv", "%.4f")
    write_csv(shifts(learned, real_ones.h[kept[:LOOKED_AT], :, 0], spaces["h"], best), metrics / "shifts.csv", "%.4f")

    sampling = replace(latents.sampling, batch=editing.batch, precision=editing.precision)
    real = back(base, pixels, sampling, latents.refinements, editing.start)
    names = [f"mode-{index}" for index in range(len(rows))]
    generated = Way(base, noise_for(base, names), plain([CLASS_PROMPT] * len(rows), range(len(rows))), sampling, 0)
    tables = [
        compared(
            modes,
            ways,
            lambda shown: read(picture, torch.from_numpy(shown), editing.precision),
            units.attributes,
            best[:TRIED],
            best,
        )
        for modes, ways in (
            (unguided(spaces, learned, editing.start), real),
            (guided(learned, latents.sampling.steps), generated),
        )
    ]
    write_csv(pd.concat(tables), metrics / "modes.csv", "%.4f")


def _by_step(errors: pd.DataFrame, timesteps: list[int]) -> pd.DataFrame:
    """Missed over asked, in the last fifth of the examples."""
    late = errors.tail(len(errors) // 5 + 1).groupby("step")[["asked", "missed"]].mean()
    return late.assign(timestep=[timesteps[step] for step in late.index], missed=late["missed"] / late["asked"])[
        ["timestep", "missed"]
    ].reset_index()


if __name__ == "__main__":
    run(implicit)
