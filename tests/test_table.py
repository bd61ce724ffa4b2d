import numpy as np
import pandas as pd
import pytest
from PIL import Image
from vindr_tree import write_inventory

from raremix.data.manifest import read_manifest
from raremix.runtime.errors import UserError
from stages.ingest import Ingest, ingest
from stages.sections import Data

COLUMNS = {"image_id": "id", "file": "path", "patient_id": "who", "visit": "follow_up", "view": "view", "sex": "sex"}
FINDINGS = {"nodule_mass": ["Nodule", "Mass"], "infiltration": ["Infiltration", "Infiltrate"]}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    for i in range(3):
        grey = (np.arange(1200).reshape(40, 30) % 200 + i).astype(np.uint8)
        Image.fromarray(grey).save(root / "images" / f"{i}.png")
    frame = pd.DataFrame(
        {
            "id": ["x0", "x1", "x2"], "path": [f"images/{i}.png" for i in range(3)], "who": [7, 7, 8],
            "follow_up": [0, 4, 0], "view": "PA", "sex": ["F", "F", "M"], "Nodule": [0, 1, 0], "Mass": [1, 1, 0],
            "Infiltration": [0, 0, 1],
        }
    )  # fmt: skip
    frame.to_csv(root / "manifest.csv", index=False)
    boxes = [("x2", "Infiltrate", 3, 4, 10, 20), ("x1", "Mass", 0, 0, 30, 40), ("x0", "Hernia", 1, 1, 2, 2)]
    pd.DataFrame(boxes, columns=["image_id", "finding", "x", "y", "w", "h"]).to_csv(root / "boxes.csv", index=False)
    return root


def run(root, columns=COLUMNS, findings=FINDINGS, max_bad=0.0):
    out = root.parent / "out"
    write_inventory(root, out / "raw" / "inventory.csv")
    section = Ingest(size=40, rule="majority", window="header", max_bad=max_bad, columns=columns, findings=findings)
    ingest(Data(str(root), "table"), section, out / "raw" / "inventory.csv", out / "images", out, out / "metrics")
    return read_manifest(out / "manifest.csv").set_index("image_id")


def edit(root, name, **values):
    pd.read_csv(root / name, dtype=str).assign(**values).to_csv(root / name, index=False)


def test_sources_are_joined_by_or(table):
    frame = run(table)
    assert frame["nodule_mass"].tolist() == [1, 1, 0]
    assert frame["infiltration"].tolist() == [0, 0, 1]
    assert frame["patient_id"].tolist() == ["7", "7", "8"]
    assert frame["visit"].tolist() == [0, 4, 0]
    assert set(frame["official_part"] + frame["reader_trio"]) == {""}


def as_parquet(root, **types):
    for name in ("manifest", "boxes"):
        frame = pd.read_csv(root / f"{name}.csv")
        frame.astype({column: kind for column, kind in types.items() if column in frame}).to_parquet(
            root / f"{name}.parquet", index=False
        )
        (root / f"{name}.csv").unlink()


@pytest.mark.parametrize("kind", ["int64", "Int8", "float64", "bool", "str", "category"])
def test_tables_may_be_parquet(table, kind):
    expected = run(table)
    boxes = (table.parent / "out" / "boxes.csv").read_bytes()
    as_parquet(table, Nodule=kind, Mass=kind, Infiltration=kind)
    pd.testing.assert_frame_equal(run(table), expected)
    assert (table.parent / "out" / "boxes.csv").read_bytes() == boxes


def test_paths_may_be_spelled_as_windows_does(table):
    expected = run(table)
    frame = pd.read_csv(table / "manifest.csv")
    frame["path"] = [".\\" + path.replace("/", "\\") for path in frame["path"]]
    frame.to_csv(table / "manifest.csv", index=False)
    write_inventory(table)
    pd.testing.assert_frame_equal(run(table), expected)


def test_what_a_parquet_lacks_is_empty(table):
    as_parquet(table)
    frame = pd.read_parquet(table / "manifest.parquet")
    frame.assign(who=pd.array([7, None, 8], "Int64"), sex=[None, "F", "M"]).to_parquet(table / "manifest.parquet")
    assert run(table)["patient_id"].tolist() == ["7", "x1", "8"]


def test_a_table_is_there_once(table):
    pd.read_csv(table / "boxes.csv").to_parquet(table / "boxes.parquet")
    with pytest.raises(UserError, match=r"holds both boxes.csv and boxes.parquet; keep one"):
        run(table)


