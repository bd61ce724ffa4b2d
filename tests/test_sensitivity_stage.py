"""The sensitivity stage: estimates of both kinds, beside the truth where there is one."""

import json
from dataclasses import replace
from pathlib import Path

import diagnosed
import pandas as pd
import pytest
import torch
from torch import nn

from raremix.diagnosis.estimates import COLUMNS
from raremix.diagnosis.implicit import Implicit, save
from raremix.runtime.errors import UserError
from stages.sensitivity import Sensitivity, sensitivity

FINDINGS = ["a", "b"]
ASKED = Sensitivity(coarse=3, pointless=2, few=3, top=1, doses=[-1.0, 1.0], strengths=[2.0, 1.0], clip=None)
TRUE = "attribute,classifier,low_end,high_end,finding,effect,low,high,n"
NAMED = pd.DataFrame(
    [
        ("man", "male", "named", "male"),
        ("wide", "wide body", "named", "thickness"),
        ("lamp", "purple lamp", "nonsense", ""),
        ("device", "pacemaker", "named", ""),
    ],
    columns=["attribute", "phrase", "kind", "reads"],
)


@pytest.fixture
def stage(base, tmp_path, monkeypatch):
    """Call it with options; the truth tells of male, thickness and exposure, of two classifiers."""
    monkeypatch.chdir(tmp_path)
    diagnosed.patients(tmp_path)
    diagnosed.walked(tmp_path, base)
    diagnosed.classifier(Path("vanilla-3-0"), FINDINGS)
    diagnosed.classifier(Path("planted/shortcut"), ["a"])
    Path("planted/notes").mkdir()
    torch.manual_seed(0)
    function = Implicit(16, diagnosed.STEPS, 4, 8)
    nn.init.normal_(function.leave.weight, std=0.2)
    save(Path("implicit.safetensors"), function)
    NAMED.to_csv("attributes.csv", index=False)
    Path("true").mkdir()
    rows = [
        f"{name},{who},0,1,{finding},{0.1 * k},{0.1 * k - 0.05},{0.1 * k + 0.05},9"
        for who, of in {"vanilla-3-0": FINDINGS, "shortcut": ["a"]}.items()
        for k, name in enumerate(["male", "thickness", "exposure"])
        for finding in of
    ]
    Path("true/effects.csv").write_text("\n".join([TRUE, *rows]) + "\n")
    Path("true/summary.json").write_text('{"reliability": {"vanilla-3-0": 0.9}}')

    def call(editing=diagnosed.EDITING):
        known = ["manifest.csv", "splits", "images.sha256", base, "boundary", "implicit.safetensors", "readers"]
        more = ["r2.csv", "vanilla-3-0", "planted", "true", "attributes.csv"]
        sensitivity(diagnosed.LATENTS, editing, ASKED, *map(Path, [*known, *more]), "male", Path("out"))
        return json.loads(Path("out/summary.json").read_text())

    return call


def table(name):
    return pd.read_csv(f"out/{name}.csv")


def test_every_method_has_its_rows_beside_the_truth(stage):
    summary = stage(replace(diagnosed.EDITING, arrived=1e-6))
    found = table("sensitivity")
    assert list(found.columns) == COLUMNS
    counts = found.groupby("method").size().to_dict()
    assert counts == {"coarse": 4 * 2, "hyperplane": 3 * 2, "implicit": 3 * 2, "observed": 3 * 2, "true": 3 * 2}
    edited = found[found["method"].isin(["hyperplane", "implicit"])]
    assert set(edited["attribute"]) == {"male", "thickness", "exposure"}, "not ap, which is hardly read"
    for low, high in (("low", "effect"), ("effect", "high"), ("null_low", "null_high")):
        assert (edited[low] <= edited[high]).all()
    assert (edited["n"] == 6).all()
    assert edited.groupby("method")["effect"].apply(lambda effects: effects.abs().max()).gt(1e-4).all()
    assert set(table("doses")["method"]) == {"hyperplane", "implicit"}
    combined = table("combined").pivot(index="finding", columns="strength", values="flip_rate")
    assert (combined[2.0] >= combined[1.0]).all()
    assert summary["classifier"] == "vanilla-3-0"
    assert summary["reliability"] == 0.9
    assert set(summary["agreement"]) == {"coarse", "hyperplane", "implicit", "observed"}
    for method in ("hyperplane", "implicit"):
        figures = summary["agreement"][method]
        for source in ("edits", "images"):
            assert (figures[source] is None) == (figures["attributes"] < 3)
    observed = found[found["method"] == "observed"]
    assert (observed["n"] == 16).all(), "one image a patient of validation"
    assert observed["flip_rate"].isna().all()
    assert Path("out/traversal.png").is_file()


