import numpy as np
import pandas as pd
import pytest

from raremix.data.images import grid, load, save
from raremix.data.instances import box_masks, choose, ordinary
from raremix.data.manifest import FIXED
from raremix.data.trial import read_trial, training_rows
from raremix.runtime.errors import UserError
from raremix.runtime.files import sha256

FINDINGS = ["cardiomegaly", "nodule_mass"]


def manifest(count=20) -> pd.DataFrame:
    rows = pd.DataFrame({name: [f"{name[0]}{index:02d}" for index in range(count)] for name in FIXED})
    rows["nodule_mass"] = (np.arange(count) < 8).astype(int)
    rows["cardiomegaly"] = (np.arange(count) % 4 == 0).astype(int)
    return rows


def votes(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[["image_id"]].assign(
        nodule_mass=[3, 1, 2, 3, 1, 1, 3, 1, *[0] * 12], cardiomegaly=3 * rows["cardiomegaly"]
    )


def boxes(**sides: float) -> pd.DataFrame:
    """A square box of ``nodule_mass`` by one reader for each image."""
    rows = [(image, "nodule_mass", "R1", 0.0, 0.0, side, side) for image, side in sides.items()]
    return pd.DataFrame(rows, columns=["image_id", "finding", "reader", "x_min", "y_min", "x_max", "y_max"])


def test_instances_are_the_clearest():
    rows = manifest()
    same = boxes(i00=3, i03=3, i06=3)
    chosen = choose(rows, votes(rows), same, "nodule_mass", 0, 3)["image_id"].tolist()
    assert set(chosen[:2]) == {"i03", "i06"}, "three readers, nothing else"
    assert chosen[2] == "i00", "three readers, and cardiomegaly"


def test_the_largest_quarter_of_what_as_many_readers_marked_comes_first():
    rows = manifest()
    sizes = boxes(i00=4, i03=1, i06=3, i02=9)
    chosen = choose(rows, votes(rows), sizes, "nodule_mass", 0, 4)["image_id"].tolist()
    assert chosen[0] == "i00", "large, though not alone"
    assert set(chosen[1:3]) == {"i03", "i06"}, "smaller, alone"
    assert chosen[3] == "i02", "what two readers marked, however large"


def test_an_image_that_two_readers_marked_is_no_larger_for_it():
    rows = manifest()
    sizes = boxes(i00=4, i03=3, i06=5)
    twice = pd.concat([sizes, sizes[sizes["image_id"] == "i03"].assign(reader="R2")])
    assert choose(rows, votes(rows), twice, "nodule_mass", 0, 1)["image_id"].tolist() == ["i06"]


def test_without_boxes_instances_are_chosen_all_the_same():
    rows = manifest()
    chosen = choose(rows, votes(rows), boxes(), "nodule_mass", 0, 3)["image_id"].tolist()
    assert set(chosen[:2]) == {"i03", "i06"}


def test_ties_are_drawn_by_trial_and_repeat():
    rows = manifest()
    draws = [tuple(choose(rows, votes(rows), boxes(), "nodule_mass", trial, 6)["image_id"]) for trial in range(6)]
    assert draws[0] == tuple(choose(rows, votes(rows), boxes(), "nodule_mass", 0, 6)["image_id"])
    assert len(set(draws)) > 1
    assert len(choose(rows, votes(rows), boxes(), "nodule_mass", 0, None)) == 8


def test_too_few_instances_is_an_error_that_counts():
    rows = manifest()
    with pytest.raises(UserError, match="9 asked for, but trial 2 trains on 8 images with nodule_mass"):
        choose(rows, votes(rows), boxes(), "nodule_mass", 2, 9)


def test_ordinary_images_carry_nothing_by_any_reader():
    rows = manifest()
    marks = votes(rows)
    marks.loc[19, "nodule_mass"] = 1
    normal = ordinary(rows, marks, 0, 5)
    assert not set(normal["image_id"]) & ({f"i{index:02d}" for index in range(8)} | {"i08", "i12", "i16", "i19"})
    with pytest.raises(UserError, match="20 asked for"):
        ordinary(rows, marks, 0, 20)


def test_box_masks_join_the_readers_boxes_of_one_finding():
    drawn = pd.DataFrame(
        [("a", "nodule_mass", "R1", 1.0, 2.0, 3.0, 4.0), ("a", "nodule_mass", "R2", 2.0, 2.0, 5.0, 4.0),
         ("a", "cardiomegaly", "R1", 0.0, 0.0, 8.0, 8.0)],
        columns=["image_id", "finding", "reader", "x_min", "y_min", "x_max", "y_max"],
    )  # fmt: skip
    masks = box_masks(drawn, pd.Series(["b", "a"]), ["nodule_mass"], 8)
    assert masks[0].sum() == 0
    assert masks[1].sum() == 8
    assert masks[1, 2:4, 1:5].all()


def test_a_trial_trains_on_its_shots_and_everything_without_a_minority_finding(tmp_path):
    rows = manifest(4)
    (tmp_path / "trial0.csv").write_text(
        "image_id,part,shot_rank\ni00,train,0\ni01,train,5\ni02,train,\ni03,held_back,\n"
    )
    trial = read_trial(tmp_path / "trial0.csv")
    assert training_rows(rows, trial, 5)["image_id"].tolist() == ["i00", "i02"]
    assert training_rows(rows, trial, 6)["image_id"].tolist() == ["i00", "i01", "i02"]
    with pytest.raises(UserError, match=r"trial9\.csv: missing"):
        read_trial(tmp_path / "trial9.csv")


def test_images_come_back_as_they_were_saved(tmp_path):
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    save(image, tmp_path / "a.png")
    file = str(tmp_path / "a.png")
    assert (load([file], {file: sha256(tmp_path / "a.png")})[0] == image).all()


def test_missing_broken_and_misshapen_images_are_named(tmp_path):
    save(np.zeros((8, 8), np.uint8), tmp_path / "a.png")
    save(np.zeros((9, 9), np.uint8), tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"not a picture")
    listed = {str(file): sha256(file) for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"d\.png: the image is listed but missing"):
        load([str(tmp_path / "d.png")], {str(tmp_path / "d.png"): "0" * 64})
    with pytest.raises(UserError, match="no image is listed"):
        load([], listed)
    with pytest.raises(UserError, match=r"c\.png: can't be decoded"):
        load([str(tmp_path / "c.png")], listed)
    with pytest.raises(UserError, match=r"b\.png: \(9, 9\) pixels"):
        load([str(tmp_path / "a.png"), str(tmp_path / "b.png")], listed)


def test_an_image_that_changed_since_it_was_listed_is_named(tmp_path):
    save(np.zeros((8, 8), np.uint8), tmp_path / "a.png")
    listed = {str(tmp_path / "a.png"): sha256(tmp_path / "a.png")}
    save(np.ones((8, 8), np.uint8), tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: not the bytes that its list of checksums has"):
        load([str(tmp_path / "a.png")], listed)
    with pytest.raises(UserError, match=r"a\.png: not in the list of checksums"):
        load([str(tmp_path / "a.png")], {})


def test_a_grid_goes_row_by_row():
    tiles = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    assert grid(tiles, 2)[::2, ::2].tolist() == [[0, 1], [2, 3]]
