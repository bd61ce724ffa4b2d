"""The fourteen findings: what each adds to a chest, how severe they are drawn, where their boxes are.

A finding is a function of (chest, severity, generator) that changes the chest's maps and yields one box per lesion as
(x_min, y_min, x_max, y_max) in native pixels. Severity runs from 0 (barely there) to 1 (gross).
"""

from collections.abc import Callable, Iterator

import numpy as np

from raremix.data.phantom import opacities, pleura
from raremix.data.phantom.anatomy import HEART, MIDDLE, heart_shape, knob_shape
from raremix.data.phantom.chest import Box, Chest, outline
from raremix.runtime.seeds import generator

# The one place that sets how hard each finding is: severities are drawn between low and high.
SEVERITY = {
    "aortic_enlargement": (0.10, 1.0),
    "atelectasis": (0.10, 1.0),
    "calcification": (0.10, 1.0),
    "cardiomegaly": (0.05, 0.85),
    "consolidation": (0.10, 1.0),
    "ild": (0.10, 1.0),
    "infiltration": (0.10, 1.0),
    "lung_opacity": (0.10, 1.0),
    "nodule_mass": (0.30, 1.0),
    "other_lesion": (0.10, 1.0),
    "pleural_effusion": (0.10, 1.0),
    "pleural_thickening": (0.10, 1.0),
    "pneumothorax": (0.35, 1.0),
    "pulmonary_fibrosis": (0.10, 1.0),
}

Draw = Callable[[Chest, float, np.random.Generator], Iterator[Box]]


def apply(chest: Chest) -> list[tuple[str, Box]]:
    """Draw every finding whose severity is above 0; (finding, box) of each lesion."""
    pleura.variants(chest, generator("phantom", chest.seed, chest.patient, "variants"))
    lesions = []
    for finding, draw in FINDINGS.items():
        severity = chest.severity(finding)
        if severity > 0:
            rng = generator("phantom", chest.seed, chest.patient, chest.visit, finding)
            lesions += [(finding, box) for box in draw(chest, severity, rng)]
    return lesions


def _aorta(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """The anatomy draws it wider; the box holds arch and ascending part."""
    (cx, cy), radius = knob_shape(chest.body, chest.attributes, severity)
    x = np.array([-3.2 - 2.2 * severity, cx + radius])
    y = np.array([cy - 1.1 * radius, 1.0])
    yield outline(chest.frame, x, y, MIDDLE)


def _heart(chest: Chest, severity: float, rng: np.random.Generator) -> Iterator[Box]:
    """The anatomy draws it wider; the box spans both borders of the heart."""
    (cx, cy), (long, short), angle = heart_shape(chest.body, severity)
    wide = np.hypot(long * np.cos(angle), short * np.sin(angle))
    high = np.hypot(long * np.sin(angle), short * np.cos(angle))
    x = np.array([min(cx - wide, -4.5 - 2.0 * severity), cx + wide])
    yield outline(chest.frame, x, np.array([cy - 1.25 * high, cy + 0.9 * high]), HEART)


FINDINGS: dict[str, Draw] = {
    "aortic_enlargement": _aorta,
    "atelectasis": opacities.atelectasis,
    "calcification": opacities.calcification,
    "cardiomegaly": _heart,
    "consolidation": opacities.consolidation,
    "ild": opacities.interstitial,
    "infiltration": opacities.infiltration,
    "lung_opacity": opacities.haze,
    "nodule_mass": opacities.nodules,
    "other_lesion": opacities.other,
    "pulmonary_fibrosis": opacities.fibrosis,
    "pleural_thickening": pleura.thickening,
    "pleural_effusion": pleura.effusion,
    "pneumothorax": pleura.pneumothorax,
}
