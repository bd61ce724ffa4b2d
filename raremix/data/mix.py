"""The training sets of the arms: ``image_id, file, source, weight, late`` and the task's findings, 0, 1 or unknown.

A classifier draws images with probability proportional to weight, the same number of steps for every arm. An arm that
trains in two phases (``raremix.classifier.recipe``) draws by ``late`` in the second; in all others that equals weight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from raremix.data.balance import needed, oversampled, stream_weights, undersampled
from raremix.data.synthetic import Pool, negatives_of, positives
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator

ROUNDTRIP = "-roundtrip"  # ends the image id of what the autoencoder leaves of an image


@dataclass(frozen=True)
class Draw:
    """One trial at one number of shots."""

    real: pd.DataFrame  # the training rows: image_id, file and the task's findings
    findings: list[str]  # the task's
    pool: Pool  # empty if no arm of the study uses synthetic images
    extra: pd.DataFrame  # real images that no arm but real_ceiling sees, as ``real``
    rebuilt: pd.DataFrame  # what the autoencoder leaves of ``real``'s carriers: the same ids, other files
    synthetic_share: float  # of a batch, in dreambooth_balanced
    real_share: float  # of a finding that is filled up, to be held by its real images at least
    denied: list[str]  # findings that a synthetic image counts as without, if they are not its own
    shots: int
    trial: int

    def rng(self, arm: str) -> np.random.Generator:
        """Randomness of one arm of this draw."""
        return generator("mix", arm, self.shots, self.trial)


def build(arm: str, draw: Draw) -> pd.DataFrame:
    """The training set of ``arm``, one of ``ARMS``.

    Raises:
        UserError: too few synthetic images, or a finding without a training image.
    """
    if empty := [finding for finding in draw.findings if not draw.real[finding].any()]:
        raise UserError(
            f"'{empty[0]}' has no training image at {draw.shots} shots of trial {draw.trial}; lower split.validation "
            "or choose another finding"
        )
    rows = ARMS[arm](draw)
    if "late" not in rows:
        rows = rows.assign(late=rows["weight"])
    return rows[["image_id", "file", "source", "weight", "late", *draw.findings]].reset_index(drop=True)


def reached(arm: str, draw: Draw, rows: pd.DataFrame) -> pd.DataFrame:
    """A row a finding: ``shots, trial, arm, finding, rows, positives, prevalence, late_prevalence``.

    ``rows`` carry the finding, ``positives`` is their weight, ``prevalence`` its share of all weight, and
    ``late_prevalence`` the same in the late phase. An unknown label counts as 0.
    """
    marks = _marks(rows.fillna(0), draw)
    weight, late = (rows[phase].to_numpy() for phase in ("weight", "late"))
    balance = {
        "finding": draw.findings,
        "rows": marks.sum(axis=0),
        "positives": weight @ marks,
        "prevalence": weight @ marks / weight.sum(),
        "late_prevalence": late @ marks / late.sum(),
    }
    return pd.DataFrame({"shots": draw.shots, "trial": draw.trial, "arm": arm, **balance})


def _vanilla(draw: Draw) -> pd.DataFrame:
    return draw.real.assign(source="real", weight=1.0)


def _undersample(draw: Draw) -> pd.DataFrame:
    return _vanilla(draw)[undersampled(_marks(draw.real, draw), draw.rng("undersample"))]


def _oversample(draw: Draw) -> pd.DataFrame:
    return _vanilla(draw).assign(weight=oversampled(_marks(draw.real, draw)))


def _crt(draw: Draw) -> pd.DataFrame:
    """As they are first, oversampled while the last layer is trained again (Kang et al. 2020, decoupled training)."""
    return _vanilla(draw).assign(late=_oversample(draw)["weight"])


def _real_ceiling(draw: Draw) -> pd.DataFrame:
    """For each finding as many other radiographs that carry it as dreambooth_mix adds synthetic ones, if there are.

    They carry what they carry: findings come along, so that each gets more frequent than in dreambooth_mix.
    """
    mixed = [_vanilla(draw)]
    lacking = needed(draw.real[draw.findings])
    left = draw.extra.iloc[draw.rng("real_ceiling").permutation(len(draw.extra))]
    for finding in left[draw.findings].sum().sort_values(kind="stable").index:  # the scarcest has first choice
        taken = left[left[finding] == 1].head(lacking[finding])
        left = left.drop(taken.index)
        mixed.append(taken.assign(source="reserve", weight=1.0))
    return pd.concat(mixed)


def _roundtrip(draw: Draw) -> pd.DataFrame:
    """Oversampled, half of each carrier's weight on what the autoencoder leaves of it: its look, and nothing new.

    Raises:
        UserError: a carrier was not rebuilt.
    """
    real = _oversample(draw).set_index("image_id", drop=False)
    again = draw.rebuilt["image_id"]
    if missing := sorted(set(real.index[real[draw.findings].any(axis=1)]) - set(again)):
        raise UserError(
            f"data/roundtrip/manifest.csv: '{missing[0]}' carries a finding and is missing; run `dvc repro roundtrip`"
        )
    rebuilt = draw.rebuilt.assign(source="roundtrip", weight=real["weight"].loc[again].to_numpy() / 2)
    real.loc[again, "weight"] /= 2
    return pd.concat([real, rebuilt.assign(image_id=again + ROUNDTRIP)])


def _dreambooth_mix(draw: Draw, ratio: float = np.inf) -> pd.DataFrame:
    """The real images, and synthetic ones that fill each finding up to the most frequent one's count.

    Of each finding at most ``ratio`` synthetic images for a real one. Real ones weigh more where they are few.
    """
    return _mixed(draw, _filling(draw, ratio))


def _prior_only(draw: Draw) -> pd.DataFrame:
    """dreambooth_mix, each synthetic image replaced by its pair without the finding.

    That was drawn so, or is the radiograph that the finding is laid over. Each image, real ones too, weighs what it
    weighs there.
    """
    filling = _filling(draw)
    pairs = {
        finding: negatives_of(draw.pool[finding], rows).assign(weight=rows["weight"].to_numpy())
        for finding, rows in filling.items()
    }
    return _mixed(draw, pairs)


def _mixed(draw: Draw, chosen: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The real images and the ``chosen`` synthetic ones of each finding, which tell nothing of what is not ``denied``.

    A few instances teach a token what came along with them, so an image drawn to have one finding often shows a
    frequent one as well, whatever its caption. The label is unknown then, as an uncertain one is to Irvin et al. 2019
    (CheXpert, U-Ignore).
    """
    real, parts = _vanilla(draw), []
    for finding, rows in chosen.items():
        carriers = real[finding] == 1
        raised, lowered = _weights(int(carriers.sum()), rows["weight"].sum(), draw.real_share)
        real.loc[carriers, "weight"] = real.loc[carriers, "weight"].clip(lower=raised)
        unknown = [other for other in draw.findings if other not in (finding, *draw.denied)]
        parts.append(rows.assign(source="synthetic", weight=lowered * rows["weight"], **dict.fromkeys(unknown, np.nan)))
    return pd.concat([real, *parts])


