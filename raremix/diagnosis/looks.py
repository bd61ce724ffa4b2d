"""How real edited images look: a probe on what a classifier's last layer sees."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from raremix.classifier.predict import features
from raremix.diagnosis.editing import Way
from raremix.diagnosis.estimates import Edited
from raremix.evaluation.audit import real_or_synthetic
from raremix.runtime.device import Precision


@dataclass(frozen=True)
class Looks:
    """The classifier, real images ``[n, side, side]`` and as many others that are edited."""

    network: nn.Module
    real: NDArray[np.uint8]
    way: Way
    precision: Precision

    def apart(self, one: Edited) -> dict[str, float | None]:
        """AUC of a probe between real images and the unedited, and the edited; each image has one of the edits.

        None of too few images, and of the edited if no attribute arrived.
        """
        unedited = self.way.images()
        signed = [(int(k), c) for k in np.flatnonzero(one.arrived) for c in (-one.method.dose, one.method.dose)]
        signed, edited = signed[: len(unedited)], np.zeros_like(unedited)
        for index, (k, dose) in enumerate(signed):
            chosen = slice(index, None, len(signed))
            edited[chosen] = self.way.some(chosen).images(one.method.edit(k, dose))
        real, before, after = (
            features(self.network, pictures, self.precision) for pictures in (self.real, unedited, edited)
        )
        areas = {"unedited": real_or_synthetic(real, before), "edited": real_or_synthetic(real, after)}
        if not signed:
            areas["edited"] = float("nan")
        return {name: None if np.isnan(area) else round(area, 4) for name, area in areas.items()}
