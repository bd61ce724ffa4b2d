"""Tables that a stage reads: what is wrong with one is said in a line that names the file and, if known, the row."""

import pandas as pd
import pytest

from raremix.data.captions import corpus_ids, read_metadata
from raremix.data.checksums import read_checksums
from raremix.data.label_sets import read_plan
from raremix.data.lineage import read_lineage
from raremix.data.manifest import read_boxes, read_manifest, read_synthetic, read_votes
from raremix.data.records import read_inventory
from raremix.data.synthetic import read_gains, without_copies
from raremix.data.trial import read_trial
from raremix.runtime.errors import UserError

MANIFEST = "image_id,file,patient_id,visit,official_part,reader_trio,air\na,a.png,p,0,train,,0\nb,b.png,p,1,test,,1\n"
SYNTHETIC = "image_id,file,parents,model_sha256,prompt,seed,sampler,steps,guidance,sha256,air\n"
POOL = {"air": pd.DataFrame({"image_id": ["a-pos", "a-neg"]})}
READERS = {  # file -> its reader and what is in it
    "manifest.csv": (read_manifest, MANIFEST),
    "synthetic.csv": (lambda file: read_synthetic(file, ["air"]), SYNTHETIC + "a-pos,a.png,b,m,p,1,ddim,2,3,s,1\n"),
    "votes.csv": (
        lambda file: read_votes(file, pd.DataFrame({"image_id": ["a", "b"], "air": 0})),
        "image_id,air\na,3\nb,0\n",
    ),
    "boxes.csv": (read_boxes, "image_id,finding,reader,x_min,y_min,x_max,y_max\na,air,R1,0,1.5,2,-3\nb,air,,1,2,3,4\n"),
    "trial0.csv": (read_trial, "image_id,part,shot_rank\na,train,\nb,train,4\n"),
    "lineage.csv": (lambda file: read_lineage(file.parent), "image_id,role\na,instance\n"),
    "plan.csv": (
        lambda file: read_plan(file, "air"),
        "finding,label_set,share,images\nair,,0.75,3\nair,fluid,0.25,1\n",
    ),
    "corpus.csv": (corpus_ids, "image_id\na\nb\n"),
    "metadata.csv": (
        read_metadata,
        "image_id,view,sex,exposure_index,body_thickness,source_distance,devices\na,PA,F,1.5,,180,leads|tube\nb,,,2,,,\n",
    ),
    "copies.csv": (lambda file: without_copies(POOL, file), "image_id,distance\na-pos,0.5\n"),
    "gains.csv": (lambda file: read_gains(file, POOL), "image_id,gain\na-pos,0.5\n"),
    "images.sha256": (read_checksums, f"{'0' * 64}  a.png\n"),
    "inventory.csv": (read_inventory, f"path,size,sha256\na.png,3,{'0' * 64}\n"),
}
TABLES = [name for name in READERS if name.endswith(".csv")]


@pytest.fixture
def read(tmp_path):
    """``read(name, content)`` with that file's reader."""

    def _read(name, content=None):
        reader, good = READERS[name]
        content = good if content is None else content
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return reader(tmp_path / name)

    return _read


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read_and_what_is_missing_is_named(read, tmp_path, name):
    assert len(read(name)) > 0
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: .*missing; .*`dvc repro"):
        READERS[name][0](tmp_path / name)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_was_cut_off_is_named(read, name):
    whole = READERS[name][1]
    for end in range(whole.index("\n") + 2, len(whole)):
        if whole[end - 1] != "\n":
            with pytest.raises(UserError, match=rf"{name}: ends within row \d+; .*`dvc repro"):
                read(name, whole[:end])


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "No columns"),
        (b"\x89PNG\r\n\x1a\n\0\0\xff\xd8", "utf-8"),
        (b"a,b\n1,2,3\n", "more cells than its header"),
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3"),
        (b'a,b\n"1,2\n', "EOF inside string"),
    ],
)
def test_what_is_no_table_is_named_in_one_line(read, name, content, why):
    with pytest.raises(UserError, match=rf"{name}: not a table \(.*{why}.*\); .*`dvc repro") as error:
        read(name, content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", TABLES)
def test_a_column_that_lacks_is_named(read, name):
    with pytest.raises(UserError, match=rf"{name}: no column '\w+'; .*`dvc repro"):
        read(name, "other\n1\n")


def test_a_list_of_checksums_that_is_no_text_is_named(read):
    with pytest.raises(UserError, match=r"images.sha256: no text; run `dvc repro`"):
        read("images.sha256", b"\xff\xfe\0")


@pytest.mark.parametrize(
    ("name", "right", "wrong", "message"),
    [
        ("manifest.csv", "p,1,", f"p,{'9' * 30},", r"row 3, column 'visit': '9{30}' is no whole number"),
        ("votes.csv", "b,0", f"b,{'1' * 19}", r"row 3, column 'air': '1{19}' is no whole number"),
        ("votes.csv", "b,0", "b,-1", r"row 3, column 'air': '-1' is no whole number"),
        ("votes.csv", "b,0", "a,0", r"row 3: image id 'a' is empty or there twice"),
        ("boxes.csv", "1.5", "nan", r"row 2, column 'y_min': 'nan' is no number"),
        ("boxes.csv", "1.5", "top", r"row 2, column 'y_min': 'top' is no number"),
        ("trial0.csv", ",4", ",four", r"row 3, column 'shot_rank': 'four' is no whole number"),
        ("trial0.csv", "b,", "a,", r"row 3: image id 'a' is empty or there twice"),
        ("plan.csv", "0.25", "nan", r"row 3, column 'share': 'nan' is no number"),
        ("plan.csv", "0.25", "inf", r"row 3, column 'share': 'inf' is no number"),
        ("plan.csv", ",3\n", ",3.5\n", r"row 2, column 'images': '3.5' is no whole number"),
        ("metadata.csv", "180", "-inf", r"row 2, column 'source_distance': '-inf' is no number"),
        ("metadata.csv", "180", "far", r"row 2, column 'source_distance': 'far' is no number"),
        ("metadata.csv", "b,", "a,", r"row 3: image id 'a' is empty or there twice"),
        ("inventory.csv", "0" * 64, "0" * 63, r"row 2: '0{63}' is no SHA-256"),
    ],
)
def test_a_cell_that_makes_no_sense_is_named(read, name, right, wrong, message):
    good = READERS[name][1]
    assert good.count(right) == 1
    with pytest.raises(UserError, match=f"{name}, {message}"):
        read(name, good.replace(right, wrong))


def test_an_image_may_be_called_as_pandas_calls_what_is_missing(read):
    assert read("corpus.csv", "image_id\nNA\nnull\n") == ["NA", "null"]
    assert read("lineage.csv", "image_id,role\nNA,instance\n")["image_id"].tolist() == ["NA"]
    assert read("trial0.csv", "image_id,part,shot_rank\nNA,train,\n")["image_id"].tolist() == ["NA"]
