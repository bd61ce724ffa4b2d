"""What is known of a data set's images, as the pipeline's tables."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raremix.data import labels, manifest
from raremix.data.ingest import Seen
from raremix.data.records import Bad

# What headers have in place of an id; with a number behind it, it is a pseudonym.
NOBODY = re.compile(r"(anonym(ous|i[sz]ed)?|anon|unknown)(\^[a-z]+)?|none|null|n/?a|0+|x+", re.IGNORECASE)
CROWD, SHARE = 20, 0.05  # images of one person, and their share of all, from which on they may be many people's
METADATA = ("view", "sex", "exposure_index", "body_thickness", "source_distance", "devices")


def tables(
    seen: Sequence[Seen], findings: list[str], rule: labels.Rule, folder: Path, size: int, real: bool
) -> dict[str, pd.DataFrame]:
    """``manifest``, ``votes``, ``boxes`` and ``metadata`` of the images in ``folder``, of ``size``, by image id.

    If patients are ``real``, the patient id of a header is in none of them: there he is a number.
    """
    seen = sorted(seen, key=lambda s: s.record.image_id)
    ids = pd.DataFrame({"image_id": [s.record.image_id for s in seen]})
    votes = pd.DataFrame([s.record.votes for s in seen], columns=findings)
    readers = np.array([len(s.record.readers) for s in seen])
    decided = pd.DataFrame(labels.decide(votes.to_numpy(), readers, rule), columns=findings)
    known = pd.DataFrame([{name: s.facts.get(name, "") for name in METADATA} for s in seen])
    return {
        "manifest": pd.concat([_identities(seen, folder, real), decided], axis=1),
        "votes": pd.concat([ids, votes], axis=1),
        "boxes": _boxes(seen, size),
        "metadata": pd.concat([ids, known], axis=1),
    }


def crowd(seen: Sequence[Seen]) -> str | None:
    """A line on the header's patient who has more images than one person may be thought to have; None without one."""
    named = Counter(_of_header(s) for s in seen if not _of_table(s) and _of_header(s))
    most = max(named.values(), default=0)
    if most < max(CROWD, SHARE * len(seen)):
        return None
    return (
        f"{most} of {len(seen)} images have one PatientID in their headers, so they count as one person's; if they are "
        "not, name the patients in a table (data.layout: table, ingest.columns.patient_id)"
    )


def summary(tables: dict[str, pd.DataFrame], bad: Sequence[Bad], rule: str) -> dict[str, Any]:
    """Images, patients, images set aside, positives per official part and finding, and the readers' agreement."""
    frame = tables["manifest"]
    found = manifest.findings(frame)
    read = tables["votes"].loc[frame["reader_trio"] != "", found]
    result: dict[str, Any] = {
        "rule": rule,
        "images": len(frame),
        "patients": int(frame["patient_id"].nunique()),
        "quarantined": len(bad),
        "positives": {
            part or "all": {name: int(rows[name].sum()) for name in found}
            for part, rows in frame.groupby("official_part", sort=True)
        },
    }
    if len(read):
        result["agreement"] = dict(zip(found, labels.agreement(read.to_numpy()), strict=True))
    return result


def _identities(seen: Sequence[Seen], folder: Path, real: bool) -> pd.DataFrame:
    """The manifest's fixed columns. Who has no patient id is a patient of his own."""
    patients = [_patient(s) for s in seen]
    visits = _visits(seen, patients)
    rows = [
        (r.image_id, (folder / f"{r.image_id}.png").as_posix(), patient, visit, r.part, "|".join(r.readers))
        for r, patient, visit in zip((s.record for s in seen), _shown(seen, patients, real), visits, strict=True)
    ]
    return pd.DataFrame(rows, columns=manifest.FIXED)


def _patient(seen: Seen) -> str:
    """The table's patient id, else the header's, else the image's own."""
    return _of_table(seen) or _of_header(seen) or seen.record.image_id


def _of_table(seen: Seen) -> str:
    """The table's patient id; '' where it has none, or none for this image."""
    return seen.record.facts.get("patient_id", "")


def _of_header(seen: Seen) -> str:
    """The header's patient id; '' for a word that stands for none."""
    told = seen.header.get("patient_id", "")
    return "" if NOBODY.fullmatch(told) else told


def _shown(seen: Sequence[Seen], patients: list[str], real: bool) -> list[str]:
    """``patients`` as the manifest has them: of ``real`` ones whom headers alone name, a number."""
    told, numbers = {_of_table(s) for s in seen}, dict[str, str]()
    named = [real and patient == _of_header(s) for s, patient in zip(seen, patients, strict=True)]
    return [
        numbers.setdefault(patient, f"patient#{len(numbers)}") if of_header and patient not in told else patient
        for patient, of_header in zip(patients, named, strict=True)
    ]


def _visits(seen: Sequence[Seen], patients: list[str]) -> list[int]:
    """The table's visit, or the image's place (from 0) among its patient's by date and study."""
    order = sorted(range(len(seen)), key=lambda i: (seen[i].facts.get("order", ""), seen[i].record.image_id))
    sorted_patients = pd.Series(patients).iloc[order]
    place = sorted_patients.groupby(sorted_patients).cumcount()
    return [int(s.facts.get("visit", place[i])) for i, s in enumerate(seen)]


def _boxes(seen: Sequence[Seen], size: int) -> pd.DataFrame:
    """What the readers' boxes have of the picture: some draw across its edge."""
    rows = [
        (s.record.image_id, box.finding, box.reader, *s.fit.box(box.corners)) for s in seen for box in s.record.boxes
    ]
    table = pd.DataFrame(rows, columns=manifest.BOXES)
    table[manifest.CORNERS] = table[manifest.CORNERS].astype(float).clip(0, size)
    inside = (table["x_min"] < table["x_max"]) & (table["y_min"] < table["y_max"])
    return table[inside].sort_values(manifest.BOXES, ignore_index=True)
