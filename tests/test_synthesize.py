"""What is asked of the generator: pairs that differ in the finding alone, with the label sets of the plan."""

import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import prepared
import pytest
import torch
from safetensors.torch import load_file, save_file
from through_dvc import contents

from raremix.data import images
from raremix.data.lineage import write_lineage
from raremix.data.manifest import FIXED, write_csv
from raremix.data.views import Views
from raremix.generator import sample
from raremix.generator.effect import laid_over
from raremix.generator.sample import Sampling
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.errors import UserError
from stages import synthesize as room
from stages.synthesize import Synthesize, _lay_over, _place, _plan, _Task, _tell

ASKED = Synthesize(3, 0.9, "drawn", "without_finding", None, None, "ddim", False, Sampling(4, 3.0, 2, "float32"))

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def tables(tmp_path):
    ids = [f"i{index}" for index in range(6)]
    rows = pd.DataFrame({"image_id": ids, "calcification": [1, 0, 0, 1, 0, 0], "ild": [1, 0, 0, 0, 0, 0]})
    facts = {"exposure_index": range(6), "body_thickness": None, "source_distance": None}
    write_csv(rows[["image_id"]].assign(view="PA", sex="F", devices="", **facts), tmp_path / "metadata.csv")
    write_csv(rows[["image_id"]], tmp_path / "splits" / "corpus.csv")
    return rows.assign(nodule_mass=0, **{column: "" for column in FIXED if column != "image_id"}), tmp_path


def sets(**images):
    """The plan of one checkpoint: how many images of which label set, ``none`` for the one without a finding."""
    names = [name.replace("none", "").replace("_and_", "|") for name in images]
    share = [count / sum(images.values()) for count in images.values()]
    return pd.DataFrame({"label_set": names, "share": share, "images": images.values()})


def plan(tables, asked=ASKED, planned=None):
    rows, folder = tables
    planned = sets(none=1, calcification=1) if planned is None else planned
    return _plan(asked, "nodule_mass-5-0", "nodule_mass", 0, planned, rows, folder / "metadata.csv", folder / "splits")


def test_a_pair_shares_seed_original_and_caption_and_differs_in_the_finding(tables):
    rows = plan(tables)
    assert rows["image_id"].tolist() == [f"nodule_mass-5-0-0000{k}-{kind}" for kind in ("pos", "neg") for k in range(3)]
    positives, negatives = rows[:3].reset_index(), rows[3:].reset_index()
    same = ["seed", "original", "calcification", "ild"]
    assert positives[same].equals(negatives[same])
    assert positives["nodule_mass"].tolist() + negatives["nodule_mass"].tolist() == [1, 1, 1, 0, 0, 0]
    assert (positives["prompt"].str.replace(" <nodule_mass>", "") == negatives["prompt"]).all()
    assert positives["prompt"].str.count("<nodule_mass>").tolist() == [1, 1, 1]


def test_guidance_leads_positives_away_from_their_negatives_and_negatives_nowhere(tables):
    rows = plan(tables)
    assert rows["negative_prompt"].tolist()[:3] == rows["prompt"].tolist()[3:]
    assert rows["negative_prompt"].tolist()[3:] == rows["prompt"].tolist()[3:]
    assert set(plan(tables, replace(ASKED, negative_prompt="empty"))["negative_prompt"]) == {""}


def test_as_many_pairs_as_the_mixes_need_or_the_least_and_the_same_ones_first(tables):
    needed = plan(tables, planned=sets(none=5, calcification=5))
    assert len(needed) == 20
    few, many = (plan(tables, replace(ASKED, least=least), sets(none=5, calcification=5)) for least in (30, 90))
    assert (len(few), len(many)) == (60, 180)
    assert needed[:10].equals(few[:10])
    assert few[:30].equals(many[:30])


def test_the_planned_label_sets_are_in_labels_prompts_and_originals(tables):
    rows = plan(tables, planned=sets(none=2, calcification=4, calcification_and_ild=3))
    for kind in rows[:9], rows[9:]:
        carried = kind[["calcification", "ild"]]
        assert carried.value_counts().to_dict() == {(1, 0): 4, (1, 1): 3, (0, 0): 2}
        for finding in carried:
            assert (kind["prompt"].str.contains(f"<{finding}>") == (carried[finding] == 1)).all()
        assert set(kind.loc[carried["ild"] == 1, "original"]) == {"i0"}
        assert set(kind.loc[carried.sum(axis=1) == 1, "original"]) == {"i3"}
        assert set(kind.loc[carried.sum(axis=1) == 0, "original"]) <= {"i1", "i2", "i4", "i5"}


def test_a_finding_that_lacks_nothing_has_its_company_all_the_same(tables):
    planned = sets(none=1, calcification=3).assign(images=0)
    rows = plan(tables, replace(ASKED, least=40), planned)
    assert len(rows) == 80
    assert rows.loc[rows["nodule_mass"] == 1, "calcification"].sum() == pytest.approx(30, abs=2)


