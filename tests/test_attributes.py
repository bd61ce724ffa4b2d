"""What is known of an image: the phantom's truth, a header's facts, and labels made of either."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raremix.data.phantom import cohort, dataset
from raremix.data.phantom.attributes import ATTRIBUTES
from raremix.diagnosis.attributes import of_headers, of_phantom, present
from raremix.runtime.errors import UserError

TABLES = Path(__file__).parents[1] / "data" / "phantom"
METADATA = pd.DataFrame(
    {
        "sex": ["M", "F", None],
        "view": ["AP", "PA", "PA"],
        "exposure_index": [400.0, 200.0, 300.0],
        "body_thickness": [210.0, np.nan, 230.0],
        "source_distance": [np.nan] * 3,
        "devices": ["leads|tube", "", "pacemaker"],
    },
    index=pd.Index(["a", "b", "c"], name="image_id"),
)


def test_the_phantoms_attributes_are_those_of_its_truth(tmp_path):
    table = cohort.tables(TABLES)
    dataset.write(cohort.training_part(table, 5, 9) + cohort.test_part(table, 5, 2, [], 0, 100), 5, 48, tmp_path, 1)
    truth = pd.read_csv(tmp_path / "truth.csv", dtype={"patient_id": str})
    known = of_phantom(truth, 5)
    assert list(known.index) == list(truth["image_id"])
    for name in ATTRIBUTES:
        np.testing.assert_allclose(known[name], truth[f"attr_{name}"], rtol=1e-5, atol=1e-6)


def test_a_header_tells_what_it_tells_and_no_more():
    known = of_headers(METADATA)
    assert known.loc["a", ["male", "ap", "leads", "tube", "pacemaker"]].tolist() == [1, 1, 1, 1, 0]
    assert known.loc["b", ["male", "ap"]].tolist() == [0, 0]
    assert known.loc["b", ["leads", "tube", "pacemaker", "thickness"]].isna().all(), "silent, which is not absent"
    assert np.isnan(known.loc["c", "male"])
    assert known["exposure"].tolist() == [400, 200, 300]


def test_labels_are_presence_or_above_the_median_of_images_that_tell():
    known = of_headers(METADATA)
    labels = present(known, ["ap", "exposure"])
    assert labels.to_dict("list") == {"ap": [1, 0, 0], "exposure": [1, 0, 0]}
    assert list(present(known, ["male", "exposure"]).index) == ["a", "b"]


@pytest.mark.parametrize("attribute", ["source_distance", "hiccups"])
def test_an_attribute_that_no_image_tells_is_named(attribute):
    with pytest.raises(UserError, match=f"boundary.attributes: '{attribute}' is known of no image; choose among male"):
        present(of_headers(METADATA), ["ap", attribute])