def test_estimates_stand_beside_their_own_truth_and_only_those_that_arrived(stage):
    summary = stage(replace(diagnosed.EDITING, arrived=1e-6))
    beside, selective = table("beside"), table("selectivity")
    true = {"male": 0.0, "thickness": 0.1, "exposure": 0.2}
    deep = beside[beside["method"] != "coarse"]
    assert deep["true"].tolist() == pytest.approx([true[name] for name in deep["attribute"]])
    arrived = selective[selective["arrived"] == 1]
    assert summary["agreement"]["observed"]["attributes"] == 3
    for method, rows in arrived.groupby("method"):
        assert set(deep[deep["method"] == method]["attribute"]) == set(rows["attribute"])
        assert summary["agreement"][method]["attributes"] == len(rows)
        assert summary["selectivity"][method]["attributes"] == len(rows)
    estimates = table("sensitivity").set_index(["method", "attribute", "finding"])["effect"]
    for row in deep.itertuples():
        assert row.estimate == estimates[row.method, row.attribute, row.finding]


def test_planted_classifiers_are_ranked_by_size(stage):
    summary = stage(replace(diagnosed.EDITING, arrived=1e-6))
    planted = table("planted")
    assert set(planted["classifier"]) == {"shortcut"}
    for _, rows in planted.groupby("method"):
        by_size = rows.sort_values("rank")["effect"].abs()
        assert by_size.is_monotonic_decreasing
        assert rows["rank"].min() == 1
    assert summary["planted"]["shortcut"]["true"] == 3
    assert set(summary["planted"]) == {"shortcut"}


def test_if_nothing_arrives_it_says_so(stage):
    summary = stage(replace(diagnosed.EDITING, arrived=0.99999, hyperplane=1e-12, implicit=1e-12))
    assert [summary["agreement"][method]["spearman"] for method in ("hyperplane", "implicit")] == [None, None]
    assert summary["selectivity"]["hyperplane"] == {"attributes": 0, "mean": None, "median": None, "least": None}
    assert summary["realism"]["hyperplane"]["edited"] is None
    assert summary["realism"]["hyperplane"]["unedited"] is not None
    assert set(summary["planted"]["shortcut"]) == {"observed", "true"}
    assert (table("selectivity")["arrived"] == 0).all()
    assert (table("combined")["flip_rate"] == 0).all()


def test_real_data_have_estimates_and_no_truth(stage):
    Path("true/effects.csv").write_text(TRUE + "\n")
    Path("true/summary.json").write_text('{"reliability": {}}')
    summary = stage(replace(diagnosed.EDITING, arrived=1e-6))
    assert set(table("sensitivity")["method"]) == {"coarse", "hyperplane", "implicit", "observed"}
    assert summary["reliability"] is None
    assert summary["agreement"]["implicit"]["spearman"] is None
    assert summary["agreement"]["implicit"]["edits"] is None
    assert "true" not in set(table("planted")["method"])
    assert table("beside").empty


def test_few_images_are_enough_to_run(stage):
    """The smoke profile has as many: too few for a probe, and fewer than there are edits."""
    summary = stage(replace(diagnosed.EDITING, images=4, arrived=1e-6))
    assert summary["realism"]["implicit"] == {"unedited": None, "edited": None}


def test_the_same_params_give_the_same_bytes(stage):
    stage()
    before = {file: file.read_bytes() for file in Path("out").iterdir()}
    stage()
    assert before == {file: file.read_bytes() for file in Path("out").iterdir()}
    assert len(before) == 9


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("true/effects.csv", r"true/effects\.csv: no true effects; run `dvc repro truth`"),
        ("boundary/e.safetensors", r"e\.safetensors: no such directions; run `dvc repro boundary`"),
        ("implicit.safetensors", r"implicit\.safetensors: no implicit function; run `dvc repro implicit`"),
        ("vanilla-3-0/config.json", r"vanilla-3-0: holds no classifier"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_edited(stage, missing, message, monkeypatch):
    Path(missing).unlink()
    monkeypatch.setattr("stages.sensitivity.back", None)
    with pytest.raises(UserError, match=message):
        stage()


def test_more_images_than_validation_has_are_refused(stage):
    with pytest.raises(UserError, match=r"editing\.images: 18 patients of validation are needed, not 16"):
        stage(replace(diagnosed.EDITING, images=9))
