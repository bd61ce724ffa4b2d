"""The disk fills up within a stage: one line says so, and what was done by then is not done again.

Linux's /dev/full stands in for the file that there is no room for: it can be opened, but takes no byte.
"""

import shutil
from pathlib import Path

import prepared
import pytest
import yaml
from through_dvc import contents
from vindr_tree import write_tree

from raremix.data import images
from raremix.data.lineage import write_lineage
from raremix.generator import sample
from stages import synthesize as room
from stages.cli import run
from stages.ingest import ingest
from stages.synthesize import synthesize

CONVERT = "params.yaml --inventory raw/inventory.csv --images data/images --tables data --metrics metrics"
SECTIONS = {
    "data": {"root": "raw", "layout": "phantom"},
    "ingest": {"size": 24, "rule": "any", "window": "header", "max_bad": 0.0, "columns": {}, "findings": {}},
}

TABLES = "--manifest data/manifest.csv --boxes data/boxes.csv --metadata data/metadata.csv --splits data/splits"
INPUTS = f"{TABLES} --checksums data/images.sha256 --pipeline models/base --models models/dreambooth/3-0"
STUDY = '--study.synthesized=["nodule_mass"]'
DRAW = f"params.yaml {STUDY} --shots 3 --trial 0 {INPUTS} --drawn drawn --out tables --log log"
DRAWN = "nodule_mass-3-0-00003-pos.png"  # the second of the second batch
BATCHES = 4


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """A tree of six images that ingest has converted; the bytes of all that it wrote."""
    monkeypatch.chdir(tmp_path)
    write_tree(Path("raw"))
    Path("params.yaml").write_text(yaml.safe_dump(SECTIONS))
    run(ingest, CONVERT.split())
    return written("data", "metrics")


@pytest.fixture
def synthesized(base, tmp_path, monkeypatch):
    """A tiny study with a model that has drawn; the bytes of all that was written, which is removed, as DVC does."""
    monkeypatch.chdir(tmp_path)
    prepared.write(Path(), base)
    model = Path("models/dreambooth/3-0/nodule_mass")
    shutil.copytree(base, model)
    write_lineage({"instance": ["i00", "i02"]}, model)
    run(synthesize, DRAW.split())
    whole = written("drawn", "tables", "log")
    for folder in whole:
        shutil.rmtree(folder)
    return whole


@pytest.fixture
def batches(monkeypatch):
    """The batches that are drawn."""
    batch, drawn = sample._batch, []
    monkeypatch.setattr(sample, "_batch", lambda *order: drawn.append(order) or batch(*order))
    return drawn


def written(*folders):
    return {folder: contents(Path(folder)) for folder in folders}


def no_room_for(file):
    """Let nothing be written to ``file``, until somebody removes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.symlink_to("/dev/full")


def full_at(name, write):
    """``write(what, where)``, which has no room for the file of that ``name``, and leaves there what was."""

    def fills_up(what, where):
        if where.name != name:
            return write(what, where)
        before = where.is_file() and where.read_bytes()
        no_room_for(where.with_name(f".{name}.part"))
        try:
            return write(what, where)
        finally:
            assert (where.is_file() and where.read_bytes()) == before, "half a file under its final name"

    return fills_up


def told(stage, arguments, capsys):
    """The one line in which ``stage`` says that the disk is full."""
    with pytest.raises(SystemExit, match="2"):
        run(stage, arguments.split())
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line and "%|" not in line]  # nor a bar
    assert line.startswith(f"stages.{stage.__name__}: No space left on device: ")
    assert line.endswith("; free space or mend the path, then run it again")
    return line


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("d.png", "data/.images.part/d.png"),
        ("data/.images.notes/.d.json.part", "data/.images.notes/d.json"),
        ("data/.quarantine.csv.part", "data/quarantine.csv"),
    ],
    ids=["picture", "note", "quarantine"],
)
def test_what_was_converted_before_the_disk_was_full_is_kept(converted, monkeypatch, capsys, file, named):
    with monkeypatch.context() as full:
        full.setattr(images, "save", full_at(file, images.save))
        if file != "d.png":
            no_room_for(Path(file))
        assert f": {named};" in told(ingest, CONVERT, capsys)
    assert contents(Path("data")).items() >= converted["data"].items(), "what the last run made stays"
    notes = {note.stem for note in Path("data/.images.notes").glob("*.json")}
    assert notes >= set("abc")
    kept = {f"{name}.png": Path(f"data/.images.part/{name}.png").stat().st_mtime_ns for name in notes}
    run(ingest, CONVERT.split())
    assert written("data", "metrics") == converted
    assert {name: Path("data/images", name).stat().st_mtime_ns for name in kept} == kept


@pytest.mark.parametrize("file", ["data/manifest.csv", "data/images.sha256", "metrics/summary.json"])
def test_what_was_converted_before_a_table_had_no_room_is_not_done_again(converted, capsys, file):
    no_room_for(Path(file).with_name(f".{Path(file).name}.part"))
    assert f": {file};" in told(ingest, CONVERT, capsys)
    before = {path.name: path.stat().st_mtime_ns for path in Path("data/.images.part").iterdir()}
    for folder in ("data/images", "metrics"):
        shutil.rmtree(folder)  # as DVC does before it runs the stage again
    run(ingest, CONVERT.split())
    assert written("data", "metrics") == converted
    assert {path.name: path.stat().st_mtime_ns for path in Path("data/images").iterdir()} == before


@pytest.mark.parametrize(
    ("module", "write", "file", "named"),
    [
        (sample, "save", DRAWN, f"/images/{DRAWN}"),
        (room, "copy", DRAWN, f": drawn/nodule_mass/{DRAWN}"),
        (images, "save", DRAWN, f": drawn/nodule_mass/{DRAWN}"),
        (images, "save", "real_positive_negative.png", ": log/nodule_mass/real_positive_negative.png"),
        (room, "copy", "lineage.csv", ": tables/nodule_mass/lineage.csv"),
    ],
    ids=["drawing", "copying", "laying over", "picturing", "lineage"],
)
def test_what_was_drawn_before_the_disk_was_full_is_not_drawn_again(
    synthesized, batches, monkeypatch, capsys, module, write, file, named
):
    with monkeypatch.context() as full:
        full.setattr(module, write, full_at(file, getattr(module, write)))
        assert f"{named};" in told(synthesize, DRAW, capsys)
    done = 1 if module is sample else BATCHES
    batches.clear()
    run(synthesize, DRAW.split())
    assert len(batches) == BATCHES - done
    assert written("drawn", "tables", "log") == synthesized
    assert not any(Path("scratch").iterdir())


@pytest.mark.parametrize("file", ["tables/nodule_mass/recipe.csv", "tables/nodule_mass/manifest.csv"])
def test_the_table_that_synthesis_has_no_room_for_is_named(synthesized, batches, capsys, file):
    no_room_for(Path(file).with_name(f".{Path(file).name}.part"))
    assert f": {file};" in told(synthesize, DRAW, capsys)
    assert len(batches) == BATCHES
    run(synthesize, DRAW.split())
    assert len(batches) == BATCHES
    assert written("drawn", "tables", "log") == synthesized