def test_what_a_pair_shares_leaves_an_original_as_it_is():
    rng = np.random.default_rng(0)
    original, drawn = rng.integers(0, 256, (2, 8, 8), np.uint8)
    assert (laid_over(original, drawn, drawn) == original).all()


def test_what_a_token_changes_is_laid_over_the_original_and_cut_at_black_and_white():
    original, without = np.full((2, 2), 100, np.uint8), np.full((2, 2), 90, np.uint8)
    with_it = np.array([[90, 110], [0, 255]], np.uint8)
    assert laid_over(original, with_it, without).tolist() == [[100, 120], [10, 255]]
    assert laid_over(without, np.zeros_like(without), original).tolist() == [[0, 0], [0, 0]]


def test_beyond_its_place_an_original_stays_as_it_is_and_inside_it_nothing_is_lost():
    original, without, with_it = (np.full((64, 64), grey, np.uint8) for grey in (100, 50, 90))
    inside = np.zeros((64, 64), np.float32)
    inside[20:30, 40:50] = 1
    changed = laid_over(original, with_it, without, inside).astype(int) - 100
    assert (changed[22:28, 42:48] >= 39).all()
    far = np.ones((64, 64), bool)
    far[10:40, 30:60] = False
    assert (changed[far] == 0).all()
    edge = changed[25, 20:45]
    assert (np.diff(edge) >= 0).all()
    assert np.diff(edge).max() < 12, "it ends softly"


def test_each_pair_becomes_its_own_original_with_and_without_the_finding(tmp_path):
    rng = np.random.default_rng(0)
    originals, drawn = rng.integers(60, 190, (2, 8, 8), np.uint8), rng.integers(90, 110, (4, 8, 8), np.uint8)
    files = [str(tmp_path / f"{k}.png") for k in range(4)]
    for image, file in zip(drawn, files, strict=True):
        images.save(image, file)
    _lay_over(np.concatenate([originals, originals]), pd.Series(files), None)
    positives, negatives = np.split(np.stack([np.asarray(images.Image.open(file), int) for file in files]), 2)
    assert (negatives == originals).all()
    assert (positives - negatives == drawn[:2].astype(int) - drawn[2:]).all()


def test_images_that_start_from_noise_have_no_original_to_be_laid_over():
    with pytest.raises(UserError, match=r"synthesize\.onto: at a strength of 1 .* say drawn, or lower"):
        replace(ASKED, onto="original", strength=1.0)


@pytest.mark.parametrize(
    "change", [{"negative_prompt": "empty"}, {"sampling": replace(ASKED.sampling, guidance=1.0)}], ids=str
)
def test_without_guidance_away_from_the_pair_there_is_no_place(change):
    with pytest.raises(UserError, match=r"synthesize\.place: only guidance .* or say null"):
        replace(ASKED, place=Views(0.0, 0.0, 0.0), **change)


def test_an_image_descends_from_its_instances_its_original_and_the_radiograph_of_its_place(tables, tmp_path):
    images.save(np.zeros((8, 8), np.uint8), tmp_path / "drawn.png")
    (tmp_path / "unet.safetensors").write_bytes(b"")
    rows = plan(tables).assign(file=str(tmp_path / "drawn.png"), reader="")
    original = rows["original"]
    for asked, place, parents in (
        (replace(ASKED, place=Views(0.0, 0.0, 0.0)), "i9", "a|b|" + original + "|i9"),
        (replace(ASKED, place=Views(0.0, 0.0, 0.0)), original, "a|b|" + original),
        (ASKED, "", "a|b|" + original),
        (replace(ASKED, strength=1.0), "", "a|b"),
    ):
        told = rows.assign(place=place)
        _tell(told, asked, ["a", "b"], tmp_path)
        assert (told["parents"] == parents).all()
        assert (told["sampler"] == "ddim").all()


def test_a_pair_shares_its_place_and_the_plan_says_whose_marking_it_is(tables):
    rows = plan(tables)
    columns = ["image_id", "finding", "reader", "x_min", "y_min", "x_max", "y_max"]
    marks = [pd.DataFrame([["i1", "nodule_mass", "R1", 2, 3, 4, 6]], columns=columns)]
    task = _Task("nodule_mass", rows, marks, Path("model"), [], Checkpoint("places"))
    inside = _place(replace(ASKED, place=Views(0.0, 0.0, 0.0)), task, 0, 8)
    assert inside.shape == (6, 8, 8)
    assert (inside[:3] == inside[3:]).all()
    assert (inside[0, 3:6, 2:4] == 1).all()
    assert inside[0].sum() == 6
    assert set(zip(rows["place"], rows["reader"], strict=True)) == {("i1", "R1")}
    assert _place(ASKED, task, 0, 8) is None
    assert set(zip(rows["place"], rows["reader"], strict=True)) == {("", "")}


