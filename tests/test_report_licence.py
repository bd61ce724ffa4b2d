"""Whose terms a run's images and weights stand under, as the model card says it."""

import pytest
import reported
from huggingface_hub import ModelCard

from raremix.report.card import card
from raremix.report.licence import licence


@pytest.fixture
def run(tmp_path):
    return reported.run(tmp_path)


def with_base(run, layout="phantom", pretrained=None, revision=None):
    run.params["data"]["layout"] = layout
    run.params["base"] |= {"pretrained": pretrained, "revision": revision}
    return run


@pytest.mark.parametrize(
    ("layout", "pretrained", "fields"),
    [
        ("phantom", None, {"license": "apache-2.0"}),
        ("phantom", "CompVis/stable-diffusion-v1-4", {"license": "creativeml-openrail-m"}),
        ("phantom", "somebody/else", {"license": "unknown"}),
        ("table", "CompVis/stable-diffusion-v1-4", {"license": "unknown"}),
        ("vindr", "CompVis/stable-diffusion-v1-4", {"license": "other"}),
    ],
)
def test_the_licence_is_the_strictest_of_data_and_base_model(run, layout, pretrained, fields):
    read = ModelCard(card(with_base(run, layout, pretrained, "abc" if pretrained else None))).data.to_dict()
    assert fields.items() <= read.items()
    assert read.get("base_model") == pretrained
    assert ("license_name" in read) == (layout == "vindr")


@pytest.mark.parametrize("layout", ["vindr", "nih", "table"])
def test_what_comes_of_patients_may_not_be_shared_more_freely_than_they(run, layout):
    terms = licence(with_base(run, layout))
    assert "may not be shared more freely than the data" in terms.sharing
    assert terms.sharing in card(run)
    assert terms.data in card(run)
    assert "no patient" not in card(run)


def test_vindr_s_copies_have_each_their_terms(run):
    text = licence(with_base(run, "vindr")).data
    assert "PhysioNet Credentialed Health Data License 1.5.0" in text
    assert "Kaggle stands under the rules of its competition" in text


def test_a_base_model_of_others_is_named_with_its_revision_and_a_local_one_is_not(run):
    named = card(with_base(run, pretrained="CompVis/stable-diffusion-v1-4", revision="133a221b"))
    assert "`CompVis/stable-diffusion-v1-4`, revision `133a221b`" in named
    assert "autoencoder |" not in named, "it was not trained here"
    local = card(with_base(run, pretrained="/home/somebody/sd"))
    assert "somebody" not in local
    assert "whoever shares this card has to say which" in local
    assert "trained from scratch" in card(with_base(run))
