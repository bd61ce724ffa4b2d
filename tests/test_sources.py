"""What code a stage is made of: which files, and what in them counts."""

import shutil

import pytest
from through_dvc import ROOT

from raremix.data.checksums import read_checksums
from raremix.runtime import sources as room
from raremix.runtime.sources import digest, entry_points, sources
from stages.cli import run
from stages.code import code

SAID = '"""What it is."""\n\n\ndef twice(x: int) -> int:\n    """Two of it."""\n    return 2 * x\n'


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A copy of the packages, which the stage takes for its repository."""
    for package in ("raremix", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setattr(room, "repository", lambda: tmp_path)
    monkeypatch.setattr("stages.code.repository", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lists(repository):
    run(code, "params.yaml --out results/code".split())
    return {file.stem: file.read_text() for file in (repository / "results/code").iterdir()}


@pytest.mark.parametrize(
    "same",
    [
        SAID.replace("What it is.", "Quite something."),
        SAID.replace("Two of it.", "Both."),
        SAID.replace("2 * x", "(2 *\n        x)  # doubled"),
        SAID.replace('    """Two of it."""\n', ""),
    ],
    ids=["docstring", "function's docstring", "layout and comment", "no docstring"],
)
def test_what_changes_no_meaning_changes_no_digest(tmp_path, same):
    file = tmp_path / "a.py"
    file.write_text(SAID)
    before = digest(file)
    file.write_text(same)
    assert digest(file) == before


@pytest.mark.parametrize(
    "other", [SAID.replace("2 *", "3 *"), SAID.replace("x: int)", "x: int = 1)"), SAID + '\nSAID = """Two of it."""\n']
)
def test_what_changes_the_meaning_changes_the_digest(tmp_path, other):
    file = tmp_path / "a.py"
    file.write_text(SAID)
    before = digest(file)
    file.write_text(other)
    assert digest(file) != before


def test_of_templates_every_byte_counts(tmp_path):
    file = tmp_path / "page.html"
    file.write_text("<p>")
    before = digest(file)
    file.write_text("<p> ")
    assert digest(file) != before


def test_each_stage_has_a_list_of_files_that_are_there(repository):
    made = lists(repository)
    assert sorted(made) == entry_points(ROOT)
    for stage in made:
        listed = read_checksums(repository / f"results/code/{stage}.txt")
        assert list(listed) == sources(ROOT, f"stages.{stage}")
        assert {f"stages/{stage}.py", "stages/__init__.py"} <= listed.keys()
        assert all(digest(ROOT / file) == listed[file] for file in listed)


def test_a_change_reaches_the_lists_of_those_that_import_it_and_no_other(repository):
    before = lists(repository)
    file = repository / "raremix/generator/effect.py"
    file.write_text("# told anew\n" + file.read_text())
    assert lists(repository) == before
    file.write_text(file.read_text() + "\nMORE = 1\n")
    after = lists(repository)
    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == {stage for stage in before if "raremix/generator/effect.py" in before[stage]}
    assert "synthesize" in changed
    assert "classify" not in changed
