"""Soft tissue, lungs and heart as analytic solids whose chords have closed forms. All thicknesses are cm."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raremix.data.phantom.frame import Frame, Image
from raremix.runtime.seeds import generator

FRONT, HEART, MIDDLE, BACK = 8.0, 4.0, 0.0, -7.0  # depths (cm) at which solids are centred
RIGHT, LEFT = -1, 1  # the patient's; the right lung is on the image's left


@dataclass(frozen=True)
class Body:
    """A patient's measures in cm, from attributes and draws of their own."""

    wall: float  # half-width of the body
    cage: float  # half-width of the thorax inside
    depth: float  # half-depth of the thorax inside
    thickness: float
    stature: float
    domes: dict[int, float]  # height (y) of each diaphragm dome
    heart: tuple[float, float, float]  # scale of its long and its short axis; angle
    vary: dict[str, float]  # small differences between people, standard normal

    def lateral(self, y: ArrayLike) -> Any:
        """Half-width of the thorax at height ``y``."""
        rise = self.rise(y)
        shrink = self.cage * (1 - 0.40 * rise**2) * np.sqrt(np.clip(1 - rise**3, 0, None))
        return 3.5 * self.stature * rise**2 + shrink

    def rise(self, y: ArrayLike) -> Any:
        """0 from the widest level down, 1 at the apex of the lungs."""
        return np.clip((4.0 * self.stature - np.asarray(y)) / (19.0 * self.stature), 0, 1)

    def place(self, side: int, across: ArrayLike, down: ArrayLike) -> tuple[Any, Any]:
        """x and y of a point of the lung: ``across`` 0 hilum to 1 ribs, ``down`` 0 apex to 1 diaphragm."""
        top = -13.2 * self.stature
        y = top + np.asarray(down) * (self.domes[side] + 0.5 - top)
        return side * (3.4 + np.asarray(across) * (self.lateral(y) - 4.0)), np.asarray(y)


def body_of(seed: int, patient: int, attributes: dict[str, float]) -> Body:
    """The patient's measures; inspiration moves the diaphragm and widens the heart."""
    names = ("cage", "heart", "heart_angle", "dome", "dome_left", "hump", "aorta", "breast", "hilum")
    rng = generator("phantom", seed, patient, "anatomy")
    vary = dict(zip(names, np.clip(rng.standard_normal(len(names)), -2, 2), strict=True))
    stature, thickness, deep = attributes["stature"], attributes["thickness"], attributes["inspiration"]
    cage = (13.9 if attributes["male"] else 12.9) * stature * (1 + 0.035 * vary["cage"] + 0.04 * (deep - 0.6))
    dome = (4.2 + 5.4 * deep + 0.5 * vary["dome"]) * stature
    plump = max(0.0, thickness - 18.0)
    return Body(
        wall=cage + 2.0 + 0.22 * plump,
        cage=cage,
        depth=0.5 * thickness - 1.9 - 0.10 * plump,
        thickness=thickness,
        stature=stature,
        domes={RIGHT: dome, LEFT: dome + 1.1 + 0.4 * vary["dome_left"]},
        heart=(
            1 + 0.065 * vary["heart"],
            1 + 0.065 * vary["heart"] + 0.10 * (0.6 - deep),
            0.62 + 0.08 * vary["heart_angle"] + 0.3 * (deep - 0.6),
        ),
        vary=vary,
    )


def tissue(frame: Frame, body: Body, attributes: dict[str, float]) -> Image:
    """Centimetres of soft tissue, as if there were no lungs: torso, neck, shoulders, arms, breasts."""
    x, y = frame.at(MIDDLE)
    wide = np.abs(x)
    waist = body.wall * (1 - 0.0004 * np.clip(y - 2, 0, None) ** 2)
    shoulder = -18.0 * body.stature + 0.30 * np.clip(wide - 5.0, 0, None) + 0.012 * np.clip(wide - 12, 0, None) ** 2
    slope = np.clip((shoulder + 6.0 - y) / 6.0, 0, None)
    girdle = waist + 4.0 * np.clip((-5.0 - y) / 6.0, 0, 1)
    deep = body.thickness * (1 - 0.24 * np.clip((-5.0 - y) / 9.0, 0, 1))
    ratio = np.abs(x / girdle)
    torso = np.clip(1 - ratio * ratio * ratio - slope**2, 0, None) * deep**2
    neck = np.clip(1 - (x / 5.8) ** 2, 0, None) * (11.0 * np.clip((-9 - y) / 9, 0, 1)) ** 2
    whole = np.sqrt(torso + neck + _arms(frame, body, attributes["scapulae"]))
    return whole + _breasts(frame, body, attributes) + _pectorals(frame, body)


