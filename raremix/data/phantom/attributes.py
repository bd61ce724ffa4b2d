"""What a phantom patient is and how the radiograph was taken: every attribute, its range and how it is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from raremix.data.findings import FINDINGS
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator


@dataclass(frozen=True)
class Attribute:
    """``low`` to ``high`` (0 and 1 if binary); ``draw`` takes a generator of its own and the attributes before it."""

    low: float
    high: float
    of: str  # "patient": the same at every visit; "visit": drawn anew
    draw: Callable[[np.random.Generator, Mapping[str, float]], float]
    binary: bool = False


def _normal(mean: float, sd: float) -> Callable[[np.random.Generator, Mapping[str, float]], float]:
    return lambda rng, _: rng.normal(mean, sd)


def _coin(probability: float) -> Callable[[np.random.Generator, Mapping[str, float]], float]:
    return lambda rng, _: float(rng.random() < probability)


def _thickness(rng: np.random.Generator, so_far: Mapping[str, float]) -> float:
    return 21.0 + 1.2 * so_far["male"] + 2.8 * rng.standard_normal()


def _bone(rng: np.random.Generator, so_far: Mapping[str, float]) -> float:
    return 1.08 - 0.004 * (so_far["age"] - 40) * (1.3 - 0.3 * so_far["male"]) + 0.1 * rng.standard_normal()


def _unfolding(rng: np.random.Generator, so_far: Mapping[str, float]) -> float:
    return (so_far["age"] - 35) / 75 + 0.14 * rng.standard_normal()


def _distance(rng: np.random.Generator, so_far: Mapping[str, float]) -> float:
    return (112.0 if so_far["ap"] else 180.0) + 7.0 * rng.standard_normal()


def _scapulae(rng: np.random.Generator, so_far: Mapping[str, float]) -> float:
    return rng.beta(2.0, 3.0) + 0.35 * so_far["ap"]


ATTRIBUTES = {
    "male": Attribute(0, 1, "patient", _coin(0.52), binary=True),
    "age": Attribute(18, 92, "patient", _normal(52, 17)),  # years
    "thickness": Attribute(16, 32, "patient", _thickness),  # cm, front to back: the patient's habitus
    "stature": Attribute(0.88, 1.1, "patient", _normal(0.99, 0.035)),  # of the thorax, 1 = average man
    "scoliosis": Attribute(-28, 28, "patient", lambda rng, _: 4.0 * rng.standard_t(3)),  # degrees, right positive
    "bone_density": Attribute(0.55, 1.4, "patient", _bone),
    "aortic_unfolding": Attribute(0, 1, "patient", _unfolding),
    "pacemaker": Attribute(0, 1, "patient", _coin(0.03), binary=True),
    "ap": Attribute(0, 1, "visit", _coin(0.15), binary=True),  # else PA
    "source_distance": Attribute(90, 200, "visit", _distance),  # cm, focal spot to detector
    "exposure": Attribute(0.4, 2.5, "visit", lambda rng, _: float(np.exp(0.28 * rng.standard_normal()))),
    "rotation": Attribute(-14, 14, "visit", _normal(0, 3.2)),  # degrees about the long axis
    "lordosis": Attribute(-8, 14, "visit", _normal(2, 3)),  # degrees, tube tilt against the chest
    "inspiration": Attribute(0, 1, "visit", lambda rng, _: rng.beta(3.2, 2.0)),
    "scapulae": Attribute(0, 1, "visit", _scapulae),  # overlap with the lungs; 1: arms hang beside the body
    "tilt": Attribute(-8, 8, "visit", _normal(0, 1.8)),  # degrees in the picture
    "collimation": Attribute(0, 1, "visit", lambda rng, _: rng.beta(1.2, 3.0)),  # shutter, 1 = 10 % off each side
    "enhancement": Attribute(0, 1, "visit", lambda rng, _: rng.beta(2.0, 2.0)),  # local contrast of the workstation
    "leads": Attribute(0, 1, "visit", lambda rng, so_far: float(rng.random() < 0.04 + 0.4 * so_far["ap"]), binary=True),
    "tube": Attribute(0, 1, "visit", lambda rng, so_far: float(rng.random() < 0.02 + 0.25 * so_far["ap"]), binary=True),
}


def draw(seed: int, patient: int, visit: int) -> dict[str, float]:
    """Attributes of a patient at a visit; each is drawn from a stream of its own."""
    values: dict[str, float] = {}
    for name, attribute in ATTRIBUTES.items():
        when = visit if attribute.of == "visit" else "always"
        value = attribute.draw(generator("phantom", seed, patient, when, name), values)
        values[name] = float(np.clip(value, attribute.low, attribute.high))
    return values


def checked(changes: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """``changes`` as (attributes, severities of findings).

    Raises:
        UserError: an unknown name, or a value outside its range.
    """
    attributes, severities = {}, {}
    for name, value in changes.items():
        if name in ATTRIBUTES:
            attributes[name] = _inside(name, float(value), ATTRIBUTES[name].low, ATTRIBUTES[name].high)
        elif name in FINDINGS:
            severities[name] = _inside(name, float(value), 0.0, 1.0)
        else:
            choice = ", ".join((*ATTRIBUTES, *FINDINGS))
            raise UserError(f"phantom: unknown attribute or finding '{name}'; choose among {choice}")
    return attributes, severities


def _inside(name: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise UserError(f"phantom: {name}={value:g} is out of range; choose {low:g} to {high:g}")
    return value
