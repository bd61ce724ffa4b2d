"""The phantom on disk, laid out as VinDr-CXR is on PhysioNet, with its truth beside it."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from raremix.data.findings import NAMES, slug
from raremix.data.phantom import dicom, render
from raremix.data.phantom.attributes import ATTRIBUTES
from raremix.data.phantom.cohort import Image
from raremix.data.phantom.readers import assign, drawn_box, markers
from raremix.runtime.progress import track
from raremix.runtime.seeds import generator

CHUNK = 16
NORMAL = "No finding"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Row = dict[str, object]
Rows = dict[str, list[Row]]


def write(images: list[Image], seed: int, height: int, out: Path, workers: int) -> None:
    """Render ``images`` into ``out``; the same bytes for any number of ``workers``."""
    present = sorted({image.part for image in images})
    for folder in ("annotations", *present):
        (out / folder).mkdir(parents=True, exist_ok=True)
    chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        done = pool.map(_chunk, chunks, *([value] * len(chunks) for value in (seed, height, out)))
        rows = list(track(done, f"phantom, {CHUNK} images a step", total=len(chunks)))
    for name in (f"{kind}_{part}" for kind in ("annotations", "image_labels") for part in present):
        _table(out / "annotations" / f"{name}.csv", _joined(rows, name), ("image_id", "rad_id", "class_name"))
    _table(out / "truth.csv", _joined(rows, "truth"), ("image_id",))


def image_id(seed: int, patient: int, visit: int) -> str:
    """32 hex characters, as VinDr-CXR's."""
    return hashlib.blake2b(f"phantom {seed} {patient} {visit}".encode(), digest_size=16).hexdigest()


def patient_id(patient: int) -> str:
    return f"P{patient:06d}"


def again(row: Mapping[str, str]) -> dict[str, Any]:
    """Arguments with which ``render`` gives the image of a row of truth.csv to the bit; add seed, height, changes."""
    severities = {key.removeprefix("finding_"): float(row[key]) for key in row if key.startswith("finding_")}
    return {"patient": int(row["patient_id"][1:]), "visit": int(row["visit"]), **severities}


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers that start now use one BLAS thread: there is a worker for every core."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _chunk(images: list[Image], seed: int, height: int, out: Path) -> Rows:
    rows: Rows = {}
    for image in images:
        for table, more in _one(image, seed, height, out).items():
            rows.setdefault(table, []).extend(more)
    return rows


def _one(image: Image, seed: int, height: int, out: Path) -> Rows:
    name = image_id(seed, image.patient, image.visit)
    changes: dict[str, Any] = dict(image.severities)
    pixels, truth = render(image.patient, image.visit, seed=seed, height=height, **changes)
    dicom.write(out / image.part / f"{name}.dicom", pixels, truth, name, patient_id(image.patient))
    read = _consensus if image.part == "test" else _three_readers
    marks, labels = read(image, name, truth, pixels.shape, seed)
    return {
        f"annotations_{image.part}": marks,
        f"image_labels_{image.part}": labels,
        "truth": [_truth(name, image, truth)],
    }


def _three_readers(
    image: Image, name: str, truth: Mapping[str, Any], shape: tuple[int, int], seed: int
) -> tuple[list[Row], list[Row]]:
    rng = generator("phantom", seed, image.patient, image.visit, "readers")
    trio = assign(bool(image.votes), rng)
    who = markers(image.votes, trio, rng)
    marks: list[Row] = []
    for reader in trio:
        seen = {finding for finding, readers in who.items() if reader in readers}
        boxes = [(lesion["finding"], drawn_box(lesion["box"], shape, rng)) for lesion in truth["lesions"]]
        marks += _marks({"image_id": name, "rad_id": reader}, [box for box in boxes if box[0] in seen])
    labels = [
        {"image_id": name, "rad_id": reader, **_flags({f for f, readers in who.items() if reader in readers})}
        for reader in trio
    ]
    return marks, labels


def _consensus(
    image: Image, name: str, truth: Mapping[str, Any], shape: tuple[int, int], seed: int
) -> tuple[list[Row], list[Row]]:
    boxes = [(lesion["finding"], tuple(lesion["box"])) for lesion in truth["lesions"]]
    return _marks({"image_id": name}, boxes), [{"image_id": name, **_flags(set(image.votes))}]


def _marks(head: Row, boxes: Iterable[tuple[str, tuple[float, ...]]]) -> list[Row]:
    names = {slug(name): name for name in NAMES}
    edges = ("x_min", "y_min", "x_max", "y_max")
    rows = [
        {**head, "class_name": names[finding], **{edge: f"{value:.1f}" for edge, value in zip(edges, box, strict=True)}}
        for finding, box in boxes
    ]
    return rows or [{**head, "class_name": NORMAL, **dict.fromkeys(edges, "")}]


def _flags(present: set[str]) -> Row:
    return {**{name: int(slug(name) in present) for name in NAMES}, NORMAL: int(not present)}


def _truth(name: str, image: Image, truth: Mapping[str, Any]) -> Row:
    return {
        "image_id": name,
        "patient_id": patient_id(image.patient),
        "visit": image.visit,
        **{f"attr_{key}": f"{truth['attributes'][key]:.6g}" for key in ATTRIBUTES},
        **{f"finding_{key}": f"{value:.4f}" for key, value in truth["findings"].items()},
        "geometry": json.dumps({"lesions": truth["lesions"], "spacing_mm": truth["spacing"]}, sort_keys=True),
    }


def _joined(parts: list[Rows], name: str) -> list[Row]:
    return [row for rows in parts for row in rows.get(name, [])]


def _table(path: Path, rows: list[Row], keys: tuple[str, ...]) -> None:
    rows = sorted(rows, key=lambda row: [str(row.get(key, "")) for key in keys])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
