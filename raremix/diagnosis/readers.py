"""How much of each attribute an image shows: networks that read it from pictures, and from latents.

The two learn from different patients, in different spaces, so that one can judge what the other has guided. They read
in units: standard deviations of the attribute among the images of train.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import silu

from raremix.classifier.model import build, normalised, on_device
from raremix.diagnosis.attributes import ends
from raremix.runtime import weights
from raremix.runtime.device import Precision, arithmetic, device, seeded
from raremix.runtime.errors import UserError
from raremix.runtime.files import read_json, write_json
from raremix.runtime.losses import Losses
from raremix.runtime.progress import track
from raremix.runtime.schedule import cosine
from raremix.runtime.seeds import seed_for

Array = NDArray[np.float64]
BATCH = 256
REMEDY = "run `dvc repro readers`"
GROUPS = 8


@dataclass(frozen=True)
class ReaderTraining:
    """The budget of one reader."""

    steps: PositiveInt
    batch: PositiveInt
    lr: PositiveFloat
    weight_decay: NonNegativeFloat


@dataclass(frozen=True)
class Units:
    """The attributes that are read, with mean, standard deviation and ends among the images of train."""

    attributes: list[str]
    mean: list[float]
    sd: list[float]
    low: list[float]
    high: list[float]

    @property
    def ends(self) -> tuple[Array, Array]:
        """The low end and the high end, in units, ``[attributes]``."""
        mean, sd = np.array(self.mean), np.array(self.sd)
        return (np.array(self.low) - mean) / sd, (np.array(self.high) - mean) / sd

    @property
    def reach(self) -> Array:
        """How many units it is from the low end to the high end, ``[attributes]``."""
        low, high = self.ends
        return np.asarray(high - low)

    @property
    def natural(self) -> tuple[Array, Array]:
        """Half the reach beyond either end, in units, ``[attributes]``: few real images are further out."""
        low, high = self.ends
        return low - self.reach / 2, high + self.reach / 2

    def of(self, values: pd.DataFrame) -> NDArray[np.float32]:
        """``values`` (a column an attribute) in units, ``[n, attributes]``; NaN where one is not known."""
        return ((values[self.attributes] - self.mean) / self.sd).to_numpy(np.float32)


class LatentReader(nn.Module):
    """A small convolutional network from latents ``[n, channels, side, side]`` to units ``[n, outputs]``."""

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)  # the same weights at each call
        widths = [channels, width, width, 2 * width, 2 * width, 4 * width, 4 * width]
        strides = [1, 1, 2, 1, 2, 1]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride, 1)
            for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, after) for after in widths[1:])
        self.last = nn.Linear(widths[-1], outputs)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            latents = silu(norm(convolution(latents)))
        return self.last(latents.mean((2, 3)))


def units(values: pd.DataFrame) -> Units:
    """The units of ``values``, a column an attribute."""
    spread = values.std().replace(0, 1)
    low, high = zip(*(ends(values[name]) for name in values), strict=True)
    return Units([str(name) for name in values], values.mean().to_list(), spread.to_list(), list(low), list(high))


def halves(patients: "pd.Series[str]") -> NDArray[np.bool_]:
    """Which half of the patients each one belongs to."""
    return np.array([bool(seed_for("half", patient) & 1) for patient in patients])


def fit(
    model: nn.Module,
    inputs: torch.Tensor,
    targets: NDArray[np.float32],
    training: ReaderTraining,
    precision: Precision,
    name: str,
) -> nn.Module:
    """Fit ``model`` by squared error to ``targets [n, attributes]`` in units; what is NaN counts for nothing."""
    model = on_device(model).train()
    optimizer = torch.optim.AdamW(model.parameters(), training.lr, weight_decay=training.weight_decay)
    wanted = torch.tensor(targets)
    losses = Losses()
    for step in track(range(training.steps), f"reader of {name}", training.steps):
        chosen = torch.randint(len(inputs), (training.batch,), generator=seeded("reader", name, step))
        optimizer.param_groups[0]["lr"] = training.lr * cosine(step, training.steps, warmup=training.steps // 10)
        with arithmetic(precision):
            found = model(inputs[chosen].to(device())).float()
        target = wanted[chosen].to(device())
        known = ~target.isnan()
        loss = ((found - target.nan_to_num()) ** 2 * known).sum() / known.sum().clamp(min=1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
    assert len(losses.values) == training.steps  # reads the last ones, too
    return model.eval()


class PictureReader(nn.Module):
    """A torchvision network from grey pictures ``[n, side, side]`` in 0..255 to units ``[n, outputs]``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.network(normalised(pictures[:, None].float() / 255))


