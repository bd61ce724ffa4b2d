"""What is known of an image: the phantom's truth, a header's facts, and labels made of either."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raremix.data.phantom import cohort, dataset
from raremix.data.phantom.attributes import ATTRIBUTES
from raremix.diagnosis.attributes import ends, known, of_headers, of_phantom, present
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
    there = of_phantom(truth, 5)
    assert list(there.index) == list(truth["image_id"])
    for name in ATTRIBUTES:
        np.testing.assert_allclose(there[name], truth[f"attr_{name}"], rtol=1e-5, atol=1e-6)


def test_a_header_tells_what_it_tells_and_no_more():
    told = of_headers(METADATA)
    assert told.loc["a", ["male", "ap", "leads", "tube", "pacemaker"]].tolist() == [1, 1, 1, 1, 0]
    assert told.loc["b", ["male", "ap"]].tolist() == [0, 0]
    assert told.loc["b", ["leads", "tube", "pacemaker", "thickness"]].isna().all(), "silent, which is not absent"
    assert np.isnan(told.loc["c", "male"])
    assert told["exposure"].tolist() == [400, 200, 300]


def test_labels_are_presence_or_above_the_median_of_images_that_tell():
    told = of_headers(METADATA)
    assert present(told[["ap", "exposure"]]).to_dict("list") == {"ap": [1, 0, 0], "exposure": [1, 0, 0]}
    assert list(present(told[["male", "exposure"]]).index) == ["a", "b"]


def test_an_attribute_is_moved_between_absent_and_present_or_two_quantiles_of_what_is_known():
    assert ends(pd.Series([0.0, 0.0, 0.0], name="male")) == (0, 1)
    assert ends(pd.Series([*range(101), np.nan], name="thickness")) == pytest.approx((16, 84))


@pytest.fixture
def header(tmp_path):
    METADATA.reset_index().to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path / "metadata.csv"


def test_what_is_known_comes_in_the_order_of_the_rows_and_the_attributes(header):
    rows = pd.DataFrame({"image_id": ["b", "a"], "patient_id": ["P000001", "P000000"], "visit": 0})
    told = known(["exposure", "ap"], "table", rows, header, 5)
    assert told.to_dict("index") == {"b": {"exposure": 200, "ap": 0}, "a": {"exposure": 400, "ap": 1}}
    drawn = known(["thickness", "male"], "phantom", rows, header, 5)
    assert drawn.equals(of_phantom(rows, 5)[["thickness", "male"]])


@pytest.mark.parametrize("attribute", ["source_distance", "hiccups"])
def test_an_attribute_that_no_image_tells_is_named(attribute, header):
    rows = pd.DataFrame({"image_id": ["a", "b", "c"]})
    with pytest.raises(UserError, match=f"measured.attributes: '{attribute}' is known of no image; choose among male"):
        known(["ap", attribute], "table", rows, header, 5)