@pytest.fixture
def profile(base, tmp_path, monkeypatch):
    """A tiny study with two models; the working directory."""
    monkeypatch.chdir(tmp_path)
    prepared.write(Path(), base)
    for number, finding in enumerate(prepared.RARE):
        model = shutil.copytree(base, Path("models/dreambooth/3-0") / finding)
        write_lineage({"instance": ["i00", "i02"]}, model)
        taught = load_file(model / UNET)
        save_file({name: weights * (1 + number) for name, weights in taught.items()}, model / UNET)
    return tmp_path


def draw(asked=prepared.DRAWING, findings=prepared.RARE, out="drawn"):
    tables = [Path("data") / name for name in ("manifest.csv", "boxes.csv", "metadata.csv", "splits", "images.sha256")]
    models = Path("models/base"), Path("models/dreambooth/3-0")
    study = replace(prepared.STUDY, synthesized=list(findings), minority=list(findings), findings=list(findings))
    room.synthesize(study, asked, 3, 0, *tables, *models, *(Path(out) / kind for kind in ("images", "tables", "log")))


@pytest.mark.parametrize(("sampler", "compiled", "order"), [("ddim", False, 1), ("dpmsolver++", True, 2)])
def test_the_stage_draws_as_it_was_asked_to(profile, monkeypatch, sampler, compiled, order):
    asked, compilations, orders = replace(prepared.DRAWING, sampler=sampler, compiled=compiled), [], []

    def draw_all(pipeline, *_):
        orders.append(pipeline.scheduler.config.solver_order)
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "draw_all", draw_all)
    monkeypatch.setattr(torch, "compile", lambda forward, dynamic: compilations.append(dynamic))
    with pytest.raises(KeyboardInterrupt):
        draw(asked)
    assert (orders, compilations) == ([order], [False] * compiled)


def test_a_finding_s_images_are_the_same_whatever_others_are_drawn(profile):
    draw()
    for finding in prepared.RARE:
        draw(findings=[finding], out="alone")
    together, alone = contents(profile / "drawn/images"), contents(profile / "alone/images")
    assert {name.split("/")[0] for name in together} == set(prepared.RARE)
    assert together == alone
    assert not any(Path("scratch").iterdir())


def test_a_kill_costs_no_finding_that_is_drawn(profile, monkeypatch):
    batch, drawn = sample._batch, []

    def killed(*arguments):
        drawn.append(arguments)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return batch(*arguments)

    asked = replace(prepared.DRAWING, sampling=replace(prepared.DRAWING.sampling, batch=4))
    monkeypatch.setattr(sample, "_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        draw(asked)
    shutil.rmtree("drawn")  # as DVC does before it runs a stage
    draw(asked)
    assert len(drawn) == 5, "two batches a finding, and the one that was killed"
    draw(asked, out="whole")
    assert contents(profile / "drawn/images") == contents(profile / "whole/images")


@pytest.mark.usefixtures("without_a_compiler")
@pytest.mark.filterwarnings("ignore")
def test_what_was_compiled_for_a_finding_is_neither_used_nor_kept_for_the_next(profile, monkeypatch, compiled_graphs):
    asked = replace(prepared.DRAWING, compiled=True, sampling=replace(prepared.DRAWING.sampling, batch=8))
    draw(asked, prepared.RARE[1:], "alone")
    alone, alive, draw_all = compiled_graphs(), [], room.draw_all

    def watched(pipeline, *arguments):
        assert not any(one() for one in alive)
        alive.append(weakref.ref(pipeline.unet))
        draw_all(pipeline, *arguments)

    monkeypatch.setattr(room, "draw_all", watched)
    draw(asked, out="together")
    assert compiled_graphs() == 3 * alone > 0, "each anew, though of one kind"
    there = {name: file for name, file in contents(Path("together/images")).items() if prepared.RARE[1] in name}
    assert there == contents(Path("alone/images"))
    assert len(alive) == len(prepared.RARE)


def test_a_model_without_a_lineage_is_named_before_another_draws(profile, monkeypatch):
    monkeypatch.setattr(room, "draw_all", lambda *_: pytest.fail("drawn"))
    (Path("models/dreambooth/3-0") / prepared.RARE[1] / "lineage.csv").unlink()
    with pytest.raises(UserError, match=rf"{prepared.RARE[1]}/lineage\.csv: .*dvc repro -f dreambooth synthesize"):
        draw()


def test_a_finding_that_nobody_marked_is_named_before_another_is_drawn(profile, monkeypatch):
    monkeypatch.setattr(room, "draw_all", lambda *_: pytest.fail("drawn"))
    boxes = pd.read_csv("data/boxes.csv")
    write_csv(boxes[boxes["finding"] == prepared.RARE[0]], Path("data/boxes.csv"))
    with pytest.raises(UserError, match=rf"no reader marked '{prepared.RARE[1]}'"):
        draw()