@torch.no_grad()
def read(model: nn.Module, inputs: torch.Tensor, precision: Precision) -> Array:
    """What ``model`` reads in ``inputs``, ``[n, attributes]`` in units."""
    found = []
    for start in range(0, len(inputs), BATCH):
        with arithmetic(precision):
            found.append(model(inputs[start : start + BATCH].to(device())).float().cpu().numpy())
    return np.concatenate(found).astype(np.float64)


def explained(targets: NDArray[np.float32], found: Array) -> Array:
    """R2 of each attribute, ``[attributes]``, over the images of which it is known; NaN of one value or none."""
    r2 = np.full(targets.shape[1], np.nan)
    for k, (wanted, seen) in enumerate(zip(targets.T.astype(np.float64), found.T, strict=True)):
        known = ~np.isnan(wanted)
        if known.any() and np.ptp(wanted[known]) > 0:
            r2[k] = 1 - np.mean((seen - wanted)[known] ** 2) / wanted[known].var()
    return r2


def readable(r2: Path, units: Units, least: float) -> list[int]:
    """The attributes of which the reader of pictures explains ``least`` or more: their indices, the best read first.

    ``r2`` is the file of ``stages.readers``.

    Raises:
        UserError: there is none.
    """
    table = pd.read_csv(r2)
    found = table[table["reader"] == "picture"].set_index("attribute")["r2"].loc[units.attributes]
    best = found[found >= least].sort_values(ascending=False, kind="stable").index
    if best.empty:
        raise UserError(f"{r2}: no attribute has an R2 of {least:g}; raise readers.picture.steps")
    return [units.attributes.index(name) for name in best]


def save(folder: Path, picture: PictureReader, latent: LatentReader, measured: Units, name: str) -> None:
    """Write both readers, the picture's a network of that ``name``, to ``folder``."""
    for file, model in (("picture", picture), ("latent", latent)):
        weights.write(folder / f"{file}.safetensors", model.state_dict())
    first = latent.convolutions[0]
    config = {"network": name, "channels": first.in_channels, "width": first.out_channels, **vars(measured)}
    write_json(folder / "config.json", config)


def load_picture(folder: Path) -> tuple[PictureReader, Units]:
    """The reader of pictures in ``folder``, and its units.

    Raises:
        UserError: a file of it is missing, not whole, or of another network.
    """
    config, measured = _config(folder)
    reader = PictureReader(build(config["network"], len(measured.attributes)))
    weights.load(reader, folder / "picture.safetensors", REMEDY)
    return on_device(reader).eval(), measured  # type: ignore[return-value]


def load_latent(folder: Path) -> tuple[LatentReader, Units]:
    """The reader of latents in ``folder``, and its units.

    Raises:
        UserError: a file of it is missing, not whole, or of another network.
    """
    config, measured = _config(folder)
    reader = LatentReader(config["channels"], config["width"], len(measured.attributes))
    weights.load(reader, folder / "latent.safetensors", REMEDY)
    return on_device(reader).eval(), measured  # type: ignore[return-value]


def _config(folder: Path) -> tuple[dict, Units]:
    config = read_json(folder / "config.json", REMEDY)
    return config, Units(*(config[field.name] for field in fields(Units)))
