"""What is known of a radiograph and its patient: the phantom's truth, or what a header tells."""

import pandas as pd

from raremix.data.findings import DEVICES
from raremix.data.phantom.attributes import ATTRIBUTES, draw
from raremix.runtime.errors import UserError

FACTS = {"exposure": "exposure_index", "thickness": "body_thickness", "source_distance": "source_distance"}


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


def present(values: pd.DataFrame, attributes: list[str]) -> pd.DataFrame:
    """0/1 columns: whether a binary attribute is there, whether a continuous one is above its median.

    Rows of which one of the ``attributes`` is not known are left out.

    Raises:
        UserError: an attribute is known of no image.
    """
    if unknown := [name for name in attributes if name not in values or values[name].isna().all()]:
        there = [str(name) for name in values if values[name].notna().any()]
        raise UserError(
            f"params.yaml, boundary.attributes: '{unknown[0]}' is known of no image; choose among {', '.join(there)}"
        )
    known = values[attributes].dropna()
    ends = {name: 0.5 if _binary(name) else known[name].median() for name in attributes}
    return (known > pd.Series(ends)).astype(int)


def _binary(name: str) -> bool:
    return name in ATTRIBUTES and ATTRIBUTES[name].binary
