"""What synthetic images are worth before any classifier is trained on them.

A judge, trained on all real images of train, says whether a finding survives the autoencoder and whether the
fine-tuned model draws it; regressors say whether the base model heeds its captions; a probe says whether synthetic
images can be told from real ones.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

Array = NDArray[np.float64]


def judged(
    labels: NDArray[np.int64], originals: Array, reconstructions: Array, findings: Sequence[str]
) -> pd.DataFrame:
    """AUROC per finding of the judge on real images and on their reconstructions; the row ``all`` has the macro means.

    Args:
        labels: ``[images, findings]`` of 0 and 1.
        originals, reconstructions: the judge's probabilities, ``[images, findings]``.
    """
    rows = [
        (finding, roc_auc_score(labels[:, k], originals[:, k]), roc_auc_score(labels[:, k], reconstructions[:, k]))
        for k, finding in enumerate(findings)
    ]
    table = pd.DataFrame(rows, columns=["finding", "real", "reconstructed"])
    macro = {"finding": "all"} | table[["real", "reconstructed"]].mean().to_dict()
    return pd.concat([table, pd.DataFrame([macro])], ignore_index=True)


def told_apart(positives: Array, negatives: Array) -> float:
    """AUROC with which scores ``[n]`` of images prompted with a finding exceed those of images prompted without."""
    labels = np.repeat([1, 0], [len(positives), len(negatives)])
    return float(roc_auc_score(labels, np.concatenate([positives, negatives])))


def real_or_synthetic(real: Array, synthetic: Array) -> float:
    """AUC (0.5 is perfect) of a logistic probe on features ``[n, width]``, by five-fold cross-validation.

    NaN if there are fewer than five of either.
    """
    if min(len(real), len(synthetic)) < 5:
        return float("nan")
    features = np.concatenate([real, synthetic])
    labels = np.repeat([0, 1], [len(real), len(synthetic)])
    scores = cross_val_predict(probe(), features, labels, cv=folds(), method="decision_function")
    return float(roc_auc_score(labels, scores))


def probe() -> Pipeline:
    """A scaler and a logistic regression, neither of which has learned yet."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))


def folds() -> StratifiedKFold:
    """The five parts of the images, each of which is held out once."""
    return StratifiedKFold(5, shuffle=True, random_state=0)


def explained(told: "pd.Series[float]", predicted: Array, views: "pd.Series[str]") -> dict[str, float]:
    """R2 of ``predicted`` against what the captions told, over ``all`` images and ``within view``.

    The second takes each view's mean from both: a near source is mostly told by the word for a bedside view. Images
    whose caption tells nothing are left out; NaN if fewer than ten are left.
    """
    frame = pd.DataFrame({"told": told.to_numpy(), "predicted": predicted, "view": views.fillna("").to_numpy()})
    frame = frame.dropna()
    if len(frame) < 10:
        return {"all": float("nan"), "within view": float("nan")}
    centred = frame[["told", "predicted"]] - frame.groupby("view")[["told", "predicted"]].transform("mean")
    return {
        "all": float(r2_score(frame["told"], frame["predicted"])),
        "within view": float(r2_score(centred["told"], centred["predicted"])),
    }
