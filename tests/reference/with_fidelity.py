"""KID, precision and recall, density and coverage, and the Vendi score: python with_fidelity.py > fidelity.json

torch-fidelity, prdc and vendi-score are no dependencies of the repository; any environment that has them will do.
"""

import json
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import numpy as np
import torch
from prdc import compute_prdc
from sklearn.preprocessing import StandardScaler
from torch_fidelity.metric_kid import kernel_mmd, kid_features_to_metric
from vendi_score.vendi import score_X

SUBSETS = {"kid_subsets": 1000, "kid_subset_size": 30, "verbose": False, "rng_seed": 2020}

rng = np.random.default_rng(0)
real, synthetic = rng.normal(size=(60, 8)), 0.8 * rng.normal(size=(45, 8)) + 0.3
alone = np.random.default_rng(0).normal(size=(40, 6))
over_subsets = kid_features_to_metric(*map(torch.from_numpy, (real, synthetic)), **SUBSETS)
with redirect_stdout(StringIO()):  # prdc prints the counts
    neighbourhoods = {k: list(compute_prdc(real, synthetic, k).values()) for k in (3, 5)}
numbers = {
    "versions": " ".join(f"{name} {version(name)}" for name in ("torch-fidelity", "prdc", "vendi-score")),
    "kid": kernel_mmd(real[:45], synthetic),
    "kid_mean": over_subsets["kernel_inception_distance_mean"],
    "kid_sd": over_subsets["kernel_inception_distance_std"],
    "prdc": neighbourhoods,  # precision, recall, density, coverage by the number of neighbours
    "vendi": score_X(StandardScaler().fit_transform(alone)),
}
print(json.dumps(numbers, indent=1, default=float))
