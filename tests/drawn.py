"""A small profile up to its mixes, of noise instead of radiographs."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from raremix.classifier.model import build
from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.data.manifest import FIXED, SYNTHETIC, write_csv
from raremix.runtime.files import sha256
from stages.sections import Study

TASK = ["nodule", "air"]
STUDY = Study(TASK, ["air"], TASK, ["vanilla", "oversample", "dreambooth_mix"], [5], [0])
MODEL = "mobilenet_v3_small"
PARTS = ["train"] * 60 + ["validation"] * 40 + ["held_back"] * 10 + ["test"] * 20
TESTED = [f"i{k:03d}" for k, part in enumerate(PARTS) if part == "test"]
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


def synthetic(root, finding, rng, edit, onto, **planted):
    names = [f"{finding}{k}" for k in range(30)]
    rows = pd.DataFrame({"image_id": names, "file": write(root / "drawn", names, rng, **planted)})
    rows["sha256"] = [sha256(Path(file)) for file in rows["file"]]
    rows = rows.assign(**{name: "0" for name in SYNTHETIC if name not in rows}, **dict.fromkeys(TASK, 0))
    rows.loc[:14, finding] = 1
    folder = root / "synthetic" / "5-0" / finding
    write_csv(rows[[*SYNTHETIC, *TASK]], folder / "manifest.csv")
    originals = ["i000" if name == edit else "" for name in names]
    write_csv(rows[["image_id"]].assign(onto=onto, original=originals), folder / "recipe.csv")
    return rows.assign(source="synthetic", weight=1.0)[["image_id", "file", "source", "weight", *TASK]]


def build_study(root, planted=None, leaked=None, model=MODEL, edit=None, onto="original"):
    """A profile up to its mixes.

    The synthetic image ``planted`` is a copy of the first training image, the last test image one of number ``leaked``;
    the synthetic image ``edit`` started from the first training image, and is laid over it if that is ``onto``.
    """
    rng = np.random.default_rng(0)
    names = [f"i{k:03d}" for k in range(len(PARTS))]
    rows = pd.DataFrame({"image_id": names, "file": write(root / "images", names, rng)})
    if leaked is not None:
        Path(rows["file"].iloc[-1]).write_bytes(Path(rows["file"].iloc[leaked]).read_bytes())
    rows = rows.assign(**{name: "0" for name in FIXED if name not in rows})
    rows[["patient_id", "official_part"]] = [[name, ""] for name in names]
    labels = (np.arange(len(PARTS))[:, None] % [2, 3] == 0).astype(int)
    rows[TASK] = labels
    write_csv(rows[[*FIXED, *TASK]], root / "manifest.csv")
    write_checksums({file: sha256(Path(file)) for file in rows["file"]}, root / "images.sha256")
    write_csv(pd.DataFrame({"image_id": names, "part": PARTS, "shot_rank": ""}), root / "splits" / "trial0.csv")
    copies = {planted: root / "images" / "i000.png"} if planted else {}
    made = pd.concat([synthetic(root, finding, rng, edit, onto, **copies) for finding in TASK])
    real = rows[:60].assign(source="real", weight=1.0)[["image_id", "file", "source", "weight", *TASK]]
    mixes = {
        "vanilla": real,
        "oversample": real.assign(weight=1.0 + real["air"] - 0.2 * real[TASK[0]]),  # as raking lowers frequent ones
        "dreambooth_mix": pd.concat([real, made]),
    }
    for arm, mixed in mixes.items():
        write_csv(mixed, root / "mix" / f"{arm}-5-0.csv")
    torch.manual_seed(0)
    save_file(build(model, 2).state_dict(), root / "backbone.safetensors")


def lose_test_images(root):
    """Their rows and checksums stay."""
    for name in TESTED:
        (root / "images" / f"{name}.png").unlink()
