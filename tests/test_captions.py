import numpy as np
import pandas as pd
import pytest

from raremix.data import captions
from raremix.generator.tokens import token_ids, tokenizer
from raremix.runtime.errors import UserError


def metadata(count: int = 30) -> pd.DataFrame:
    values = np.arange(count, dtype=float)
    return pd.DataFrame(
        {
            "image_id": [f"i{index:02d}" for index in range(count)],
            "view": "PA",
            "sex": "F",
            "exposure_index": values,
            "body_thickness": values,
            "source_distance": np.nan,
            "devices": ["pacemaker|leads", *[""] * (count - 1)],
        }
    )


@pytest.fixture
def tables(tmp_path):
    frame = metadata()
    frame.to_csv(tmp_path / "metadata.csv", index=False)
    frame[["image_id"]][:15].to_csv(tmp_path / "corpus.csv", index=False)
    return tmp_path


def test_a_caption_tells_what_is_known_and_nothing_else(tables):
    described = captions.describe(tables / "metadata.csv", tables / "corpus.csv")
    assert described["i00"] == "chest x-ray pa view female low exposure slim body pacemaker leads"
    assert "source" not in described["i00"]


def test_the_thirds_are_those_of_the_corpus(tables):
    described = captions.describe(tables / "metadata.csv", tables / "corpus.csv")
    exposure = [described[f"i{index:02d}"].split("female ")[1].split()[0] for index in range(30)]
    assert exposure.count("low") == exposure.count("usual") == 5
    assert exposure[15:] == ["high"] * 15


def test_a_finding_is_one_token_and_no_token_is_unknown():
    prompt = captions.with_findings("chest x-ray pa view", ["nodule_mass", "pneumothorax"])
    tokens = tokenizer(captions.vocabulary([prompt]), 16)
    ids = token_ids([prompt], tokens)[0].tolist()
    words = prompt.split()
    assert tokens.convert_ids_to_tokens(ids[1 : 1 + len(words)]) == words
    assert ids[0] == tokens.bos_token_id
    assert set(ids[1 + len(words) :]) == {tokens.eos_token_id}
    strange = token_ids(["a word nobody reserved"], tokens)[0].tolist()
    assert tokens.eos_token_id not in strange[1:-1] or strange[-1] == tokens.eos_token_id
    assert len(set(strange)) > 5


def test_what_a_prompt_loses_for_its_length_is_told_once(capsys):
    tokens = tokenizer(captions.vocabulary([]), 6)
    fits, longer = "chest x-ray pa view", "chest x-ray ap view male"
    ids = token_ids([fits, longer, longer], tokens)
    assert ids.shape == (3, 6)
    assert capsys.readouterr().out == (
        f"a prompt of 7 tokens is cut after 6, what it ends with is not seen: {longer}\n"
    )
    token_ids([longer], tokens)
    assert capsys.readouterr().out == ""


def test_every_word_of_a_caption_is_in_the_vocabulary(tables):
    words = set(captions.vocabulary([]))
    for described in captions.describe(tables / "metadata.csv", tables / "corpus.csv").values():
        assert set(described.split()) <= words


def test_an_image_of_the_corpus_without_metadata_is_named(tables):
    pd.DataFrame({"image_id": ["i00", "zz"]}).to_csv(tables / "corpus.csv", index=False)
    with pytest.raises(UserError, match="no row for image 'zz'"):
        captions.describe(tables / "metadata.csv", tables / "corpus.csv")


def test_the_word_table_leaves_out_what_never_varies():
    table = captions.word_table(pd.Series(["chest x-ray female", "chest x-ray male", "chest x-ray male tube"]))
    assert list(table.columns) == ["female", "male", "tube"]
    assert table.to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_what_a_caption_tells_is_the_mean_of_its_third_and_view():
    corpus = pd.DataFrame({"view": ["PA", "PA", "PA", "AP", "PA", "PA"], "source_distance": [1.0, 2, 3, 4, 11, 12]})
    cuts = {"source_distance": (5.0, 10.0)}
    asked = pd.DataFrame({"view": ["PA", "AP", "PA", "PA", "AP"], "source_distance": [4.0, 1, 99, np.nan, 99]})
    told = captions.told(asked, corpus, cuts)["source_distance"].tolist()
    assert told[:3] == [2.0, 4.0, 11.5]
    assert np.isnan(told[3:]).all(), "unknown, and a bedside view that the corpus has never seen so far away"


def test_a_fact_with_an_empty_third_is_not_told():
    values = pd.DataFrame({"exposure_index": [1.0] * 9 + [2, 3], "body_thickness": range(11), "source_distance": None})
    assert list(captions.thirds(values)) == ["body_thickness"]
