"""Which label sets synthetic images are to have, so that findings come together nearly as often as is asked for.

A checkpoint draws one finding of the task, its own, and beside it what the base model knows: label sets that images of
the base corpus have, since each synthetic image starts from the caption of one. How many of which is an integer
programme for each checkpoint. One programme for all would let one checkpoint's surplus stand in for another's lack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp, minimize

from raremix.data.balance import Marks, needed
from raremix.data.label_sets import label_sets
from raremix.runtime.errors import UserError

PSEUDO_COUNT = 4  # images that the prevalence counts for, beside the carriers of a finding
MOST = 0.02  # of a checkpoint's images, for each original that a label set has
STEEPEST = 20.0  # nats of relative entropy that a marginal nearer by 1 is worth
SECONDS = 60.0  # that the solver may take
DECIMALS = 5  # of a share; what the minimiser leaves beyond them differs from run to run

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Sets:
    """The label sets of a corpus, each once."""

    names: Sequence[str]
    marks: Marks  # [sets, findings]
    originals: Counts  # [sets]: images of the corpus that have the set

    @property
    def most(self) -> Array:
        """The largest share of a checkpoint's images that may have each set: ``MOST`` for each original.

        In a corpus of fewer images than that allows for, an original's even share.
        """
        return np.maximum(MOST, 1 / self.originals.sum()) * self.originals


@dataclass(frozen=True)
class Lack:
    """What a finding of the task lacks to be as frequent as the most frequent one."""

    finding: str
    images: int
    company: Array  # [findings beside the task]: how often each comes with it in real images
    rates: Array  # the same, as it is asked for in synthetic ones

    @property
    def wanted(self) -> Counts:
        """How many of the images are to carry each finding beside the task ``[findings]``."""
        return np.rint(self.images * self.rates).astype(np.int64)


def sets_of(corpus: pd.DataFrame, findings: Sequence[str]) -> Sets:
    """The label sets of the ``corpus`` (0/1 columns), in the order of their names.

    Raises:
        UserError: the corpus is empty.
    """
    if corpus.empty:
        raise UserError(
            "no training image is free of the task's findings, and synthetic ones start from such; choose fewer "
            "findings in params.yaml, study.findings, or take more data"
        )
    names = label_sets(corpus, findings)
    one = corpus[list(findings)].groupby(names).first()
    return Sets(list(one.index), one.to_numpy(np.int64), np.asarray(names.value_counts().loc[one.index], np.int64))


def lacks(
    training: pd.DataFrame, corpus: pd.DataFrame, task: Sequence[str], others: Sequence[str], company: float
) -> list[Lack]:
    """A ``Lack`` for each finding of the ``task``, from the training rows of a trial and the corpus (0/1 columns).

    The ``others`` come with finding f as often as ``(carriers of both + k * p) / (carriers of f + k)``: p is their
    prevalence among all training images with a finding of the task, k is ``PSEUDO_COUNT``. So ten shots speak for
    themselves, but none of the others is ruled out since no shot has it. Asked for is the share ``company`` (0 to 1) of
    the way there from the prevalence in the corpus: the more findings a prompt names, the fainter each is drawn.
    """
    ordinary = corpus[list(others)].mean().to_numpy()
    prevalence = training.loc[training[list(task)].any(axis=1), list(others)].mean().to_numpy()
    found = []
    for finding, images in needed(training[list(task)]).items():
        marks = training.loc[training[finding] == 1, list(others)].to_numpy()
        real = (marks.sum(axis=0) + PSEUDO_COUNT * prevalence) / (len(marks) + PSEUDO_COUNT)
        found.append(Lack(finding, images, real, company * real + (1 - company) * ordinary))
    return found


def check_synthesized(lacking: Sequence[Lack], synthesized: Sequence[str], shots: int, trial: int) -> None:
    """Refuse a study that fine-tunes no model for a finding that lacks images.

    Raises:
        UserError: names the finding, and how many it lacks.
    """
    for lack in lacking:
        if lack.images and lack.finding not in synthesized:
            raise UserError(
                f"params.yaml, study.synthesized: at {shots} shots of trial {trial} '{lack.finding}' lacks "
                f"{lack.images} images to be as frequent as the most frequent finding; add it"
            )


def plan(lacking: Sequence[Lack], sets: Sets) -> pd.DataFrame:
    """``finding, label_set, share, images``: a row for each checkpoint and set.

    ``share`` is the set's proportion however many images are drawn, to ``DECIMALS``; ``images`` is how many of those
    that the mix lacks have the set.
    """
    tables = []
    for lack in lacking:
        share = shares(sets, lack.rates).round(DECIMALS)
        images = planned(sets.marks, lack.wanted, lack.images, share, sets.most)
        columns = {"label_set": sets.names, "share": share, "images": images}
        tables.append(pd.DataFrame({"finding": lack.finding, **columns}))
    return pd.concat(tables, ignore_index=True)


def imbalance(
    training: pd.DataFrame, lacking: Sequence[Lack], drawn: pd.DataFrame, sets: Sets, others: Sequence[str]
) -> pd.DataFrame:
    """``finding, target, real, planned, left`` of the findings of the task and of the ``others``, in images.

    ``target`` counts real carriers and, of a finding of the task, what it lacks; of the others, those that real images
    in place of what is lacking would carry. ``left`` is below 0 where more is planned. ``drawn`` is what ``plan``
    returned.
    """
    task = [lack.finding for lack in lacking]
    beside = np.rint(sum(lack.images * lack.company for lack in lacking)).astype(np.int64)
    asked = np.concatenate([[lack.images for lack in lacking], beside])
    by_set = drawn.groupby("label_set")["images"].sum().loc[list(sets.names)].to_numpy()
    by_finding = drawn.groupby("finding")["images"].sum().loc[task].to_numpy()
    real = training[[*task, *others]].sum().to_numpy()
    given = np.concatenate([by_finding, by_set @ sets.marks])
    columns = {"target": real + asked, "real": real, "planned": given, "left": asked - given}
    return pd.DataFrame({"finding": [*task, *others], **columns})


def shares(sets: Sets, rates: Array) -> Array:
    """The proportions of the ``sets``, which sum to 1, whose marginals are the ``rates`` ``[findings]``.

    Of all such proportions the ones nearest to the corpus in relative entropy (an I-projection: Csiszar 1975), so that
    as many originals as possible have a part; none more than ``sets.most`` allows. Where no proportions have the
    rates, the sum of absolute deviations counts ``STEEPEST`` times: by duality that bounds the multipliers.
    """
    base = sets.originals / sets.originals.sum()
    features = np.column_stack([sets.marks, np.ones(len(base))])
    wanted = np.append(rates, 1.0)

    def tilted(multipliers: Array) -> Array:
        return np.minimum(base * np.exp(np.minimum(features @ multipliers, 700.0)), sets.most)

    def dual(multipliers: Array) -> tuple[float, Array]:
        share, slope = tilted(multipliers), features @ multipliers
        at_most = share * (slope - np.log(sets.most / base) + 1)
        value = np.where(share < sets.most, share, at_most).sum() - multipliers @ wanted
        return float(value), features.T @ share - wanted

    bounds = [(-STEEPEST, STEEPEST)] * len(rates) + [(None, None)]
    options = {"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(dual, np.zeros(len(wanted)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    share = tilted(found.x)
    return share / share.sum()


def planned(marks: Marks, wanted: Counts, budget: int, share: Array, most: Array) -> Counts:
    """How many of ``budget`` images have each of the sets ``marks`` ``[sets, findings]``: a count ``[sets]``.

    First the sum over findings of absolute deviations from ``wanted`` carriers is as small as it can be. Of the counts
    that reach it, the ones with the smallest sum of absolute deviations from ``share`` of the budget ``[sets]``: a
    vertex of the first programme alone would be a few sets, each many times. No set has more than ``most`` of the
    budget ``[sets]``, rounded up.

    Raises:
        UserError: the solver finds no optimum, or not in time.
    """
    n, width = marks.shape
    of_sets, of_findings = np.eye(n), np.eye(width)
    # The variables: a count for each set; how far each finding is below, above; how far each set is below, above.
    nearness = np.block(
        [
            [marks.T, of_findings, -of_findings, np.zeros((width, 2 * n))],
            [of_sets, np.zeros((n, 2 * width)), of_sets, -of_sets],
        ]
    )
    counts, findings, sets = np.split(np.eye(3 * n + 2 * width), [n, n + 2 * width])
    aims = np.concatenate([wanted, budget * share])
    fixed = [LinearConstraint(nearness, aims, aims), LinearConstraint(counts.sum(axis=0), budget, budget)]
    bounds = Bounds(0, np.concatenate([np.ceil(budget * most), np.full(2 * (n + width), np.inf)]))
    whole = counts.sum(axis=0)

    def least(cost: Array, constraints: list[LinearConstraint]) -> Array:
        options = {"time_limit": SECONDS, "mip_rel_gap": 0.0}
        found = milp(cost, integrality=whole, bounds=bounds, constraints=constraints, options=options)
        if not found.success:
            raise UserError(
                f"no plan of {budget} images among {n} label sets of {width} findings: {found.message.rstrip('. ')}; "
                f"run `dvc repro split` with less beside it, or raise SECONDS ({SECONDS:g}) in raremix/data/plan.py"
            )
        return np.asarray(found.x)

    deviation = findings.sum(axis=0)
    nearest = deviation @ least(deviation, fixed)
    kept = LinearConstraint(deviation, -np.inf, np.rint(nearest) + 0.5)  # the sum is a whole number of images
    return np.rint(least(sets.sum(axis=0), [*fixed, kept])[:n]).astype(np.int64)