def _weights(real: int, synthetic: float, least: float) -> tuple[float, float]:
    """Factors of a real and a synthetic image's weight, so that the ``real`` ones hold the share ``least`` or more.

    Ten real images among five hundred synthetic ones are hardly ever drawn, and they alone are beyond doubt.
    """
    count = real + synthetic
    if real >= least * count:
        return 1.0, 1.0
    return least * count / real, (1 - least) * count / synthetic


def _shuffled(draw: Draw) -> pd.DataFrame:
    """dreambooth_mix, the label vectors of its synthetic images permuted among them, each with the weight it has."""
    mixed, dealt = _dreambooth_mix(draw).reset_index(drop=True), [*draw.findings, "weight"]
    rows = np.flatnonzero(mixed["source"] == "synthetic")
    mixed.loc[rows, dealt] = mixed.loc[draw.rng("shuffled").permutation(rows), dealt].to_numpy()
    return mixed


def _dreambooth_balanced(draw: Draw) -> pd.DataFrame:
    """Oversampled real images and a synthetic stream of the same prevalence.

    Where pairs are as drawn, being synthetic tells nothing of a label. Within the stream each checkpoint has the same
    ratio of positives to negatives.
    """
    real, share = _oversample(draw), draw.synthetic_share
    prevalence = real["weight"].to_numpy() @ _marks(real, draw) / real["weight"].sum()
    chosen = {finding: positives(draw.pool[finding]) for finding in draw.findings}
    for finding, rows in chosen.items():
        _some(rows, finding, draw)
    try:
        shares, rest = stream_weights([_marks(rows, draw) for rows in chosen.values()], prevalence)
    except ValueError as error:
        raise UserError(
            f"dreambooth_balanced: no synthetic stream has the real prevalence at {draw.shots} shots of trial "
            f"{draw.trial} ({error}); give the synthetic positives one finding each, or leave the arm out"
        ) from None
    stream = []
    for part, (finding, rows) in zip(shares, chosen.items(), strict=True):
        negatives = negatives_of(draw.pool[finding], rows)
        stream.append(_synthetic(rows).assign(weight=part / len(rows)))
        stream.append(_synthetic(negatives).assign(weight=rest * part / shares.sum() / len(negatives)))
    mixed = pd.concat([real.assign(weight=real["weight"] / real["weight"].sum() * (1 - share)), *stream])
    mixed.loc[mixed["source"] == "synthetic", "weight"] *= share
    _check_prevalence(mixed, draw)
    return mixed.assign(weight=mixed["weight"] * len(real))