def thorax(frame: Frame, body: Body) -> Image:
    """Centimetres inside the rib cage, from which lungs remain after mediastinum and diaphragm are taken."""
    x, y = frame.at(MIDDLE)
    return np.asarray(2 * body.depth * np.sqrt(np.clip(1 - shell(body, x, y), 0, None)), dtype=np.float32)


def shell(body: Body, x: Image, y: Image) -> Image:
    """0 in the axis of each lung's cage, 1 at its wall: the superellipsoid's equation."""
    rise = np.clip((4.0 * body.stature - y) / (19.0 * body.stature), 0, None)
    fall = np.clip((y - 9.0) / 8.0, 0, None)
    across = (np.abs(x) - 3.5 * body.stature * rise**2) / (body.cage * (1 - 0.40 * np.minimum(rise, 1.2) ** 2))
    across2 = across * across
    return np.asarray(across2 * (0.6 * across2 + 0.4) + rise * rise * rise + fall * fall, dtype=np.float32)


def domes(frame: Frame, body: Body) -> Image:
    """Squared centimetres under the two domes of the diaphragm (chords add as squares: a smooth union)."""
    x, y = frame.at(MIDDLE)
    total = np.zeros_like(x)
    for side, top in body.domes.items():
        deep, high = 2 * body.depth * 0.97, 6.5 + 0.8 * body.vary["hump"]
        below = np.clip(top + high - y, 0, None) / high
        across = (x - side * 0.42 * body.cage) / (0.64 * body.cage)
        total += deep**2 * np.clip(1 - across**2 - below**2, 0, None)
    return total


def heart(frame: Frame, body: Body, enlarged: float) -> Image:
    """Squared centimetres of the heart; ``enlarged`` 0 (healthy) to 1 (gross) widens it, mostly to the left."""
    x, y = frame.at(HEART)
    (cx, cy), (long, short), angle = heart_shape(body, enlarged)
    ventricle = ellipsoid(x, y, cx, cy, long, short, 5.2, angle)
    atrium = ellipsoid(x, y, -1.5 - 1.1 * enlarged, cy - 0.4, 3.2 + 0.8 * enlarged, 5.0 + 0.5 * enlarged, 4.0)
    trunk = ellipsoid(x, y, 2.2, -2.4 * body.stature, 2.3 + 0.3 * enlarged, 3.0, 2.6)
    return ventricle + atrium + trunk


def heart_shape(body: Body, enlarged: float) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Centre, semi-axes and angle of the ventricles' ellipsoid."""
    long, short, angle = body.heart
    size = 0.94 * body.stature
    centre = (2.7 * size + 1.2 * enlarged, body.domes[LEFT] - 4.4 * size + 0.3 * enlarged)
    axes = (7.5 * long * size * (1 + 0.32 * enlarged), 5.1 * short * size * (1 + 0.26 * enlarged))
    return centre, axes, angle - 0.12 * enlarged


def pedicle(frame: Frame, body: Body, attributes: dict[str, float], aneurysm: float) -> tuple[Image, Image]:
    """Squared centimetres of the upper mediastinum, and centimetres of the descending aorta behind the heart."""
    x, y = frame.at(MIDDLE)
    half = 2.6 + 0.025 * np.clip(y + 7, 0, None) ** 1.5 + 0.02 * (body.thickness - 20)
    stem = (2 * 5.5) ** 2 * np.clip(1 - (x / half) ** 2, 0, None)
    knob, radius = knob_shape(body, attributes, aneurysm)
    arch = ellipsoid(x, y, *knob, radius, radius * 1.08, 3.2 + aneurysm)
    unfolded = attributes["aortic_unfolding"]
    ascending = ellipsoid(x, y, -1.0 - 0.9 * aneurysm, -2.6, 2.2 + 0.4 * unfolded + 1.3 * aneurysm, 4.6, 3.0)
    xb, yb = frame.at(BACK + 2)
    sway = 1.8 + (0.9 * unfolded + 1.2 * aneurysm) * np.sin(np.clip((yb + 6) / 14, 0, 1) * np.pi)
    wide = 1.25 + 0.3 * unfolded + 0.7 * aneurysm
    descending = 2 * wide * np.sqrt(np.clip(1 - ((xb - sway) / wide) ** 2, 0, None)) * _step(yb, -5.0, 1.0)
    return stem + arch + ascending, np.asarray(descending, dtype=np.float32)


