"""What a small run leaves for the report."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from raremix.report.blocks import Fold, Part, Side, Table, Text
from raremix.report.inputs import Inputs

FINDINGS = ["cardiomegaly", "nodule_mass"]
ARMS = ["vanilla", "oversample", "dreambooth_mix", "shuffled"]
ATTRIBUTES = ["male", "exposure", "source_distance"]


def inputs(folder: Path, layout: str = "phantom", show: bool = False, shots: int = 10) -> Inputs:
    """The report's inputs in ``folder``, whatever is there."""
    return Inputs(
        params=params(layout, shots),
        metrics=folder / "metrics",
        samples=folder / "results" / "synthesize",
        screen=folder / "results" / "screen",
        fidelity=folder / "results" / "fidelity",
        synthetic=folder / "synthetic",
        lists={"manifest": folder / "manifest.csv"},
        shown=show or layout == "phantom",
    )


def params(layout: str = "phantom", shots: int = 10) -> dict:
    study = {"findings": FINDINGS, "minority": ["nodule_mass"], "synthesized": FINDINGS}
    study |= {"arms": ARMS, "shots": [shots], "trials": [0, 1]}
    data = {"root": "/home/somebody/radiographs", "layout": layout}
    training = {"steps": 200, "batch": 48, "lr": 5e-4}
    small = {"pretrained": None, "revision": None, "autoencoder": training, "denoiser": training | {"steps": 2000}}
    tuning = {"instances": 5, "lora_rank": None, "prior": {"source": "real", "images": 100}}
    drawing = {"strength": 0.9, "onto": "drawn", "guidance_limit": 0.45, "place": None}
    drawing["sampling"] = {"steps": 12, "guidance": 5.0}
    return {
        "study": study,
        "data": data,
        "ingest": {"size": 64},
        "base": small,
        "backbone": {"model": "resnet18", "start": "corpus", "training": training},
        "dreambooth": tuning | {"training": training | {"lr": 2e-6, "text_encoder": True, "prior_weight": 1.0}},
        "synthesize": drawing,
        "mix": {"denied": "minority"},
        "audit": {"model": "resnet18", "training": training},
        "classify": {"model": "resnet18", "training": training},
        "fidelity": {"xrayvision": None},
        "compare": {"shots": shots},
        "report": {"show_patients": False},
    }


def run(folder: Path) -> Inputs:
    """A run of the phantom with everything that a run may leave."""
    compare(folder)
    materials(folder)
    fidelity(folder)
    diagnosis(folder)
    synthetic(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(params(), sort_keys=False))
    return inputs(folder)


