"""What fine-tuning and synthesis read, of a tiny study: patients of noise, three with each of two rare findings."""

import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import tiny
import yaml

from raremix.data import images
from raremix.data.checksums import write_checksums
from raremix.data.lineage import write_lineage
from raremix.data.manifest import BOXES, CORNERS, FIXED, write_csv
from raremix.runtime.files import sha256
from stages.dreambooth import Dreambooth, Prior
from stages.sections import Study
from stages.synthesize import Synthesize

RARE, SHOTS, TRIALS = ["nodule_mass", "pneumothorax"], 3, [0, 1]
STUDY = Study(RARE, RARE, RARE, ["vanilla"], [SHOTS], TRIALS)
TEACHING = Dreambooth(2, None, {}, Prior("real", 4), "float32", tiny.DREAMBOOTH, tiny.SAMPLING)
DRAWING = Synthesize(4, 0.7, "original", "without_finding", None, tiny.VIEWS, "dpmsolver++", False, tiny.SAMPLING)


def write(folder, base):
    """In the profile's ``folder`` as dvc.yaml has it: tables, images, params, and the pipeline ``base``."""
    data, names = folder / "data", [f"i{k:02d}" for k in range(14)]
    (data / "images").mkdir(parents=True)
    files = [f"data/images/{name}.png" for name in names]
    for picture, file in zip(tiny.images(len(names)), files, strict=True):
        images.save(picture, folder / file)
    write_checksums({file: sha256(folder / file) for file in files}, data / "images.sha256")
    rows = pd.DataFrame({"image_id": names, "file": files}).assign(**dict.fromkeys(FIXED[2:], "0"))
    rows["official_part"] = ""
    rows["calcification"] = np.arange(len(names)) % 2
    for index, finding in enumerate(RARE):
        rows[finding] = (np.arange(len(names)) // SHOTS == index).astype(int)
    write_csv(rows, data / "manifest.csv")
    write_csv(rows[["image_id", *RARE, "calcification"]], data / "votes.csv")
    carriers = rows.melt("image_id", RARE, "finding").query("value == 1")
    corners = dict(zip(CORNERS, [3, 4, 9, 11], strict=True))
    write_csv(carriers.assign(reader="R1", **corners)[BOXES], data / "boxes.csv")
    facts = dict.fromkeys(["exposure_index", "body_thickness", "source_distance"])
    write_csv(rows[["image_id"]].assign(view="PA", sex="F", devices="", **facts), data / "metadata.csv")
    splits(rows, data / "splits")
    shutil.copytree(base, folder / "models" / "base")
    write_lineage({"corpus": rows["image_id"][6:]}, folder / "models" / "base")
    params = {
        "launch": "python -m",
        "study": asdict(STUDY),
        "dreambooth": asdict(TEACHING),
        "synthesize": asdict(DRAWING),
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def splits(rows, folder):
    """Trials in which all train; a plan in which each model's images come with nothing else or a calcification."""
    rare = rows[RARE].any(axis=1)
    rank = rows.groupby(RARE).cumcount().where(rare).astype("Int64")
    write_csv(rows.loc[~rare, ["image_id"]], folder / "corpus.csv")
    sets = pd.DataFrame({"label_set": ["", "calcification"], "share": 0.5, "images": 2})
    for trial in TRIALS:
        write_csv(rows[["image_id"]].assign(part="train", shot_rank=rank), folder / f"trial{trial}.csv")
        write_csv(pd.concat([sets.assign(finding=finding) for finding in RARE]), folder / f"plan-{SHOTS}-{trial}.csv")