def test_a_broken_parquet_is_named(table):
    as_parquet(table)
    content = (table / "manifest.parquet").read_bytes()
    (table / "manifest.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"manifest.parquet: not a table"):
        run(table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Mass": [0, 2, 1]}, r"manifest.parquet, row 3, column 'Mass': '2' is neither 0 nor 1"),
        ({"Mass": pd.array([0, 1, None], "Int64")}, r"manifest.parquet, row 4, column 'Mass': '' is neither"),
        ({"path": [None, "images/1.png", "images/2.png"]}, r"manifest.parquet, row 2: '' is no image file"),
    ],
)
def test_rows_of_a_parquet_that_are_wrong_are_named(table, values, message):
    as_parquet(table)
    frame = pd.read_parquet(table / "manifest.parquet")
    frame.assign(**values).to_parquet(table / "manifest.parquet")
    with pytest.raises(UserError, match=message):
        run(table)


def test_boxes_of_mapped_findings_are_scaled(table):
    run(table)
    boxes = pd.read_csv(table.parent / "out" / "boxes.csv", keep_default_na=False)
    assert boxes.to_numpy().tolist() == [
        ["x1", "nodule_mass", "", 5.0, 0.0, 35.0, 40.0],
        ["x2", "infiltration", "", 8.0, 4.0, 18.0, 24.0],
    ]


def test_view_and_sex_are_metadata(table):
    run(table)
    metadata = pd.read_csv(table.parent / "out" / "metadata.csv", keep_default_na=False)
    assert metadata[["view", "sex"]].to_numpy().tolist() == [["PA", "F"], ["PA", "F"], ["PA", "M"]]


def test_without_patient_column_everyone_is_himself(table):
    frame = run(table, columns={"image_id": "id", "file": "path"})
    assert frame["patient_id"].tolist() == ["x0", "x1", "x2"]


def test_a_listed_image_that_is_missing_is_set_aside(table):
    (table / "images" / "1.png").unlink()
    assert list(run(table, max_bad=0.5).index) == ["x0", "x2"]
    with pytest.raises(UserError, match=r"images/1.png: listed in manifest.csv, but missing"):
        run(table)


def test_an_image_outside_of_the_data_is_not_read(table):
    (table / "images" / "1.png").rename(table.parent / "secret.png")
    edit(table, "manifest.csv", path=["images/0.png", "../secret.png", "images/2.png"])
    with pytest.raises(UserError, match=r"manifest.csv, row 3: '../secret.png' leads out of data.root; give its path"):
        run(table, max_bad=1.0)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\xff", b"id,path\nx0,images/0.png,7\n", b'id,path\n"x0,images/0.png'], ids=repr
)
@pytest.mark.parametrize("name", ["manifest.csv", "boxes.csv"])
def test_a_broken_csv_is_named(table, name, content):
    (table / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: not a table \(.*\); mend it and run `dvc repro -f acquire`"):
        run(table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": {"image_id": "id"}}, r"ingest.columns: 'file' is missing"),
        ({"columns": COLUMNS | {"age": "age"}}, r"ingest.columns: unknown 'age'"),
        (
            {"columns": COLUMNS | {"sex": "gender"}},
            r"no column 'gender', which params.yaml, ingest.columns.sex names; its columns are id, .*, Mass, \.\.\.$",
        ),
        ({"findings": {"hernia": ["Hernai"]}}, r"no column 'Hernai', which params.yaml, ingest.findings.hernia"),
        ({"findings": {"visit": ["Mass"]}}, r"ingest.findings: 'visit' can't name a finding; use lower-case letters"),
        ({"findings": {"Mass!": ["Mass"]}}, r"ingest.findings: 'Mass!' can't name a finding"),
        ({"findings": {"hernia": ["Hernia"]}}, r"ingest.findings.hernia: no column"),
        ({"findings": {}}, r"ingest.findings: empty"),
    ],
)
def test_params_that_do_not_fit_the_table_are_named(table, arguments, message):
    with pytest.raises(UserError, match=message):
        run(table, **arguments)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("manifest.csv", {"id": ["x0", "x1", "x1"]}, r"manifest.csv, row 4: image id 'x1' is there twice"),
        ("manifest.csv", {"id": ["x0", "../x", "x2"]}, r"manifest.csv, row 3: image id '../x'"),
        ("manifest.csv", {"Mass": ["1", "1", "?"]}, r"manifest.csv, row 4, column 'Mass': '\?'"),
        ("manifest.csv", {"path": ["images/0.png", "notes.txt", "images/2.png"]}, r"row 3: 'notes.txt' is no image"),
        (
            "manifest.csv",
            {"path": ["../secret.png", "images/1.png", "images/2.png"]},
            r"row 2: '../secret.png' leads out",
        ),
        (
            "manifest.csv",
            {"path": ["/x/secret.png", "images/1.png", "images/2.png"]},
            r"row 2: '/x/secret.png' leads out",
        ),
        ("manifest.csv", {"follow_up": ["0", "one", "0"]}, r"row 3, column 'follow_up': 'one'"),
        ("manifest.csv", {"follow_up": ["0", "9" * 30, "0"]}, r"row 3, column 'follow_up': '9{30}' is no whole number"),
        ("manifest.csv", {"view": ["", "front", "LL"]}, r"row 3, column 'view': 'front' is none of PA, AP, nor is any"),
        (
            "manifest.csv",
            {"sex": ["1", "2", "1"]},
            r"row 2, column 'sex': '1' is none of M, F, MALE, FEMALE, nor is any",
        ),
        ("boxes.csv", {"image_id": ["x2", "who", "x0"]}, r"boxes.csv, row 3: unknown image 'who'"),
        ("boxes.csv", {"w": ["wide", "1", "1"]}, r"boxes.csv, row 2: x, y, w or h"),
        ("boxes.csv", {"w": ["1", "nan", "1"]}, r"boxes.csv, row 3: x, y, w or h is no number"),
        ("boxes.csv", {"y": ["1", "-inf", "1"]}, r"boxes.csv, row 3: x, y, w or h is no number"),
        ("boxes.csv", {"x": ["1", "1e308", "1"], "w": ["1", "1e308", "1"]}, r"boxes.csv, row 3: x, y, w or h is no"),
    ],
)
def test_rows_that_are_wrong_are_named(table, name, values, message):
    edit(table, name, **values)
    with pytest.raises(UserError, match=message):
        run(table)