def write(folder: Path, name: str, content: object) -> None:
    """``content`` as metrics/``name``: rows of a CSV, the header first, or JSON."""
    path = folder / "metrics" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".json"):
        path.write_text(json.dumps(content))
    else:
        path.write_text("".join(",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in content))


def figure(mean: float | None, sd: float | None = 0.01) -> dict:
    return {"mean": mean, "sd": sd, "n": 1 if sd is None else 2}


def compare(folder: Path) -> None:
    against = {
        name: {"difference": 0.1, "low": low, "high": 0.2, "p": 0.04, "p_holm": 0.08, "detectable": 0.15}
        | {"verdict": verdict}
        for name, low, verdict in (
            ("vanilla", 0.01, "improves on"),
            ("oversample", -0.1, "no detectable difference from"),
        )
    }
    answer = {"finding": "minority", "metric": "ap", "shots": 10, "arm": "dreambooth_mix", "level": 0.95, "trials": 2}
    costs = {"difference": -0.02, "low": -0.03, "high": -0.005, "detectable": 0.02, "non_inferior": False}
    answer |= {"against": against, "margin": 0.01, "majority": {"vanilla": costs}}
    write(folder, "compare/answer.json", answer | {"sentence": "dreambooth_mix <improves>."})
    families = [*FINDINGS, "macro", "minority"]
    one = {"auroc": figure(0.8), "ap": figure(0.3), "ece": figure(0.05)}
    write(folder, "compare/summary.json", {"10": {arm: dict.fromkeys(families, one) for arm in ARMS}})
    own = [
        [10, arm, family, metric, 0.3, 0.2, 0.4] for arm in ARMS for family in families for metric in ("auroc", "ap")
    ]
    write(folder, "compare/arms.csv", ["shots arm finding metric value low high".split(), *own])
    rows = [
        [10, arm, baseline, family, metric, round(0.01 * place, 3), -0.1, 0.1, 0.5, None, 12, 34, 2, 0.14]
        for place, arm in enumerate(ARMS)
        for baseline in ("oversample", "vanilla")
        for family in families
        for metric in ("auroc", "ap")
        if arm != baseline
    ]
    header = "shots arm against finding metric difference low high p p_holm n_pos n_neg trials detectable".split()
    write(folder, "compare/comparison.csv", [header, *rows])
    for name, x, y in (("roc", "fpr", "tpr"), ("pr", "recall", "precision")):
        points = [[finding, arm, at, at**0.5] for finding in FINDINGS for arm in ARMS for at in (0.0, 0.25, 1.0)]
        write(folder, f"compare/{name}.csv", [["finding", "arm", x, y], *points])
    header = "shots arm trial finding images positives auroc ap".split()
    within = [[10, arm, k, name, 50, 8, 0.8, 0.3 + k / 5] for arm in ARMS for k in (0, 1) for name in families]
    for part in ("validate", "compare"):
        write(folder, f"{part}/trio.csv", [header, *within])
    header = "shots arm trial finding threshold balanced_accuracy f1 calibration_error".split()
    called = [[10, arm, k, name, 0.3, 0.6 + k / 5, 0.4, 0.05] for arm in ARMS for k in (0, 1) for name in families]
    write(folder, "compare/decisions.csv", [header, *called])
    header = "shots arm against finding metric difference low high p n_pos n_neg trials detectable".split()
    gains = [
        [10, "shuffled", "vanilla", family, figure, -0.02, -0.05, 0.01, 0.2, 12, 34, 2, 0.06]
        for family in families
        for figure in ("balanced_accuracy", "f1", "calibration_error")
    ]
    write(folder, "compare/decision_differences.csv", [header, *gains])
    header = "shots arm against trial finding difference error z p_delong only_arm only_against p_mcnemar".split()
    tests = [
        [10, "shuffled", "vanilla", k, name, -0.1, 0.04, -2.5, 0.012, 3, 9, 0.146] for k in (0, 1) for name in FINDINGS
    ]
    write(folder, "compare/tests.csv", [header, *tests])
    bins = [[name, arm, at, at**2, 0.5] for name in FINDINGS for arm in ARMS for at in (0.1, 0.6)]
    write(folder, "compare/calibration.csv", [["finding", "arm", "predicted", "observed", "share"], *bins])


def materials(folder: Path) -> None:
    counts = [
        [trial, part, finding, 100 + trial * (part == "train")]
        for trial in (0, 1)
        for part in ("held_back", "test", "train", "validation")
        for finding in ("all", "atelectasis", *FINDINGS)
    ]
    write(folder, "split/counts.csv", [["trial", "part", "finding", "images"], *counts])
    header = "shots trial finding target real planned left".split()
    planned = [[10, k, name, 60, 10, 50 - 2 * k, 2 * k] for k in (0, 1) for name in [*FINDINGS, "atelectasis"]]
    write(folder, "split/imbalance.csv", [header, *planned])
    balance = [
        [10, trial, arm, finding, 5, 50 + trial, 0.1] for trial in (0, 1) for arm in ARMS for finding in FINDINGS
    ]
    write(folder, "mix/balance.csv", ["shots trial arm finding rows positives prevalence".split(), *balance])
    write(folder, "ingest/summary.json", {"rule": "any", "images": 7200, "patients": 6175, "quarantined": 0})
    judged = [[name, 0.9, 0.88, 38.25, 0.975] for name in [*FINDINGS, "all"]]
    write(folder, "audit/judge.csv", ["finding real reconstructed psnr ssim".split(), *judged])
    drawn = [[finding, 10, trial, 8, 0.7 + trial / 10, 0.6, 0.9, 0.8] for trial in (0, 1) for finding in FINDINGS]
    write(folder, "audit/findings.csv", ["finding shots trial images auroc others real share".split(), *drawn])
    probe = [[finding, 10, 0, None if finding == "nodule_mass" else 0.9, 0.8] for finding in FINDINGS]
    write(folder, "audit/probe.csv", [["finding", "shots", "trial", "positives", "negatives"], *probe])
    write(
        folder, "audit/attributes.csv", [["attribute", "scope", "real", "sampled"], ["exposure_index", "all", 0.6, -2]]
    )
    for finding in FINDINGS:
        for trial in (0, 1):
            save(folder / "results" / "synthesize" / f"10-{trial}" / finding / "real_positive_negative.png", trial)
    (folder / "manifest.csv").write_text("image_id\na\n")


def synthetic(folder: Path, negative: str = "chest x-ray male") -> None:
    """The lists of what each model has drawn: two pairs of a finding in trial 0, three in trial 1."""
    for finding in FINDINGS:
        for trial in (0, 1):
            name = f"{finding}-10-{trial}"
            pairs = [(f"{name}-{k}", f"chest x-ray male <{finding}>") for k in range(2 + trial)]
            kinds = [(f"{pair}-pos", prompt, negative) for pair, prompt in pairs]
            kinds += [(f"{pair}-neg", "chest x-ray male", negative) for pair, _ in pairs]
            tables = {
                "manifest": [["image_id", "prompt", "model_sha256"], *([k[0], k[1], f"{trial}abc"] for k in kinds)],
                "recipe": [["image_id", "negative_prompt"], *([k[0], k[2]] for k in kinds)],
                "lineage": [["image_id", "role"], ["a", "instance"], ["b", "prior"], ["c", "prior"]],
            }
            for file, rows in tables.items():
                path = folder / "synthetic" / f"10-{trial}" / finding / f"{file}.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(",".join(row) + "\n" for row in rows))


def fidelity(folder: Path) -> None:
    header = "shots trial finding kind real images kid kid_sd kid_subset precision recall density coverage".split()
    header += ["similarity_real", "similarity_synthetic"]
    rows = [
        [10, trial, finding, kind, 20, 30, 1.5 + trial, 0.2, 20, 0.9, recall, 0.7, 1.0, 0.6, 0.5]
        for trial in (0, 1)
        for finding, recall in zip([*FINDINGS, "all"], [0.8, None, 0.8], strict=True)
        for kind in ("synthetic", "real")
    ]
    write(folder, "fidelity/fidelity.csv", [header, *rows])
    header = "shots trial finding images copies least_feature_distance least_pixel_distance".split()
    header += ["feature_threshold", "pixel_threshold", "false_alarms"]
    found = [[10, trial, name, 30, trial, 0.4, 0.6, 0.5, 0.5, 0.01] for trial in (0, 1) for name in FINDINGS]
    write(folder, "screen/memorisation.csv", [header, *found])
    added = [[10, t, arm, 9, 0.6 + t / 10, k / 2] for t in (0, 1) for k, arm in enumerate(["oversample", "shuffled"])]
    write(folder, "fidelity/added.csv", ["shots trial arm added gap diversity".split(), *added])
    save(folder / "results" / "screen" / "nearest.png", 3)
    for arm in ("oversample", "dreambooth_mix"):
        save(folder / "results" / "fidelity" / f"gap-{arm}.png", 4)


def diagnosis(folder: Path) -> None:
    methods = ["hyperplane", "implicit", "observed", "true"]
    header = "attribute finding method effect low high null_low null_high flip_rate n arrived".split()
    effects = [
        [attribute, finding, method, 0.01 * (place + 1), 0.0, 0.05, None, None, 0.1, 9, 1]
        for method in methods
        for place, attribute in enumerate(ATTRIBUTES)
        for finding in FINDINGS
    ]
    lost = [["tube", "nodule_mass", "hyperplane", None, None, None, None, None, 0.1, 9, 0]]
    lost += [["wide_body", "nodule_mass", "coarse", 0.5, 0.4, 0.6, None, None, 0.1, 9, 1]]
    write(folder, "sensitivity/sensitivity.csv", [header, *effects, *lost])
    pairs = [[m, a, f, 0.01, 0.02 * k] for m in methods[:3] for k, a in enumerate(ATTRIBUTES) for f in FINDINGS]
    write(folder, "sensitivity/beside.csv", [["method", "attribute", "finding", "estimate", "true"], *pairs])
    agreement = {"spearman": 0.7, "low": 0.6, "high": 0.8, "null": 0.4, "attributes": 3}
    summary = {
        "classifier": "dreambooth_mix-10-0",
        "agreement": dict.fromkeys(methods[:3], agreement),
        "selectivity": {"hyperplane": {"attributes": 3, "mean": 12.3, "median": 11.0, "least": 9.0}},
        "realism": {},
        "planted": {"biased": {"hyperplane": 1, "true": 1}, "fair": {"hyperplane": 7, "true": None}},
    }
    write(folder, "sensitivity/summary.json", summary)
    save(folder / "metrics" / "sensitivity" / "traversal.png", 2)
    scores = "pointing pointing_low pointing_high iou iou_low iou_high chance_pointing chance_iou".split()
    located = [["nodule_mass", "grad_cam", 4, 0.5, 0.2, 0.8, 0.3, 0.1, 0.5, 0.1, 0.05]]
    unseen = [["cardiomegaly", "grad_cam", 0, *[None] * 8]]
    write(folder, "explain/localisation.csv", [["finding", "method", "n", *scores], *located, *unseen])
    flips = ["finding", "decision", "n", "flipped", "median_size", "median_change"]
    write(folder, "explain/counterfactuals.csv", [flips, ["nodule_mass", "found", 4, 3, 0.02, 1.1]])
    for name in ("panel", "counterfactuals"):
        save(folder / "metrics" / "explain" / f"{name}.png", 3)
    rows = [[space, step, name, 0.6 + step / 10, 0.5, 0.9] for space in "he" for step in (0, 1) for name in ATTRIBUTES]
    write(folder, "boundary/boundaries.csv", ["space step attribute auc null stability".split(), *rows])


def save(path: Path, seed: int, width: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (24, width), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def blocks(section, kind):
    """All blocks of a kind, however deep."""
    found = []
    for block in section.blocks:
        found += [block] if isinstance(block, kind) else []
        found += blocks(block, kind) if isinstance(block, Part | Fold | Side) else []
    return found


def texts(section):
    return " ".join(block.text for block in blocks(section, Text))


def table(section, caption):
    (found,) = [one for one in blocks(section, Table) if caption in one.caption]
    return [list(found.columns), *([cell.text for cell in row] for row in found.rows)]


def values(chart):
    return chart.spec["data"]["values"]


def edit(run, name, change):
    path = run.metrics / name
    figures = json.loads(path.read_text())
    change(figures)
    path.write_text(json.dumps(figures))
