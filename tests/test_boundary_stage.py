"""The boundary stage, on latents in which the test planted what the phantom's patients are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raremix.data.manifest import FIXED
from raremix.data.phantom.attributes import draw
from raremix.diagnosis.stored import read_directions
from raremix.runtime.errors import UserError
from stages.boundary import Boundary, boundary
from stages.diagnosed import Measured

COUNT, STEPS = 120, 2
MEASURED, ASKED = Measured(["male", "thickness"]), Boundary(8, 10, 2)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Call it with options: h holds sex at both steps, e holds nothing; the last image was left out."""
    monkeypatch.chdir(tmp_path)
    names = [f"i{index:03d}" for index in range(COUNT)]
    rows = pd.DataFrame(dict.fromkeys(FIXED, ""), index=range(COUNT)).assign(image_id=names, visit=0, cardiomegaly=0)
    rows["patient_id"] = [f"P{index:06d}" for index in range(COUNT)]
    rows.to_csv("manifest.csv", index=False)
    sexes = np.array([draw(5, index, 0)["male"] for index in range(COUNT)])
    columns = ["view", "exposure_index", "body_thickness", "source_distance", "devices"]
    metadata = pd.DataFrame(dict.fromkeys(columns, ""), index=range(COUNT)).assign(image_id=names)
    metadata.assign(sex=np.where(sexes == 1, "M", "F")).to_csv("metadata.csv", index=False)
    rng = np.random.default_rng(0)
    h = rng.normal(size=(COUNT, STEPS, 1, 6, 2, 2))
    h[:, :, 0, 3, 1, 1] += 6 * sexes[:, None]
    h[-1] = 1e4
    Path("latents/real").mkdir(parents=True)
    np.save("latents/real/h.npy", h.astype(np.float16))
    np.save("latents/real/e.npy", rng.normal(size=(COUNT, STEPS, 3, 4, 4)).astype(np.float16))
    pd.DataFrame({"image_id": names, "kept": [1] * (COUNT - 1) + [0]}).to_csv("latents/real/images.csv", index=False)

    def call(measured=MEASURED, layout="phantom"):
        paths = [tmp_path / name for name in ("manifest.csv", "metadata.csv", "latents", "out", "metrics")]
        boundary(measured, ASKED, layout, 5, *paths)

    return call


def test_a_planted_attribute_is_found_in_its_space(stage):
    stage()
    found = pd.read_csv("metrics/boundaries.csv").set_index(["space", "attribute", "step"]).sort_index()
    assert len(found) == 2 * 2 * STEPS
    assert (found.loc[("h", "male"), "auc"] > 0.95).all()
    assert (found.loc[("e", "male"), "auc"] < 0.75).all()
    found = read_directions(Path("out/h.safetensors"))
    assert found["normals"].shape == found["moves"].shape == found["permuted"].shape == (STEPS, 2, 6, 2, 2)
    assert (found["normals"][:, 0, 3, 1, 1] > 0.9).all()
    assert (found["moves"][:, 0, 3, 1, 1] > 1).all(), "about a standard deviation of latents that differ by 6"
    assert (found["moves"][:, 0, 3, 1, 1] > 2 * np.abs(found["permuted"][:, 0, 3, 1, 1])).all()
    cosines = pd.read_csv("metrics/cosines.csv")
    assert cosines[["male", "thickness"]].to_numpy()[:2].diagonal().tolist() == [1, 1]


def test_real_data_are_asked_what_their_headers_tell(stage):
    stage(Measured(["male"]), "table")
    assert (pd.read_csv("metrics/boundaries.csv").query("space == 'h'")["auc"] > 0.95).all()
    with pytest.raises(UserError, match="'thickness' is known of no image; choose among male"):
        stage(layout="table")


def test_the_same_params_give_the_same_bytes(stage):
    stage()
    files = [*Path("metrics").iterdir(), *Path("out").iterdir()]
    before = {file: file.read_bytes() for file in files}
    stage()
    assert before == {file: file.read_bytes() for file in files}


def test_an_attribute_of_one_class_is_refused_before_anything_is_written(stage):
    with pytest.raises(UserError, match=r"'pacemaker' is present in \d of 119 images"):
        stage(Measured(["male", "pacemaker"]))
    assert not Path("out").exists()
