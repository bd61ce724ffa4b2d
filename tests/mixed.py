"""What mixes are made of: few-shot training rows, fine-tuned models' manifests, and what an arm draws from."""

import pandas as pd

from raremix.data.manifest import SYNTHETIC
from raremix.data.mix import Draw

TASK = ["heart", "fluid", "nodule", "air"]
ALL = [*TASK, "bone"]
RARE = ["nodule", "air"]


def real_rows(hearts=40, fluids=24, shots=5, normals=200, seed=0):
    """Few-shot training rows: every second fluid and one nodule in five come with a large heart."""
    rows = [(1, 0, 0, 0)] * hearts + [(i % 2, 1, 0, 0) for i in range(fluids)]
    rows += [(int(i % 5 == 0), 0, 1, 0) for i in range(shots)] + [(0, int(i % 2), 0, 1) for i in range(shots)]
    rows += [(0, 0, 0, 0)] * normals
    frame = pd.DataFrame(rows, columns=TASK).sample(frac=1, random_state=seed, ignore_index=True)
    names = [f"i{i:03d}" for i in range(len(frame))]
    return pd.concat([pd.DataFrame({"image_id": names, "file": [f"{n}.png" for n in names]}), frame], axis=1)


def checkpoint(finding, pairs=60, parent="i000", shots=5, trial=0):
    rows = []
    for i in range(pairs):
        for kind in ("pos", "neg"):
            name = f"{finding}-{shots}-{trial}-{i:05d}-{kind}"
            marks = [int(f == finding and kind == "pos") for f in TASK] + [i % 2]
            rows.append([name, f"s/{name}.png", parent, "m", "p", i, "dpm", 5, 2.0, "5" * 64, *marks])
    return pd.DataFrame(rows, columns=[*SYNTHETIC, *ALL]).sort_values("image_id", ignore_index=True)


def draw(share=0.5, pairs=60, real_share=0.0, **real):
    rows = real_rows(**real)
    pool = {f: checkpoint(f, pairs) for f in TASK}
    return Draw(rows, TASK, pool, other_patients(), rebuilt(rows), share, real_share, RARE, 5, 0)


def other_patients():
    rows = real_rows(hearts=5, fluids=40, shots=30, normals=20, seed=1)
    return rows.assign(image_id="o" + rows["image_id"], file="o" + rows["file"])


def rebuilt(rows):
    return rows[rows[TASK].any(axis=1)].assign(file=lambda carriers: "r/" + carriers["file"])


def counts(rows):
    return dict(zip(TASK, rows["weight"].to_numpy() @ rows[TASK].fillna(0).to_numpy(), strict=True))
