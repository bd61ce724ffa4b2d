"""Classifiers that are diagnosed: read from their runs, with the points at which they decide."""

import numpy as np
import pandas as pd
import pytest
import tiny

from raremix.classifier.model import build
from raremix.classifier.predict import predict_run, save_run
from raremix.diagnosis.eyes import load_run
from raremix.evaluation.thresholds import operating_points
from raremix.runtime.errors import UserError


def test_a_run_decides_at_its_operating_points_or_at_one_half(tmp_path):
    run, pixels = tmp_path / "vanilla-3-0", tiny.images(12)
    save_run(run, build("mobilenet_v3_small", 2), "mobilenet_v3_small", ["b", "a"], "float32")
    _, classifier = load_run(run)
    assert classifier.thresholds.tolist() == [0.5, 0.5]
    labels = pd.DataFrame({"image_id": range(12), "a": [0, 1] * 6, "b": [0] * 6 + [1] * 6})
    predictions = predict_run(run, labels, pixels, "validation")
    wide = predictions.pivot(index="image_id", columns="finding", values="probability")[["b", "a"]]
    np.testing.assert_allclose(classifier.probabilities(pixels), wide, atol=1e-6)
    predictions["probability"] = predictions["label"] * 0.4 + 0.1 + 0.2 * (predictions["finding"] == "b")
    other = predictions.assign(part="test", probability=0.01, label=1)
    pd.concat([predictions, other]).to_csv(run / "predictions.csv", index=False)
    assert load_run(run)[1].thresholds.tolist() == pytest.approx([0.7, 0.5])
    with pytest.raises(UserError, match=r"none: holds no classifier .*; run `dvc repro classify`"):
        load_run(tmp_path / "none")


def balanced(labels, chances, threshold):
    called = chances >= threshold
    return (called[labels == 1].mean() + 1 - called[labels == 0].mean()) / 2


@pytest.mark.parametrize("levels", [4, 1000])
def test_operating_points_are_those_of_a_search_over_all_thresholds(levels):
    """Of few levels, most images share their probability with others: none of them can be told apart by a cut."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = np.array([0, 1, *(rng.random(28) < 0.4)]).astype(int)
        chances = np.round((rng.random(30) + 0.3 * labels) * levels) / levels
        rows = pd.DataFrame({"finding": "a", "label": labels, "probability": chances})
        halved = rows.assign(finding="b", probability=chances / 2)
        b, a = operating_points(pd.concat([rows, halved]), ["b", "a"], "mine")
        best = max(balanced(labels, chances, threshold) for threshold in chances)
        assert balanced(labels, chances, a) == pytest.approx(best)
        assert b == pytest.approx(a / 2)


def test_a_classifier_that_is_worse_than_none_has_a_point_too():
    rows = pd.DataFrame({"finding": "a", "label": [1, 1, 0], "probability": [0.1, 0.2, 0.3]})
    assert operating_points(rows, ["a"], "mine")[0] in (0.1, 0.2, 0.3)


def test_without_both_classes_there_is_no_point():
    rows = pd.DataFrame({"finding": "a", "label": [1, 1], "probability": [0.1, 0.2]})
    with pytest.raises(UserError, match="mine: validation needs images with and without 'a' for a threshold"):
        operating_points(rows, ["a"], "mine")
