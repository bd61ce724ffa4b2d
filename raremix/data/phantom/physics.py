"""From centimetres to grey levels: Beer-Lambert, scatter, photon counts, the detector's logarithm, display."""

import numpy as np

from raremix.data.phantom.frame import Image, blurred

# Linear attenuation at about 70 keV, 1/cm (NIST XCOM, Hubbell and Seltzer 2004); bone and metal are the excess over
# soft tissue of what the solids mean: trabecular bone with cortex, thin steel.
SOFT, LUNG, BONE, METAL = 0.19, 0.055, 0.30, 2.6
PHOTONS = 4.0e5  # a native pixel of 2.7 mm, unattenuated beam behind a chest's lung: 1e5 / mm^2


def exposed(integral: Image, pixel: float, attributes: dict[str, float], noise: Image | None) -> Image:
    """Detector signal relative to the open beam from line integrals of attenuation.

    Scatter is a veil: a wide blur of the primary, more of it behind thick patients. ``noise`` holds standard normal
    numbers; with counts above 1e3 a Poisson count is Gaussian.
    """
    primary = np.exp(-integral)
    veil = (0.25 + 0.022 * (attributes["thickness"] - 18)) * blurred(np.minimum(primary, 0.35), 4.5 / pixel)
    total = blurred(primary, 0.12 / pixel) + veil
    if noise is not None:
        dose = PHOTONS * attributes["exposure"] * (pixel / 0.27) ** 2
        total = total + noise * np.sqrt(total / dose)
    return np.maximum(total, 1e-5)


def displayed(signal: Image, pixel: float, attributes: dict[str, float]) -> Image:
    """Grey values 0 (black, open beam) to 1 (white): logarithm, local contrast, window, display curve.

    The window follows the patient's thickness, as automatic exposure control does, and never the picture's content.
    """
    density = -np.log(signal)
    boost = 0.15 + 0.6 * attributes["enhancement"]
    flat = np.clip(density, 0.6, None)
    density = density + boost * (flat - blurred(flat, 3.5 / pixel))
    low = 0.45 + 0.035 * (attributes["thickness"] - 18) + 0.55 * np.log(attributes["exposure"])
    high = low + 2.9 + 0.07 * (attributes["thickness"] - 18)
    value = np.clip((density - low) / (high - low), -0.5, 1.6)
    return np.asarray(1 / (1 + np.exp(-5.0 * (value - 0.55))), dtype=np.float32)