def test_views_and_sexes_may_be_spelled_otherwise(table, capsys):
    edit(table, "manifest.csv", view=["pa", "Ap ", "LATERAL"], sex=["female", "Male", "f"])
    run(table)
    known = pd.read_csv(table.parent / "out" / "metadata.csv", dtype=str, keep_default_na=False)
    assert known["view"].tolist() == ["PA", "AP", ""]
    assert known["sex"].tolist() == ["F", "M", "F"]
    said = "column 'view': 1 values are none of PA, AP, as 'LATERAL'; they count as not known"
    assert said in capsys.readouterr().out


def test_images_without_a_row_are_left_out_and_counted(table, capsys):
    edit(table, "boxes.csv", image_id="x0")
    pd.read_csv(table / "manifest.csv", dtype=str).head(1).to_csv(table / "manifest.csv", index=False)
    assert list(run(table).index) == ["x0"]
    said = "2 images have no row in manifest.csv and are left out, images/1.png among them"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_parted_by_other_marks_is_told_so(table, mark):
    pd.read_csv(table / "manifest.csv").to_csv(table / "manifest.csv", index=False, sep=mark)
    with pytest.raises(
        UserError, match=r"manifest.csv: no column 'id', .*; its columns are parted by '.*'; save it with"
    ):
        run(table)


@pytest.mark.parametrize("before", ["", "\n"])
def test_two_columns_of_one_name_are_refused(table, before):
    text = (table / "manifest.csv").read_text()
    (table / "manifest.csv").write_text(before + text.replace("Mass", "Nodule"))
    with pytest.raises(UserError, match=r"manifest.csv: two columns are called 'Nodule'; rename one and run"):
        run(table)


def test_a_table_with_an_old_mac_s_line_ends_is_read(table):
    text = (table / "manifest.csv").read_text()
    (table / "manifest.csv").write_text(text.replace("\n", "\r"))
    assert list(run(table).index) == ["x0", "x1", "x2"]


def test_a_parquet_with_an_index_and_a_visit_that_lacks_is_read(table):
    frame = pd.read_csv(table / "manifest.csv").set_index("id", drop=False)
    (table / "manifest.csv").unlink()
    frame.to_parquet(table / "manifest.parquet")
    assert list(run(table).index) == ["x0", "x1", "x2"]
    frame = frame.drop(columns="id")
    frame["follow_up"] = frame["follow_up"].astype(float)
    frame.to_parquet(table / "manifest.parquet")
    assert run(table)["visit"].tolist() == [0, 4, 0]
    frame.loc["x2", "follow_up"] = None
    frame.to_parquet(table / "manifest.parquet")
    with pytest.raises(UserError, match=r"manifest.parquet, row 4, column 'follow_up': '' is no whole number"):
        run(table)
