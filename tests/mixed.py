"""What mixes are made of: few-shot training rows, and the manifests of fine-tuned models' images."""

import pandas as pd

from raremix.data.manifest import SYNTHETIC

TASK = ["heart", "fluid", "nodule", "air"]
ALL = [*TASK, "bone"]


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
