"""A trained classifier on disk, and its predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from raremix.classifier.model import build, last_layer, normalised, on_device
from raremix.runtime.device import Precision, arithmetic, device

BATCH = 256


def save_run(run: Path, model: nn.Module, name: str, findings: list[str], precision: Precision) -> None:
    """Write ``model`` and what is needed to use it into the directory ``run``."""
    run.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    save_file(weights, run / "model.safetensors")
    config = {"model": name, "findings": findings, "precision": precision}
    (run / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_network(run: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network that ``save_run`` wrote into ``run``, and what it wrote beside it: model, findings, precision."""
    config = json.loads((run / "config.json").read_text())
    model = build(config["model"], len(config["findings"]))
    model.load_state_dict(load_file(run / "model.safetensors"))
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
