"""A trained classifier on disk, and its predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from raremix.classifier.model import build, last_layer, normalised, on_device
from raremix.runtime import weights
from raremix.runtime.device import Precision, arithmetic, device
from raremix.runtime.files import read_json, write_json

BATCH = 256
REMEDY = "run `dvc repro` to make the classifier again"


def save_run(run: Path, model: nn.Module, name: str, findings: list[str], precision: Precision) -> None:
    """Write ``model`` and what is needed to use it into the directory ``run``."""
    weights.write(run / "model.safetensors", model.state_dict())
    write_json(run / "config.json", {"model": name, "findings": findings, "precision": precision})


def load_network(run: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network that ``save_run`` wrote into ``run``, and what it wrote beside it: model, findings, precision.

    Raises:
        UserError: a file of it is missing, not whole, or of another network.
    """
    config = read_json(run / "config.json", REMEDY)
    model = build(config["model"], len(config["findings"]))
    weights.load(model, run / "model.safetensors", REMEDY)
    return model, config


def predict_run(run: Path, rows: pd.DataFrame, pixels: NDArray[np.uint8], part: str) -> pd.DataFrame:
    """Predictions of the classifier in ``run`` for ``rows`` (image_id and a column per finding).

    ``pixels [n, side, side]`` are the rows' images, in their order.

    Returns a row per image and finding: image_id, part, finding, label (0 or 1), probability (0..1, six decimals).
    """
    model, config = load_network(run)
    findings = config["findings"]
    probabilities = probability(model, pixels, config["precision"])
    return pd.DataFrame(
        {
            "image_id": np.repeat(rows["image_id"].to_numpy(), len(findings)),
            "part": part,
            "finding": findings * len(rows),
            "label": rows[findings].to_numpy().astype(int).ravel(),
            "probability": probabilities.round(6).ravel(),
        }
    )


@torch.no_grad()
def probability(model: nn.Module, images: NDArray[np.uint8], precision: Precision) -> NDArray[np.float64]:
    """``[n, outputs]`` in 0..1 for ``images [n, side, side]``."""
    model = on_device(model).eval()
    found = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH])[:, None].float().to(device()) / 255
        with arithmetic(precision):
            found.append(torch.sigmoid(model(normalised(batch)).float()).cpu().numpy())
    return np.concatenate(found).astype(np.float64)


@torch.no_grad()
def features(model: nn.Module, images: NDArray[np.uint8], precision: Precision) -> NDArray[np.float64]:
    """What the last layer sees: ``[n, width]`` for ``images [n, side, side]``."""
    model = on_device(model).eval()
    seen: list[torch.Tensor] = []
    hook = last_layer(model)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))
    probability(model, images, precision)
    hook.remove()
    return torch.cat(seen).numpy().astype(np.float64)
