"""What is known of a radiograph and its patient: the phantom's truth, or what a header tells."""

from pathlib import Path

import pandas as pd

from raremix.data import Layout
from raremix.data.captions import read_metadata
from raremix.data.findings import DEVICES
from raremix.data.phantom.attributes import ATTRIBUTES, draw
from raremix.runtime.errors import UserError

ENDS = (0.16, 0.84)
FACTS = {"exposure": "exposure_index", "thickness": "body_thickness", "source_distance": "source_distance"}


def known(attributes: list[str], layout: Layout, rows: pd.DataFrame, metadata: Path, seed: int) -> pd.DataFrame:
    """The ``attributes`` of the images in ``rows`` (of the manifest), a column each, by image_id; NaN if not known.

    Raises:
        UserError: an attribute is known of no image.
    """
    values = (
        of_phantom(rows, seed) if layout == "phantom" else of_headers(read_metadata(metadata).loc[rows["image_id"]])
    )
    if unknown := [name for name in attributes if name not in values or values[name].isna().all()]:
        there = [str(name) for name in values if values[name].notna().any()]
        raise UserError(
            f"params.yaml, measured.attributes: '{unknown[0]}' is known of no image; choose among {', '.join(there)}"
        )
    return values[attributes]


def of_phantom(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every attribute of the phantom for the ``rows`` of its manifest: a column each, by image_id."""
    visits = zip(rows["patient_id"], rows["visit"], strict=True)
    drawn = [draw(seed, int(patient.removeprefix("P")), int(visit)) for patient, visit in visits]
    return pd.DataFrame(drawn, index=pd.Index(rows["image_id"]))


def of_headers(metadata: pd.DataFrame) -> pd.DataFrame:
    """What ``metadata`` (by image_id) tells, under the phantom's names; NaN where it is silent."""
    known = pd.DataFrame(
        {
            "male": metadata["sex"].map({"M": 1.0, "F": 0.0}),
            "ap": metadata["view"].map({"AP": 1.0, "PA": 0.0}),
            **{name: metadata[fact].astype(float) for name, fact in FACTS.items()},
        }
    )
    words = metadata["devices"].replace("", None).str.split("|")
    there = {device: words.map(lambda told, one=device: float(one in told), na_action="ignore") for device in DEVICES}
    return known.assign(**there)


def present(values: pd.DataFrame) -> pd.DataFrame:
    """0/1 columns: whether a binary attribute is there, whether a continuous one is above its median.

    Rows of which one of the attributes is not known are left out.
    """
    known = values.dropna()
    ends = {name: 0.5 if _binary(str(name)) else known[name].median() for name in values}
    return (known > pd.Series(ends)).astype(int)


def ends(values: "pd.Series[float]") -> tuple[float, float]:
    """Between which values an attribute is moved: 0 and 1, or quantiles about a standard deviation from the median."""
    if _binary(str(values.name)):
        return 0.0, 1.0
    low, high = values.quantile(list(ENDS))
    return float(low), float(high)


def _binary(name: str) -> bool:
    return name in ATTRIBUTES and ATTRIBUTES[name].binary
