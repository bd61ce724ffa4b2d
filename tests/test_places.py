"""Where a finding is drawn: one reader's boxes of one image that trains, moved a little, the same for any number."""

import numpy as np
import pandas as pd
import pytest

from raremix.data.places import marked as marked_by_readers
from raremix.data.places import places
from raremix.data.views import Views
from raremix.runtime.errors import UserError

STILL, MOVED = Views(0.0, 0.0, 0.0), Views(6.0, 0.1, 0.1)
SIZE = 32
TRAINING = pd.DataFrame({"image_id": ["a", "b", "c"], "ild": [1, 1, 0]})
COLUMNS = ["image_id", "finding", "reader", "x_min", "y_min", "x_max", "y_max"]
BOXES = pd.DataFrame(
    [
        ["a", "ild", "R1", 2, 4, 8, 10],
        ["a", "ild", "R1", 20, 20, 24, 22],
        ["a", "ild", "R2", 3, 4, 8, 10],
        ["b", "ild", "R1", 10.5, 12, 15, 13.2],
        ["b", "calcification", "R1", 0, 0, 32, 32],
        ["c", "ild", "R1", 0, 0, 32, 32],
        ["test", "ild", "R1", 0, 0, 32, 32],
    ],
    columns=COLUMNS,
)
AREAS = {"a R1": 36 + 8, "a R2": 30, "b R1": 10}  # whole pixels: 10..15 by 12..14


def placed(count, views=STILL, boxes=BOXES, trial=0):
    return places(marked_by_readers(TRAINING, boxes, "ild", trial), "ild", trial, count, SIZE, views)


def marked(found):
    return [f"{image} {reader}" for image, reader in zip(found.images, found.readers, strict=True)]


def test_a_place_is_all_that_one_reader_marked_in_one_image_that_trains():
    found = placed(60)
    assert found.inside.shape == (60, SIZE, SIZE)
    assert set(np.unique(found.inside)) == {0.0, 1.0}
    assert set(marked(found)) == set(AREAS)
    assert [mask.sum() for mask in found.inside] == [AREAS[name] for name in marked(found)]
    mask = found.inside[marked(found).index("a R1")]
    assert (mask[4:10, 2:8] == 1).all()
    assert (mask[20:22, 20:24] == 1).all()


def test_the_first_places_are_the_same_for_any_number_and_others_in_another_trial():
    few, many = placed(5, MOVED), placed(20, MOVED)
    assert marked(many)[:5] == marked(few)
    assert (many.inside[:5] == few.inside).all()
    assert marked(placed(20, MOVED, trial=1)) != marked(many)


def test_places_are_moved():
    found, still = placed(20, MOVED), placed(20)
    assert marked(found) == marked(still)
    assert (found.inside != still.inside).any((1, 2)).mean() > 0.8
    centres = [np.argwhere(inside).mean(0) for inside in (found.inside[0], still.inside[0])]
    assert np.abs(centres[0] - centres[1]).max() < 0.25 * SIZE


def test_what_would_be_moved_out_of_the_picture_stays_where_it_was():
    corner = BOXES[:1].assign(x_min=0, y_min=0, x_max=1, y_max=1)
    found = placed(40, Views(0.0, 0.2, 0.0), corner)
    assert (found.inside.sum((1, 2)) >= 1).all()
    assert (found.inside[:, 0, 0] == 1).sum() > 10, "most are moved beyond the corner, and stay"


def test_a_reader_need_not_be_known():
    found = placed(5, boxes=BOXES[3:4].assign(reader=""))
    assert (found.images, found.readers) == (["b"] * 5, [""] * 5)


def test_a_finding_that_no_reader_boxed_is_one_clear_line():
    with pytest.raises(UserError, match=r"data/boxes\.csv: no reader marked 'ild' .* trial 3 .*synthesize\.place"):
        placed(1, boxes=BOXES[4:], trial=3)