def _synthetic_only(draw: Draw) -> pd.DataFrame:
    """The synthetic stream of dreambooth_balanced alone."""
    return _dreambooth_balanced(draw).query("source == 'synthetic'")


def _synthetic_pretrain(draw: Draw) -> pd.DataFrame:
    """The synthetic stream first, then the oversampled real images (Moroianu et al. 2025, RoentGen-v2)."""
    first = _synthetic_only(draw).assign(late=0.0)
    return pd.concat([first, _oversample(draw).assign(late=lambda rows: rows["weight"], weight=0.0)])


Arm = Callable[[Draw], pd.DataFrame]
RATIOS = (1, 2, 5, 10)
SYNTHETIC_ARMS: dict[str, Arm] = {
    **{f"ratio_{ratio}": partial(_dreambooth_mix, ratio=ratio) for ratio in RATIOS},
    "dreambooth_mix": _dreambooth_mix,
    "dreambooth_balanced": _dreambooth_balanced,
    "synthetic_pretrain": _synthetic_pretrain,
    "synthetic_only": _synthetic_only,
    "prior_only": _prior_only,
    "shuffled": _shuffled,
}
REAL_ARMS: dict[str, Arm] = {
    "vanilla": _vanilla,
    "undersample": _undersample,
    "oversample": _oversample,
    "reweight": _vanilla,
    "crt": _crt,
    "ldam_drw": _vanilla,
    "classical_augmentation": _oversample,
    "roundtrip": _roundtrip,
    "real_ceiling": _real_ceiling,
}
ARMS = REAL_ARMS | SYNTHETIC_ARMS


def _marks(rows: pd.DataFrame, draw: Draw) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    return rows[draw.findings].to_numpy(np.int64)


def _synthetic(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(source="synthetic", weight=1.0)


def _filling(draw: Draw, ratio: float = np.inf) -> dict[str, pd.DataFrame]:
    """By finding: the first of its synthetic positives, as many as it lacks or ``ratio`` allows, and their ``weight``.

    Where fewer are left, each stands for more than one.
    """
    filling = {}
    for finding, even in needed(draw.real[draw.findings]).items():
        if lacking := int(min(even, ratio * draw.real[finding].sum())):
            rows = positives(draw.pool[finding])
            _some(rows, finding, draw)
            rows = rows.head(lacking)
            filling[finding] = rows.assign(weight=lacking / len(rows))
    return filling


def _some(rows: pd.DataFrame, finding: str, draw: Draw) -> None:
    if rows.empty:
        raise UserError(
            f"data/synthetic/{draw.shots}-{draw.trial}/{finding}: no image of '{finding}' is left, all are copies; "
            "metrics/screen/memorisation.csv tells how near they are, screen.false_alarms how near is a copy"
        )


def _check_prevalence(mixed: pd.DataFrame, draw: Draw) -> None:
    real, synthetic = (
        np.average(_marks(rows, draw), axis=0, weights=rows["weight"])
        for rows in (mixed[mixed["source"] == source] for source in ("real", "synthetic"))
    )
    if not np.allclose(real, synthetic, rtol=0.01, atol=0):
        raise AssertionError(f"dreambooth_balanced: prevalence {real} in real, {synthetic} in synthetic images")
