"""VinDr-CXR's names (Nguyen et al., Scientific Data 2022): fourteen findings and their slugs, readers, devices."""

import re
from collections.abc import Iterable

from raremix.runtime.errors import UserError

NAMES = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Nodule/Mass",
    "Other lesion",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
)
TRIO = ("R8", "R9", "R10")  # readers of 94 % of the abnormal images: a trace of how the images were handed out
DEVICES = ("pacemaker", "tube", "leads")  # as the comments of a DICOM header and captions call them


def slug(name: str) -> str:
    """``name`` as a path-safe column name: ``Nodule/Mass`` gives ``nodule_mass``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


FINDINGS = tuple(map(slug, NAMES))


def known(findings: Iterable[str], columns: Iterable[str], key: str) -> list[str]:
    """``findings`` as a list, each of them one of ``columns``.

    Raises:
        UserError: names the finding that is not there, the params key it stands under and the choice there is.
    """
    columns = list(columns)
    for finding in findings:
        if finding not in columns:
            raise UserError(f"params.yaml, {key}: unknown finding '{finding}'; choose among {', '.join(columns)}")
    return list(findings)
