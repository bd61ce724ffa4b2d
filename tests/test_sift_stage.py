"""The sift stage: synthetic images that do not show their finding gain less by it than those that do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import save_file

from raremix.classifier.model import build
from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.data.lineage import write_lineage
from raremix.data.manifest import FIXED, SYNTHETIC, write_csv
from raremix.data.synthetic import clearest, read_gains
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256
from stages.classify import Classify
from stages.mix import Mix, Sift
from stages.sections import Study
from stages.sift import sift, taught

NET, SIDE = "resnet18", 32
TASK = ["nodule", "air"]
STUDY = Study(TASK, ["air"], TASK, ["vanilla", "dreambooth_mix"], [4], [0])
CLASSIFY = Classify(NET, replace(tiny.CLASSIFIER, steps=9, batch=16, lr=3e-3, ema_decay=0.8))
STEPS = 60  # of the one that sifts
REAL = [(0, 0)] * 40 + [(1, 0)] * 30 + [(0, 1)] * 4  # normal, nodule, air
PAIRS, BLANK = 24, 3  # pairs of either finding; each third one does not show it


def picture(rng, nodule, air):
    """Noise with a bright square for a nodule, a dark one for air."""
    grey = rng.normal(120, 12, (SIDE, SIDE))
    grey[6:16, 6:16] += 90 * nodule
    grey[16:26, 14:28] -= 90 * air
    return grey.clip(0, 255).astype(np.uint8)


def save(folder, named):
    folder.mkdir(exist_ok=True)
    for name, pixels in named.items():
        images.save(pixels, folder / f"{name}.png")
    return [str(folder / f"{name}.png") for name in named]


def pairs_of(root, finding):
    """A checkpoint's images; each pair is an original, without and with the finding, or twice without."""
    names = [f"{finding}-4-0-{index:05d}" for index in range(PAIRS)]
    drawn = {}
    for index, name in enumerate(names):
        shows = float(index % BLANK > 0)
        drawn[f"{name}-neg"] = picture(np.random.default_rng(index), 0, 0)
        drawn[f"{name}-pos"] = picture(np.random.default_rng(index), *[shows * (one == finding) for one in TASK])
    table = pd.DataFrame({"image_id": list(drawn), "file": save(root / "drawn", drawn)})
    table["sha256"] = [sha256(Path(file)) for file in table["file"]]
    table = table.assign(**{name: "0" for name in SYNTHETIC if name not in table}, **dict.fromkeys(TASK, 0))
    table["parents"] = "i000"
    table.loc[table["image_id"].str.endswith("-pos"), finding] = 1
    folder = root / "synthetic" / "4-0" / finding
    write_csv(table[[*SYNTHETIC, *TASK]].sort_values("image_id"), folder / "manifest.csv")
    write_lineage({"corpus": ["i000"]}, folder)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("sift"), np.random.default_rng(0)
    names = [f"i{index:03d}" for index in range(len(REAL))]
    files = save(root / "images", {name: picture(rng, *marks) for name, marks in zip(names, REAL, strict=True)})
    rows = pd.DataFrame({"image_id": names, "file": files}).assign(
        patient_id=names, visit=0, official_part="", reader_trio=""
    )
    rows[TASK] = REAL
    write_csv(rows[[*FIXED, *TASK]], root / "manifest.csv")
    write_checksums({file: sha256(Path(file)) for file in files}, root / "images.sha256")
    rank = pd.Series([None] * 70 + [0, 1, 2, 3], dtype="Int64")
    write_csv(pd.DataFrame({"image_id": names, "part": "train", "shot_rank": rank}), root / "splits" / "trial0.csv")
    for finding in TASK:
        pairs_of(root, finding)
    write_csv(pd.DataFrame({"image_id": ["air-4-0-00001-pos"]}), root / "screened" / "copies-4-0.csv")
    torch.manual_seed(0)
    save_file(build(NET, 2).state_dict(), root / "backbone.safetensors")
    return root


def sifted(root, out, steps=STEPS, study=STUDY, classify=CLASSIFY):
    names = ("manifest.csv", "splits", "images.sha256", "synthetic", "screened", "backbone.safetensors")
    sift(study, Mix(0.5, 0.25, "minority"), Sift(steps, 0.5), classify, *(root / name for name in names), out)
    return pd.read_csv(out / "4-0.csv")


def test_what_does_not_show_its_finding_gains_least(profile, tmp_path):
    found = sifted(profile, tmp_path)
    assert len(found) == 2 * PAIRS - 1, "a copy is not looked at"
    assert found["image_id"].str.endswith("-pos").all()
    shows = found["image_id"].str.split("-").str[-2].astype(int) % BLANK > 0
    air = found["image_id"].str.startswith("air")
    assert found["gain"][air & shows].min() > found["gain"][air & ~shows].max()
    assert found["gain"][~shows].abs().max() < 1e-3, "the two images of such a pair are the same"


def test_a_finding_without_a_model_is_left_out(profile, tmp_path):
    found = sifted(profile, tmp_path, study=replace(STUDY, synthesized=["air"], arms=["dreambooth_mix"]))
    assert set(found["image_id"].str.split("-").str[0]) == {"air"}
    shows = found["image_id"].str.split("-").str[-2].astype(int) % BLANK > 0
    assert found["gain"][shows].min() > found["gain"][~shows].max(), "judged by its own output"


def test_the_same_gains_come_out_twice_and_after_a_kill(profile, tmp_path, killed_after):
    whole = sifted(profile, tmp_path / "whole", steps=6)
    with killed_after(3), pytest.raises(KeyboardInterrupt):
        sifted(profile, tmp_path / "killed", steps=6)
    assert not (tmp_path / "killed").exists()
    pd.testing.assert_frame_equal(sifted(profile, tmp_path / "resumed", steps=6), whole)


def test_what_sifts_is_the_study_s_classifier_but_for_its_steps():
    judge = taught(CLASSIFY, Sift(STEPS, 0.5))
    assert judge.training.steps == STEPS
    assert replace(judge, training=replace(judge.training, steps=9)) == CLASSIFY


def pool(gains):
    ids = [f"air-{index}-{kind}" for index in range(len(gains)) for kind in ("pos", "neg")]
    return {"air": pd.DataFrame({"image_id": ids})}


def kept(gains, share):
    table = pd.Series(gains, [f"air-{index}-pos" for index in range(len(gains))])
    return clearest(pool(gains), table, share)["air"]["image_id"].tolist()


@pytest.mark.parametrize(("share", "pairs"), [(1.0, [0, 1, 2, 3, 4]), (0.5, [0, 2, 3]), (0.4, [0, 2]), (0.01, [2])])
def test_the_pairs_that_gain_most_are_kept_in_their_order_and_of_equal_ones_the_first(share, pairs):
    assert kept([1.0, -2.0, 3.0, 1.0, 0.0], share) == [
        f"air-{index}-{kind}" for index in pairs for kind in ("pos", "neg")
    ]


@pytest.mark.parametrize("images", [["air-0-pos"], ["air-0-pos", "air-1-pos", "air-2-pos"]])
def test_gains_of_other_images_are_refused(tmp_path, images):
    write_csv(pd.DataFrame({"image_id": images, "gain": 1.0}), tmp_path / "4-0.csv")
    with pytest.raises(
        UserError, match=r"4-0\.csv: 'air-[12]-pos' is only there or only among .* run `dvc repro sift`"
    ):
        read_gains(tmp_path / "4-0.csv", pool([0.0, 0.0]))
