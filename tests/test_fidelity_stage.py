"""The fidelity stage: tables of synthetic images beside real ones, copies counted, leaks refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from raremix.classifier.model import build
from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.data.manifest import FIXED, SYNTHETIC, write_csv
from raremix.evaluation.fidelity import Measuring
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from stages.fidelity import Fidelity, fidelity
from stages.sections import Study

TASK = ["nodule", "air"]
STUDY = Study(TASK, ["air"], ["vanilla", "oversample", "dreambooth_mix"], [5], [0])
ASKED = Fidelity("mobilenet_v3_small", "float32", Measuring(3, 10, 3, 5), 0.04, 4)
PARTS = ["train"] * 60 + ["validation"] * 40 + ["held_back"] * 10 + ["test"] * 20
SIDE = 48


def picture(rng):
    """Smooth noise, so that a shift by a pixel is a near-duplicate."""
    coarse = torch.tensor(rng.normal(size=(1, 1, 7, 7)))
    smooth = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=True)[0, 0].numpy()
    return (127 + 40 * smooth).clip(0, 255).astype(np.uint8)


def write(folder, names, rng, **planted):
    """A picture a name; one that is ``planted`` is a copy of that file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.png" for name in names]
    for name, file in zip(names, files, strict=True):
        images.save(picture(rng), file)
        if name in planted:
            file.write_bytes(planted[name].read_bytes())
    return [str(file) for file in files]


def synthetic(root, finding, rng, **planted):
    names = [f"{finding}{k}" for k in range(30)]
    rows = pd.DataFrame({"image_id": names, "file": write(root / "drawn", names, rng, **planted)})
    rows["sha256"] = [sha256(Path(file)) for file in rows["file"]]
    rows = rows.assign(**{name: "0" for name in SYNTHETIC if name not in rows}, **dict.fromkeys(TASK, 0))
    rows.loc[:14, finding] = 1
    write_csv(rows[[*SYNTHETIC, *TASK]], root / "synthetic" / f"{finding}-5-0" / "manifest.csv")
    return rows.assign(source="synthetic", weight=1.0)[["image_id", "file", "source", "weight", *TASK]]


def build_study(root, planted=None, leaked=False):
    """A profile up to its mixes; the synthetic image that is ``planted`` is a copy of the first training image."""
    rng = np.random.default_rng(0)
    names = [f"i{k:03d}" for k in range(len(PARTS))]
    rows = pd.DataFrame({"image_id": names, "file": write(root / "images", names, rng)})
    if leaked:
        Path(rows["file"].iloc[-1]).write_bytes(Path(rows["file"].iloc[0]).read_bytes())
    rows = rows.assign(**{name: "0" for name in FIXED if name not in rows})
    rows[["patient_id", "official_part"]] = [[name, ""] for name in names]
    labels = (np.arange(len(PARTS))[:, None] % [2, 3] == 0).astype(int)
    rows[TASK] = labels
    write_csv(rows[[*FIXED, *TASK]], root / "manifest.csv")
    write_checksums({file: sha256(Path(file)) for file in rows["file"]}, root / "images.sha256")
    write_csv(pd.DataFrame({"image_id": names, "part": PARTS, "shot_rank": ""}), root / "splits" / "trial0.csv")
    copies = {planted: root / "images" / "i000.png"} if planted else {}
    made = pd.concat([synthetic(root, finding, rng, **copies) for finding in TASK])
    real = rows[:60].assign(source="real", weight=1.0)[["image_id", "file", "source", "weight", *TASK]]
    mixes = {
        "vanilla": real,
        "oversample": real.assign(weight=1.0 + real["air"]),
        "dreambooth_mix": pd.concat([real, made]),
    }
    for arm, mixed in mixes.items():
        write_csv(mixed, root / "mix" / f"{arm}-5-0.csv")
    torch.manual_seed(0)
    save_file(build(ASKED.model, 2).state_dict(), root / "backbone.safetensors")


def call(root, asked=ASKED):
    names = ("manifest.csv", "splits", "images.sha256", "synthetic", "mix", "backbone.safetensors", "out")
    fidelity(STUDY, asked, *(root / name for name in names))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("done")
    build_study(root, planted="air3")
    call(root)
    return root / "out"


def test_synthetic_images_stand_beside_real_training_images(done):
    table = pd.read_csv(done / "fidelity.csv").set_index(["finding", "kind"])
    assert set(table.index) == {(finding, kind) for finding in [*TASK, "all"] for kind in ("synthetic", "real")}
    assert (table["shots"].eq(5) & table["trial"].eq(0)).all()
    assert table.loc[("air", "synthetic"), ["real", "images"]].tolist() == [14, 15], "carriers alone"
    assert table.loc[("all", "real"), ["real", "images"]].tolist() == [40, 60]
    assert table[["precision", "recall", "coverage"]].stack().between(0, 1).all()


def test_the_planted_copy_is_counted_and_shown_first(done):
    table = pd.read_csv(done / "memorisation.csv").set_index("finding")
    assert table["images"].tolist() == [30, 30]
    assert table["copies"].tolist() == [0, 1]
    assert table.loc["air", "least_pixel_distance"] < 0.01 < table.loc["nodule", "least_pixel_distance"]
    left, right = np.hsplit(np.asarray(images.Image.open(done / "nearest.png"))[:SIDE, : 2 * SIDE], 2)
    assert (left == right).all()


def test_repeating_images_adds_no_diversity_and_inventing_some_does(done):
    table = pd.read_csv(done / "added.csv").set_index("arm")
    assert list(table.index) == ["oversample", "dreambooth_mix"], "vanilla adds nothing"
    assert table.loc["oversample", "diversity"] == 0
    assert table.loc["oversample", "added"] == 20
    assert table.loc["dreambooth_mix", "diversity"] != 0
    assert table["gap"].between(0, 1).all()


def test_a_test_image_that_trains_stops_the_run(tmp_path):
    build_study(tmp_path, leaked=True)
    with pytest.raises(UserError, match="'i000', which trains, and 'i129' of validation or test are nearly the same"):
        call(tmp_path)
    assert not (tmp_path / "out").exists()


def test_too_few_held_out_images_can_not_calibrate(tmp_path):
    build_study(tmp_path)
    with pytest.raises(UserError, match=r"50 held-out images can't calibrate 0\.01 false alarms"):
        call(tmp_path, replace(ASKED, false_alarms=0.01))