def knob_shape(body: Body, attributes: dict[str, float], aneurysm: float) -> tuple[tuple[float, float], float]:
    """Centre and radius of the aortic arch seen end-on."""
    grown = 1.5 + 0.5 * attributes["aortic_unfolding"] + 0.1 * body.vary["aorta"]
    rise = 0.8 * attributes["aortic_unfolding"] + 0.8 * aneurysm
    across = 2.1 + 0.5 * attributes["aortic_unfolding"] + 0.7 * aneurysm
    return (across, -5.9 * body.stature - rise), grown * (1 + 0.75 * aneurysm)


def gas(frame: Frame, body: Body, seed: int, patient: int, visit: int) -> Image:
    """Centimetres of air in stomach and colon under the left dome."""
    rng = generator("phantom", seed, patient, visit, "gas")
    x, y = frame.at(MIDDLE)
    top = body.domes[LEFT]
    size = rng.uniform(0.8, 3.2)
    bubble = ellipsoid(x, y, rng.uniform(4.5, 7.5), top + 1.0 + 0.75 * size, 1.5 * size, 0.75 * size, rng.uniform(1, 3))
    total = np.sqrt(bubble)
    for _ in range(rng.integers(0, 4)):
        across, down, wide = rng.uniform(-9, 10), top + rng.uniform(4.5, 8.5), rng.uniform(0.8, 2.0)
        high, turn = rng.uniform(0.5, 0.9) * wide, rng.uniform(-1, 1)
        total += np.sqrt(ellipsoid(x, y, across, down, wide, high, 0.7 * wide, turn))
    return np.asarray(total, dtype=np.float32)


def airway(frame: Frame, body: Body) -> Image:
    """Centimetres of air in trachea and main bronchi."""
    x, y = frame.at(MIDDLE)
    carina = -4.4 * body.stature
    trachea = 1.8 * np.sqrt(np.clip(1 - ((x - 0.15) / 0.9) ** 2, 0, None)) * _step(-y, -carina, 0.7)
    for side, run, drop in ((RIGHT, 3.2, 3.6), (LEFT, 4.4, 2.9)):
        along = np.clip((side * x * run + (y - carina) * drop) / (run**2 + drop**2), 0, 1)
        away = (side * x - along * run) ** 2 + (y - carina - along * drop) ** 2
        trachea = np.maximum(trachea, 1.3 * np.sqrt(np.clip(1 - away / 0.55**2, 0, None)))
    return np.asarray(trachea, dtype=np.float32)


def ellipsoid(x: Image, y: Image, cx: float, cy: float, a: float, b: float, c: float, angle: float = 0.0) -> Image:
    """Squared chord through an ellipsoid of semi-axes a, b in the picture and c along the ray."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    across, down = (dx * cosine + dy * sine) / np.float32(a), (dy * cosine - dx * sine) / np.float32(b)
    return np.float32(4 * c * c) * np.clip(1 - across * across - down * down, 0, None)


def _arms(frame: Frame, body: Body, down: float) -> Image:
    """Squared centimetres of the upper arms; ``down`` brings them to the sides."""
    x, y = frame.at(BACK)
    joint, height = body.wall + 2.6, -11.0 * body.stature
    run, drop = 9.5 - 7.5 * down, 24.0
    along = np.clip(((np.abs(x) - joint) * run + (y - height) * drop) / (run**2 + drop**2), 0, 1)
    away = (np.abs(x) - joint - along * run) ** 2 + (y - height - along * drop) ** 2
    return 4 * np.clip((4.2 + 0.1 * (body.thickness - 20)) ** 2 - away, 0, None)


def _breasts(frame: Frame, body: Body, attributes: dict[str, float]) -> Image:
    x, y = frame.at(FRONT)
    full = np.clip(1.0 + 0.16 * (body.thickness - 21) + 0.35 * body.vary["breast"], 0.35, 2.4)
    if attributes["male"]:
        full *= 0.22 if body.thickness > 25 else 0.0
    total = np.zeros_like(x)
    droop = 4.0 + 0.02 * (attributes["age"] - 40) + 0.9 * full
    for side in (RIGHT, LEFT):
        across = ((x - side * 8.2) / 5.8) ** 2
        down = (y - droop) / np.where(y > droop, 4.2, 8.5)
        total += 2.0 * full * np.sqrt(np.clip(1 - across - down**2, 0, None))
    return total


def _pectorals(frame: Frame, body: Body) -> Image:
    x, y = frame.at(FRONT)
    fold = ellipsoid(np.abs(x), y, 10.5, -7.5, 6.5, 4.5, 0.8, -0.6)
    return np.asarray(np.sqrt(fold))


def _step(value: Image, at: float, width: float) -> Image:
    return 1 / (1 + np.exp(np.clip((at - value) * (4 / width), -30, 30)))
