"""One exposure of one patient, put together: solids, vessels, bones, pathology, physics."""

from dataclasses import dataclass

import numpy as np

from raremix.data.phantom import anatomy, bones, devices, physics
from raremix.data.phantom.anatomy import Body
from raremix.data.phantom.attributes import checked, draw
from raremix.data.phantom.chest import Box, Chest
from raremix.data.phantom.frame import Frame, Image, frame_of
from raremix.data.phantom.pathology import apply
from raremix.data.phantom.vessels import vessels
from raremix.runtime.seeds import generator


@dataclass
class Exposure:
    """Line integrals of attenuation and what they come from."""

    frame: Frame
    attributes: dict[str, float]
    findings: dict[str, float]
    integral: Image
    lesions: list[tuple[str, Box]]


def expose(patient: int, visit: int, seed: int, height: int, changes: dict[str, float]) -> Exposure:
    """Line integrals through a patient; no scatter, no noise."""
    changed, severities = checked(changes)
    attributes = draw(seed, patient, visit) | changed
    frame = frame_of(seed, patient, visit, attributes, height)
    body = anatomy.body_of(seed, patient, attributes)
    chest = _chest(frame, body, attributes, (seed, patient, visit), severities)
    lesions = apply(chest)
    return Exposure(frame, attributes, severities, _integral(chest), lesions)


def _chest(
    frame: Frame, body: Body, attributes: dict[str, float], who: tuple[int, int, int], severities: dict[str, float]
) -> Chest:
    cage = anatomy.thorax(frame, body)
    stem, descending = anatomy.pedicle(frame, body, attributes, severities.get("aortic_enlargement", 0.0))
    heart = anatomy.heart(frame, body, severities.get("cardiomegaly", 0.0))
    middle = np.sqrt(heart + stem + anatomy.domes(frame, body)) + descending
    lung = np.clip(cage - middle, 0, None)
    return Chest(frame, body, attributes, *who, severities, lung, vessels(frame, body, *who[:2]))


def _integral(chest: Chest) -> Image:
    frame, body, attributes, who = chest.frame, chest.body, chest.attributes, (chest.seed, chest.patient)
    filled = np.minimum(chest.vessels + chest.fluid, chest.lung)
    aerated = np.clip(chest.lung - filled - chest.air, 0, None)
    hollow = anatomy.airway(frame, body) + anatomy.gas(frame, body, *who, chest.visit) + chest.hollow
    soft = np.clip(anatomy.tissue(frame, body, attributes) - chest.lung - hollow, 0, None) + filled
    bone = bones.ribs(frame, body, *who) + bones.spine(frame, body, *who) + chest.lime
    bone += bones.girdle(frame, body, *who, attributes["scapulae"])
    metal = devices.devices(frame, body, attributes, *who, chest.visit)
    total = physics.SOFT * soft + physics.LUNG * aerated + physics.METAL * metal
    return np.asarray(total + physics.BONE * attributes["bone_density"] * bone, dtype=np.float32)


def picture(exposure: Exposure, seed: int, patient: int, visit: int, noisy: bool = True) -> Image:
    """Grey values 0 to 1 on the display."""
    shape = exposure.integral.shape
    rng = generator("phantom", seed, patient, visit, "noise")
    noise = rng.standard_normal(shape, dtype=np.float32) if noisy else None
    signal = physics.exposed(exposure.integral, exposure.frame.pixel, exposure.attributes, noise)
    grey = physics.displayed(signal, exposure.frame.pixel, exposure.attributes)
    blades = generator("phantom", seed, patient, visit, "shutter")
    return grey * _shutter(shape, exposure.attributes["collimation"], blades)


def _shutter(shape: tuple[int, int], closed: float, rng: np.random.Generator) -> Image:
    """1 in the collimated field, 0 (black) outside it; each blade has its own share of ``closed``."""
    top, bottom, left, right = 0.10 * max(0.0, closed - 0.12) * rng.uniform(0.2, 1.0, 4)
    rows, columns = (np.arange(n) / n for n in shape)
    open_rows, open_columns = (rows >= top) & (rows < 1 - bottom), (columns >= left) & (columns < 1 - right)
    return (open_rows[:, None] & open_columns[None, :]).astype(np.float32)
