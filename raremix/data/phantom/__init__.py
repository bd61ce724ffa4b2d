"""Radiographs of patients who never were, drawn by physics, whose truth is known.

``render(patient, visit)`` is a healthy chest; ``render(patient, visit, pneumothorax=0.7)`` the same chest, the same
exposure, the same noise, with that finding; ``render(patient, visit, rotation=8)`` the same with the patient turned.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raremix.data.findings import FINDINGS
from raremix.data.phantom.scene import expose, picture

SEED, HEIGHT = 0, 160
GREY = 65535  # white


def render(
    patient: int, visit: int = 0, *, seed: int = SEED, height: int = HEIGHT, noise: bool = True, **changes: float
) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """A radiograph (height, width), 0 black to 65535 white, bone bright, and its truth.

    Every draw has a stream of its own, so a change of one attribute (``attributes.ATTRIBUTES``) or one finding (slug,
    severity 0 to 1, 0 is absent) changes nothing else. Truth: ``patient``, ``visit``, ``attributes``, ``findings``
    (severity of all fourteen), ``lesions`` (finding and box in pixels), ``spacing`` (mm a pixel).

    Raises:
        UserError: an unknown name or a value outside its range.
    """
    exposure = expose(patient, visit, seed, height, changes)
    grey = picture(exposure, seed, patient, visit, noise)
    truth = {
        "patient": patient,
        "visit": visit,
        "attributes": exposure.attributes,
        "findings": {finding: exposure.findings.get(finding, 0.0) for finding in FINDINGS},
        "lesions": [{"finding": finding, "box": [round(edge, 1) for edge in box]} for finding, box in exposure.lesions],
        "spacing": round(10 * exposure.frame.pixel, 4),
    }
    return np.rint(grey * GREY).astype(np.uint16), truth


def mask(
    patient: int, finding: str, visit: int = 0, *, seed: int = SEED, height: int = HEIGHT, **changes: float
) -> NDArray[np.bool_]:
    """Where ``finding`` (severity in ``changes``) alters the line integrals by more than 0.01; (height, width)."""
    present = expose(patient, visit, seed, height, changes).integral
    absent = expose(patient, visit, seed, height, changes | {finding: 0.0}).integral
    return np.asarray(np.abs(present - absent) > 0.01)
