"""Who looks at edited images: a reader of attributes, and the classifiers that are diagnosed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from raremix.classifier.model import on_device
from raremix.classifier.predict import load_network, probability
from raremix.diagnosis.editing import Way
from raremix.diagnosis.process import Edit
from raremix.diagnosis.readers import PictureReader, Units, read
from raremix.diagnosis.sensitivity import Changes, Seen
from raremix.evaluation.thresholds import operating_points
from raremix.runtime.device import Precision
from raremix.runtime.errors import UserError
from raremix.runtime.progress import track

Array = NDArray[np.float64]
Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Classifier:
    """``probabilities`` gives ``[n, findings]`` in 0..1 for grey pictures ``[n, side, side]``."""

    findings: list[str]
    probabilities: Callable[[Pictures], Array]
    thresholds: Array  # the probability from which on a finding is called present, [findings]


@dataclass(frozen=True)
class Eyes:
    """A reader of pictures with its units, and classifiers by name."""

    reader: PictureReader
    units: Units
    classifiers: Mapping[str, Classifier]
    precision: Precision

    def read(self, pictures: Pictures) -> Array:
        """The attributes of ``pictures``, in units ``[n, attributes]``."""
        return read(self.reader, torch.from_numpy(pictures), self.precision)

    def seen(self, pictures: Pictures) -> dict[str, Seen]:
        """What is read in ``pictures``, and what each classifier says of them."""
        reading = self.read(pictures)
        return {key: Seen(reading, one.probabilities(pictures)) for key, one in self.classifiers.items()}

    def changes(self, way: Way, edits: Sequence[tuple[int, float, Edit]], name: str) -> dict[str, Changes]:
        """What ``edits`` (target, dose, edit) do to the images of ``way``, by classifier; ``name`` is the bar's."""
        before = way.images()
        attributes, seen = self.read(before), {key: one.probabilities(before) for key, one in self.classifiers.items()}
        moved: list[Array] = []
        chances: dict[str, list[Array]] = {key: [] for key in seen}
        for _, _, edit in track(edits, name, len(edits)):
            after = way.images(edit)
            moved.append(self.read(after) - attributes)
            for key, one in self.classifiers.items():
                chances[key].append(one.probabilities(after))
        targets, doses = np.array([one[0] for one in edits]), np.array([one[1] for one in edits])
        natural, (least, most) = np.ones((len(edits), len(before)), bool), self.units.natural
        for index, k in enumerate(targets):
            if k < len(self.units.attributes):  # what means nothing has more directions than there are attributes
                reading = (attributes + moved[index])[:, k]
                natural[index] = (least[k] <= reading) & (reading <= most[k])
        found = {}
        for key, one in self.classifiers.items():
            after_all = np.stack(chances[key])
            flipped = (after_all >= one.thresholds) != (seen[key] >= one.thresholds)
            found[key] = Changes(targets, doses, np.stack(moved), seen[key], after_all - seen[key], flipped, natural)
        return found


def load_run(run: Path) -> tuple[nn.Module, Classifier]:
    """The network that ``classify`` saved in ``run``, and it as a classifier with its own operating points.

    A run without predictions, such as a planted one, decides at one half.

    Raises:
        UserError: there is no such run, or its predictions hold no two classes.
    """
    if not (run / "config.json").is_file():
        raise UserError(f"{run}: holds no classifier (config.json, model.safetensors); run `dvc repro classify`")
    network, config = load_network(run)
    model = on_device(network).eval()
    thresholds = np.full(len(config["findings"]), 0.5)
    if (run / "predictions.csv").is_file():
        predictions = pd.read_csv(run / "predictions.csv").query("part == 'validation'")
        thresholds = operating_points(predictions, config["findings"], str(run / "predictions.csv"))
    return model, Classifier(
        config["findings"], lambda pictures: probability(model, pictures, config["precision"]), thresholds
    )
