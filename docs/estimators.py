"""Measure docs/estimators.csv in a finished root run: python docs/estimators.py

How well estimated effects agree with the true ones, by how much edits count beside unedited images, for the study's
classifiers but the one that is diagnosed, on phantoms that no stage has rendered: here the estimator was chosen.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse import get_loader

from raremix.data import images
from raremix.data.checksums import read_checksums
from raremix.data.phantom import cohort
from raremix.diagnosis import deep
from raremix.diagnosis.agreement import rank
from raremix.diagnosis.editing import back, chosen, patients
from raremix.diagnosis.estimates import distinct
from raremix.diagnosis.eyes import Eyes, load_run
from raremix.diagnosis.implicit import load as load_function
from raremix.diagnosis.readers import load_picture, readable
from raremix.diagnosis.sensitivity import Changes, as_they_are, edited, effects
from raremix.diagnosis.stored import read_directions
from raremix.diagnosis.truth import Scale, levels, pictures
from raremix.generator.base import load
from raremix.generator.sample import Sampling
from raremix.runtime.device import device

SEED, RENDERED = 11, 200  # beyond the study's seed; patients
CONTROLS = ("shuffled", "prior_only")
READABLE = (0.3, 0.5)
PARTS = 4  # edits count for 0 to 4 parts of 4, images as they are for the rest


def main(out: Path) -> None:
    """Write a row for each method, share of edits and demand on the readers: mean and least over classifiers."""
    params = get_loader("yaml")(Path("params.yaml").read_text())
    editing, latents, truth = params["editing"], params["latents"], params["truth"]
    picture, units = load_picture(Path("models/readers"))
    runs = [run for run in sorted(Path("results/classify").iterdir()) if not run.name.startswith(CONTROLS)]
    networks = {run.name: load_run(run)[1] for run in runs if run.name != truth["classifier"]}
    eyes = Eyes(picture, units, networks, editing["precision"])
    true = _true(params, eyes)

    rows, listed = patients(Path("data/manifest.csv"), Path("data/splits")), read_checksums(Path("data/images.sha256"))
    seen = eyes.seen(images.load(list(rows["file"]), listed))
    shown, start = images.load(list(chosen(rows, 2 * editing["images"])["file"]), listed), editing["start"]
    asked = latents["sampling"] | {"batch": editing["batch"], "precision": editing["precision"]}
    base = load(Path("models/base")).to(device())
    way = back(base, shown[: editing["images"]], Sampling(**asked), latents["refinements"], start)
    moves = read_directions(Path("results/boundary/e.safetensors"))
    function = load_function(Path("models/implicit.safetensors"))
    methods = [
        deep.hyperplane(moves["moves"][start], moves["permuted"][start], start, editing["hyperplane"], 1),
        deep.implicit(function, start, latents["sampling"]["steps"], editing["implicit"], 1),
    ]
    explained = Path("metrics/readers/readers.csv")
    widest = sorted(readable(explained, units, min(READABLE)))
    found = []
    for method in methods:
        changes = deep.both_ways(method, widest, eyes, way)
        moved = next(iter(changes.values())).moved(len(units.attributes))
        for least in READABLE:
            trusted = sorted(readable(explained, units, least))
            ranked = distinct(next(iter(seen.values())), trusted)
            arrived = [k for k in ranked if moved[k] >= editing["arrived"] * units.reach[k]]
            kept = [k for k in arrived if units.attributes[k] in truth["attributes"]]
            labels = [units.attributes[k] for k in kept]
            for edits in range(PARTS + 1):
                ranks = []
                for name in networks:
                    sources = [edited(_only(changes[name], trusted))] * edits  # named twice, a source counts twice
                    sources += [as_they_are(seen[name])] * (PARTS - edits)
                    estimate, _ = effects(sources, seen[name], units, trusted, name)
                    ranks.append(rank(estimate[kept], true[name].loc[labels].to_numpy()))
                found.append((method.name, least, edits / PARTS, len(kept), len(ranks), np.mean(ranks), min(ranks)))
    columns = ["method", "readable", "share_of_edits", "attributes", "classifiers", "spearman", "least"]
    pd.DataFrame(found, columns=columns).to_csv(out, index=False, float_format="%.3f")


def _only(changes: Changes, targets: list[int]) -> Changes:
    """The edits of ``targets``: what is not trusted is not edited either."""
    kept = np.isin(changes.targets, targets)
    of_edits = ("targets", "doses", "read", "probability", "flipped", "natural")
    return replace(changes, **{name: getattr(changes, name)[kept] for name in of_edits})


def _true(params: dict, eyes: Eyes) -> dict[str, pd.DataFrame]:
    """By classifier, the true effects: a row an attribute, a column a finding."""
    phantom, ingest = params["phantom"], params["ingest"]
    scale = Scale(phantom["seed"] + SEED, phantom["height"], ingest["size"], ingest["window"])
    people = cohort.test_part(cohort.tables(Path(params["data"]["root"])), scale.seed, RENDERED, [], 0, 0)
    names = params["truth"]["attributes"]
    ends = [{name: end} for name in names for end in levels(people, name, scale.seed)]
    drawn = pictures(people, ends, scale)
    found = {}
    for name, classifier in eyes.classifiers.items():
        chances = np.stack([classifier.probabilities(shown).mean(axis=0) for shown in drawn])
        found[name] = pd.DataFrame(chances[1::2] - chances[::2], index=names, columns=classifier.findings)
    return found


if __name__ == "__main__":
    main(Path(__file__).parent / "estimators.csv")
