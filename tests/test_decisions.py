"""What the compare stage tells of decisions: at thresholds of validation, trial by trial, and as probabilities."""

import numpy as np
import pandas as pd
import pytest
from compared import FINDINGS, images_of_test, keyed, whole
from scipy.stats import chi2, norm
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from raremix.evaluation.decisions import resample_decisions
from raremix.evaluation.metrics import calibration_error, equal_mass_bins


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A profile after compare; only to be read."""
    return whole(tmp_path_factory.mktemp("done"))


def of_validation(done, arm, finding):
    """The predictions of an arm's runs at 10 shots, pooled."""
    runs = [pd.read_csv(done / "runs" / f"{arm}-10-{trial}" / "predictions.csv") for trial in range(3)]
    return keyed(pd.concat(runs), finding=finding)


def summed(table, cut):
    """Sensitivity, and specificity less 1, where probabilities from ``cut`` on are called."""
    called = table.probability >= cut
    return called[table.label == 1].mean() - called[table.label == 0].mean()


def test_decisions_are_at_the_threshold_of_validation_with_the_trials_pooled(done):
    table = pd.read_csv(done / "out" / "decisions.csv")
    assert len(table) == 2 * 6 * 3 * 6  # shots x arms x trials x (findings and families)
    assert table[table.finding.isin(FINDINGS)].groupby(["shots", "arm", "finding"])["threshold"].nunique().eq(1).all()
    one = keyed(table, shots=10, arm="dreambooth_balanced", finding="nodule")
    pooled = of_validation(done, "dreambooth_balanced", "nodule")
    best = max(summed(pooled, cut) for cut in pooled.probability)
    assert summed(pooled, one.threshold.iloc[0]) == pytest.approx(best)
    assert one.balanced_accuracy.gt(0.6).all()
    assert table[table.arm == "shuffled"].balanced_accuracy.between(0.35, 0.65).all()


def natural(done):
    """By test image its weight: how often nature has its set of findings (or half an image), among those with it."""
    sets = pd.read_csv(done / "manifest.csv").set_index("image_id")[FINDINGS].astype(str).agg("".join, axis=1)
    tested = sets.index.isin(images_of_test(done))
    here, naturally = sets[tested].value_counts(), sets[~tested].value_counts()
    return sets[tested].map(naturally.reindex(here.index, fill_value=0).clip(lower=0.5) / here)


def miscalibration(labels, chances, mass):
    """What is promised too much or too little in each tenth of the mass, in order of chance; an image is in one."""
    middles = [mass[chances < chance].sum() + mass[chances == chance].sum() / 2 for chance in chances]
    tenths = np.floor(10 * np.array(middles) / mass.sum())
    return (mass * (chances - labels)).groupby(tenths).sum().abs().sum() / mass.sum()


def test_decisions_are_scored_as_scikit_learn_does_with_natural_weights(done):
    weights, keys = natural(done), ["shots", "arm", "trial", "finding"]
    table = pd.read_csv(done / "out" / "decisions.csv").set_index(keys)
    for key, of in pd.read_csv(done / "out.csv").query("shots == 10 and trial == 1").groupby(keys):
        one, mass = table.loc[key], of.image_id.map(weights)
        called = of.label, of.probability >= one.threshold
        assert one.balanced_accuracy == pytest.approx(balanced_accuracy_score(*called, sample_weight=mass), abs=1e-5)
        assert one.f1 == pytest.approx(f1_score(*called, sample_weight=mass), abs=1e-5)
        assert one.calibration_error == pytest.approx(miscalibration(of.label, of.probability, mass), abs=1e-5)


def test_a_family_s_decisions_are_its_findings_means(done):
    table = pd.read_csv(done / "out" / "decisions.csv")
    one = table.query("shots == 10 and arm == 'dreambooth_balanced' and trial == 1").set_index("finding")
    for family, members in (("minority", ["nodule", "pneumothorax"]), ("macro", FINDINGS), ("majority", ["effusion"])):
        for figure in ("balanced_accuracy", "f1", "calibration_error"):
            assert one.loc[family, figure] == pytest.approx(one.loc[members, figure].mean(), abs=1e-5)
    assert np.isnan(one.loc["minority", "threshold"])


def test_decisions_differ_by_their_means_inside_intervals_that_count_images_and_trials(done):
    table = pd.read_csv(done / "out" / "decision_differences.csv")
    keys, figures = ["shots", "arm", "finding"], ["balanced_accuracy", "f1", "calibration_error"]
    means = pd.read_csv(done / "out" / "decisions.csv").groupby(keys)[figures].mean()
    ranked = pd.read_csv(done / "out" / "comparison.csv")
    assert len(table) == len(ranked) / 2 * 3, "of the same pairs and families, three figures in place of two metrics"
    assert [*ranked.columns.drop("p_holm")] == [*table.columns], "explored, so no correction"
    for row in table.itertuples():
        gained = means.loc[row.shots, row.arm, row.finding] - means.loc[row.shots, row.against, row.finding]
        assert row.difference == pytest.approx(gained[row.metric], abs=3e-6)
        assert row.low < row.difference < row.high
        assert row.detectable > (row.high - row.low) / 2
        assert row.trials == 3


