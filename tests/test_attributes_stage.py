"""The attributes stage: the kept list as a table, held against what params say of it."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from raremix.data import captions
from raremix.data.findings import DEVICES
from raremix.data.phantom.attributes import ATTRIBUTES
from raremix.diagnosis.attributes import of_headers
from raremix.diagnosis.discovered import TOLD, read
from raremix.diagnosis.discovery import prompt
from raremix.runtime.errors import UserError
from stages.attributes import COLUMNS, Attributes, attributes, table
from stages.cli import read_params, read_section
from stages.sections import Study

ROOT = Path(__file__).parents[1]
PARAMS = read_params(ROOT / "params.yaml")
STUDY = read_section(PARAMS, "study", Study, Path("params.yaml"))
SHIPPED = read_section(PARAMS, "attributes", Attributes, Path("params.yaml"))


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", ["chest_xray", "nih"])
def test_a_shipped_list_answers_the_question_that_the_code_asks(name):
    held = read(Path("data/attributes") / f"{name}.json", STUDY.findings)
    assert held.prompt == prompt(held.domain, held.task, held.count)
    assert len(held.attributes) == held.count
    assert "not through an endpoint" in held.source


def test_the_table_lists_what_was_discovered_and_then_nonsense(tmp_path):
    attributes(SHIPPED, STUDY, "phantom", tmp_path)
    rows = pd.read_csv(tmp_path / "attributes.csv", keep_default_na=False)
    assert list(rows.columns) == COLUMNS
    assert list(rows["kind"]) == ["discovered"] * 20 + ["nonsense"] * len(SHIPPED.nonsense)
    assert rows["attribute"].is_unique
    assert rows["phrase"].is_unique
    found = rows.set_index("attribute")
    assert list(found.loc["slim_body"]) == ["slim body", "discovered", "-thickness"]
    assert list(found.loc["motion_blur"]) == ["motion blur", "discovered", ""]
    assert list(found.loc["purple_lamp"]) == ["purple lamp", "nonsense", ""]


def test_the_shipped_phrases_are_captions_own_words_and_others():
    words = {*DEVICES, *captions.SEXES.values(), *captions.VIEWS.values()}
    words |= {word for third in captions.LEVELS.values() for word in third}
    phrases = set(table(SHIPPED, STUDY, "phantom")["phrase"])
    assert len(phrases & words) == 11
    assert len(phrases - words) == 9 + len(SHIPPED.nonsense)


def test_what_headers_tell_is_what_of_headers_finds():
    names = ["sex", "view", "exposure_index", "body_thickness", "source_distance", "devices"]
    assert set(of_headers(pd.DataFrame(columns=names)).columns) == set(TOLD)
    assert set(TOLD) <= set(ATTRIBUTES)


@pytest.mark.parametrize(
    ("changes", "layout", "line"),
    [
        ({"domain": "chests"}, "phantom", r"attributes\.domain: data/\S+ answers for 'chest radiographs.*ask again"),
        ({"task": "tell cats"}, "phantom", r"attributes\.task: .* python -m stages\.discover params\.yaml"),
        ({"count": 19}, "phantom", r"attributes\.count: data/\S+ answers for '20'"),
        ({"cache": "data/none.json"}, "phantom", r"data/none\.json: there is no list of attributes; ask again"),
        ({"reads": {"halo": "ap"}}, "phantom", r"attributes\.reads: data/\S+ has no 'halo'; it has ap_view, "),
        ({"reads": {"male": "sex"}}, "phantom", r"attributes\.reads\.male: 'sex' can not be measured; .*male, age"),
        ({"reads": {"male": "--male"}}, "phantom", r"attributes\.reads\.male: '--male' can not be measured"),
        ({"reads": {"osteopenia": "-bone_density"}}, "table", r"'-bone_density' can not be measured; choose among m"),
        ({"nonsense": ["Wide  lamp"]}, "phantom", r"'wide lamp' shares the word 'wide' with 'wide_body' of data/"),
        ({"nonsense": ["a lamp", "A Lamp"]}, "phantom", r"attributes\.nonsense: 'a lamp' is there twice"),
        ({"nonsense": ["a <lamp>"]}, "phantom", r"attributes\.nonsense: 'a <lamp>' is no phrase"),
        ({"nonsense": ["no cardiomegaly"]}, "phantom", r"'no cardiomegaly' names the finding 'cardiomegaly'"),
        ({"nonsense": []}, "phantom", r"attributes\.nonsense: is empty"),
        ({"domain": " "}, "phantom", r"attributes\.domain: is empty"),
        ({"count": 1}, "phantom", r"attributes\.count: ask for 2 or more"),
    ],
)
def test_params_that_do_not_go_with_the_list_are_named(changes, layout, line):
    with pytest.raises(UserError, match=line):
        table(replace(SHIPPED, **changes), STUDY, layout)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"count": "20"}, "count: Input should be a valid integer"),
        ({"date": "yesterday"}, "date: Input should be a valid date"),
        ({"price": 1}, "price: Extra inputs are not permitted"),
        ({"count": 3}, "holds 20 attributes; it must be 2 to 3"),
    ],
)
def test_a_list_that_was_mended_badly_is_named(tmp_path, change, line):
    file = tmp_path / "list.json"
    file.write_text(json.dumps({**json.loads(Path(SHIPPED.cache).read_text()), **change}))
    with pytest.raises(UserError, match=rf"list\.json: {line}"):
        read(file, STUDY.findings)
