"""What the stages of the diagnosis read, at its smallest: patients on disk, latents, directions and readers."""

from pathlib import Path

import numpy as np
import pandas as pd
import tiny
import torch
from torch import nn

from raremix.classifier.model import build, last_layer, normalised
from raremix.classifier.predict import save_run
from raremix.data.captions import CLASS_PROMPT
from raremix.data.checksums import write_checksums
from raremix.data.images import save
from raremix.data.manifest import FIXED
from raremix.diagnosis import readers
from raremix.diagnosis.hspace import capture
from raremix.diagnosis.readers import LatentReader, PictureReader, Units
from raremix.diagnosis.stored import write_directions
from raremix.generator.base import load
from raremix.generator.sample import Sampling, plain
from raremix.runtime.files import sha256
from stages.diagnosed import Editing
from stages.latents import Latents

NETWORK = "mobilenet_v3_small"
COUNT, STEPS = 32, 4
ATTRIBUTES = ["male", "thickness", "exposure", "ap"]
LATENTS = Latents(6, 2, Sampling(STEPS, 2.0, 4, "float32"), refinements=2, least_decibels=5.0)
EDITING = Editing(6, 1, 4, "float32", hyperplane=2.0, implicit=0.5, readable=0.3, arrived=0.25)


def patients(folder: Path) -> None:
    """The manifest, pictures and split of ``COUNT`` patients with an image each; half of them validate."""
    names = [f"i{index:02d}" for index in range(COUNT)]
    files = [f"images/{name}.png" for name in names]
    (folder / "images").mkdir()
    for picture, file in zip(tiny.images(COUNT), files, strict=True):
        save(picture, folder / file)
    write_checksums({file: sha256(folder / file) for file in files}, folder / "images.sha256")
    rows = pd.DataFrame(dict.fromkeys(FIXED, ""), index=range(COUNT)).assign(image_id=names, file=files, visit=0, a=0)
    rows["patient_id"] = [f"P{index:06d}" for index in range(COUNT)]
    rows.to_csv(folder / "manifest.csv", index=False)
    (folder / "splits").mkdir()
    parts = ["train", "validation", "held_back", "validation"] * (COUNT // 4)
    pd.DataFrame({"image_id": names, "part": parts, "shot_rank": ""}).to_csv(folder / "splits/trial0.csv", index=False)


def walked(folder: Path, base: Path) -> None:
    """Latents, random directions, untaught readers and the file of what they explain."""
    noise = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    capture(load(base), noise, plain([CLASS_PROMPT] * 6, range(6)), Sampling(STEPS, 1.0, 4, "float32"), folder / "real")
    (folder / "real" / "images.csv").write_text("image_id,kept\n" + "".join(f"{k},{int(k != 1)}\n" for k in range(6)))
    rng = np.random.default_rng(0)
    for space, shape in {"e": (4, 4, 4), "h": (16, 2, 2)}.items():
        parts = {name: rng.normal(size=(STEPS, 4, int(np.prod(shape)))) for name in ("normals", "moves", "permuted")}
        write_directions(folder / "boundary" / f"{space}.safetensors", parts, shape)
    units = Units(ATTRIBUTES, [0.0] * 4, [1.0] * 4, [-0.5] * 4, [0.5] * 4)
    picture, latent = PictureReader(network(4)), LatentReader(4, 8, 4)
    readers.save(folder / "readers", picture, latent, units, NETWORK)
    r2 = pd.DataFrame({"attribute": ATTRIBUTES, "reader": "picture", "r2": [0.9, 0.5, 0.7, 0.1]})
    r2.to_csv(folder / "r2.csv", index=False)


def classifier(run: Path, findings: list[str]) -> None:
    save_run(run, network(len(findings)), NETWORK, findings, "float32")


@torch.no_grad()
def network(outputs: int) -> nn.Module:
    """An untaught network; so that it tells pictures apart, its outputs have mean 0 and standard deviation 1."""
    model = build(NETWORK, outputs).eval()
    found = model(normalised(torch.from_numpy(tiny.images(COUNT))[:, None].float() / 255))
    _, last = last_layer(model)
    last.weight /= found.std(dim=0)[:, None]
    last.bias -= found.mean(dim=0)
    last.bias /= found.std(dim=0)
    return model