@pytest.mark.parametrize("drawn", [0, 1])
def test_a_resample_s_decisions_are_those_of_its_weights(drawn):
    """Against scikit-learn, one draw at a time; calibration's bins stay those of the images as they are."""
    rng, groups = np.random.default_rng(0), {"a": [0], "b": [1], "macro": [0, 1]}
    labels, stack = (rng.uniform(size=(80, 2)) < [0.5, 0.2]).astype(np.int64), rng.uniform(size=(2, 80, 2)).round(2)
    weights, draws = rng.uniform(0.5, 2, size=80), rng.integers(0, 3, size=(2, 80)).astype(np.float64)
    draws[0] = weights
    cuts = np.array([0.4, 0.7])
    key = (10, "vanilla")
    found = resample_decisions({key: stack}, {key: cuts}, labels, weights, draws, groups)[key]
    mass = draws[drawn]
    for trial, k, name in ((0, 0, "a"), (1, 1, "b")):
        of = labels[:, k], stack[trial, :, k] >= cuts[k]
        assert found["balanced_accuracy"][name][drawn, trial] == pytest.approx(
            balanced_accuracy_score(*of, sample_weight=mass)
        )
        assert found["f1"][name][drawn, trial] == pytest.approx(f1_score(*of, sample_weight=mass))
        missed = 0.0
        place = equal_mass_bins(stack[trial, :, k], weights)
        for held in (place == one for one in set(place)):
            gap = stack[trial, held, k] - labels[held, k]
            missed += abs((mass[held] * gap).sum()) / mass.sum()
        assert found["calibration_error"][name][drawn, trial] == pytest.approx(missed)
    if drawn == 0:
        whole = calibration_error(labels[:, 0], stack[0, :, 0], weights)
        assert found["calibration_error"]["a"][0, 0] == pytest.approx(whole)
    halves = (found["f1"]["a"] + found["f1"]["b"]) / 2
    assert found["f1"]["macro"] == pytest.approx(halves)


def pair(done):
    """Of one trial's nodules: the row of tests.csv, and both arms' predictions, image by image."""
    keys, arms = {"shots": 10, "trial": 1, "finding": "nodule"}, ["dreambooth_balanced", "oversample"]
    (one,) = keyed(pd.read_csv(done / "out" / "tests.csv"), arm=arms[0], against=arms[1], **keys).itertuples()
    predicted = keyed(pd.read_csv(done / "out.csv"), **keys).set_index(["arm", "image_id"])
    return one, *(predicted.loc[arm] for arm in arms)


def test_single_trials_are_tested_pair_by_pair(done):
    table = pd.read_csv(done / "out" / "tests.csv")
    assert len(table) == 2 * (6 * 3 - 3 + 2 * 2) * 3 * 3  # shots x (arm, other) x trials x findings
    assert table[["p_delong", "p_mcnemar"]].stack().between(0, 1).all()
    one, mine, theirs = pair(done)
    gained = roc_auc_score(mine.label, mine.probability) - roc_auc_score(theirs.label, theirs.probability)
    assert one.difference == pytest.approx(gained, abs=1e-5)


def test_delong_s_p_is_that_of_all_pairs_of_images(done):
    """Won by each of both classifiers: the pairs of an image with and one without (DeLong et al. 1988)."""
    one, mine, theirs = pair(done)
    carried, scores = (mine.label == 1).to_numpy(), (table.probability.to_numpy() for table in (mine, theirs))
    won = [np.heaviside(of[carried][:, None] - of[~carried], 0.5) for of in scores]
    gained = won[0] - won[1]
    variance = gained.mean(axis=1).var(ddof=1) / carried.sum() + gained.mean(axis=0).var(ddof=1) / (~carried).sum()
    assert one.p_delong == pytest.approx(2 * norm.sf(abs(gained.mean()) / np.sqrt(variance)), rel=1e-5)


def test_mcnemar_counts_decisions_at_each_arm_s_own_threshold_of_validation(done):
    one, mine, theirs = pair(done)
    right = []
    for arm, table in (("dreambooth_balanced", mine), ("oversample", theirs)):
        pooled = of_validation(done, arm, "nodule")
        cut = max(sorted(pooled.probability, reverse=True), key=lambda chance, of=pooled: summed(of, chance))
        right.append((table.probability >= cut) == (table.label == 1))
    counts = (right[0] & ~right[1]).sum(), (~right[0] & right[1]).sum()
    assert (one.only_arm, one.only_against) == counts
    assert sum(counts) >= 25, "so many that chi-square will do"
    corrected = (abs(counts[0] - counts[1]) - 1) ** 2 / sum(counts)
    assert one.p_mcnemar == pytest.approx(chi2.sf(corrected, 1), rel=1e-5)


def test_calibration_curves_hold_all_images(done):
    table = pd.read_csv(done / "out" / "calibration.csv")
    assert list(table.columns) == ["finding", "arm", "predicted", "observed", "share"]
    assert table.groupby(["finding", "arm"])["share"].sum().to_numpy() == pytest.approx(1, abs=2e-3)
    shown = pd.read_csv(done / "out.csv").query("shots == 10 and arm == 'vanilla' and finding == 'nodule'")
    curve = table.query("arm == 'vanilla' and finding == 'nodule'")
    assert (curve.predicted * curve.share).sum() < shown.probability.mean(), "weighted to nature's few carriers"
    assert curve.predicted.between(shown.probability.min(), shown.probability.max()).all()
