"""The model card: what Hugging Face reads of it, what it says of a run, and what it leaves out."""

import json
import re
import shutil
from pathlib import Path

import pytest
import reported
import yaml
from huggingface_hub import ModelCard
from test_report_page import build

from raremix.report.blocks import Fold
from raremix.report.card import card, model_card
from raremix.report.limits import limits
from stages.cli import read_params

ROOT = Path(__file__).parent.parent
PROFILES = sorted(f"profiles/{path.name}" for path in (ROOT / "profiles").iterdir())
HEADINGS = [
    "Model details",
    "Uses",
    "Bias, risks and limitations",
    "How to get started with the models",
    "Training data",
    "Training procedure",
    "Evaluation",
    "Environmental impact",
    "Provenance",
]


@pytest.fixture
def run(tmp_path):
    return reported.run(tmp_path)


def rows(text, caption):
    """The table below ``caption``, header first."""
    lines = text.partition(caption)[2].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def section(text, heading):
    return re.split(r"^#{1,3} ", text.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.M)[0]


def answered(run, **changes):
    path = run.metrics / "compare" / "answer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_hugging_face_reads_the_card_and_gives_it_back(run):
    text = card(run)
    read = ModelCard(text)
    assert str(read) == text
    assert read.data.license == "apache-2.0"
    assert read.data.library_name == "diffusers"
    assert "not-for-clinical-use" in read.data.tags
    assert re.findall("^## (.*)$", read.text, re.M) == HEADINGS
    assert read.text.count("\n# ") == 1


def test_the_stage_writes_the_card_beside_the_page_and_the_page_holds_it(run, tmp_path):
    page = build(tmp_path)
    text = (tmp_path / "report" / "model_card.md").read_text()
    assert text.startswith("---\nlanguage: en\n")
    assert "model_card.md beside this page" in page
    (fold,) = [block for block in model_card(run).blocks if isinstance(block, Fold)]
    assert fold.blocks[0].text == card(run)
    build(tmp_path)
    assert (tmp_path / "report" / "model_card.md").read_text() == text
    assert "somebody" not in text, "the data's folder may tell whose machine it was"


def test_tables_have_as_many_cells_in_every_row(run):
    tables = re.findall(r"(?:^\|.*\|\n)+", card(run), re.M)
    assert len(tables) > 8
    for table in tables:
        assert len({line.count(" | ") for line in table.splitlines()}) == 1
    assert "nan" not in " ".join(tables).split()


def test_a_lora_is_told_from_a_whole_model(run):
    assert "the whole UNet and the text encoder" in card(run)
    run.params["dreambooth"]["lora_rank"] = 16
    run.params["dreambooth"]["training"]["text_encoder"] = False
    assert "a LoRA of the UNet of rank 16 (" in card(run)


def test_models_are_counted_by_the_study(run):
    details = section(card(run), "Model details")
    assert "**Fine-tuned models:** 4," in details, "2 findings, 1 number of shots, 2 trials"
    assert "**Classifiers:** 8 of kind resnet18" in details, "4 arms, 1 number of shots, 2 trials"


def test_prompts_are_the_run_s_own(run):
    text = section(card(run), "Prompts")
    assert text.startswith("\n3 distinct prompts.")
    assert "nodule mass `<nodule_mass>`" in text
    assert "1 distinct negative prompts" in text
    assert (
        "- nodule mass: `chest x-ray male <nodule_mass>`; its pair: `chest x-ray male`; "
        "negative prompt: `chest x-ray male`"
    ) in text


def test_captions_of_patients_are_left_out_unless_patients_may_be_shown(run, tmp_path):
    bare, told = "`chest x-ray <nodule_mass>`", "`chest x-ray male <nodule_mass>`"
    hidden, shown = (card(reported.inputs(tmp_path, "vindr", show=show)) for show in (False, True))
    assert bare in hidden
    assert "male" not in hidden
    assert told in shown
    assert "report.show_patients" not in shown


def test_an_empty_negative_prompt_is_called_empty(run, tmp_path):
    reported.synthetic(tmp_path, negative="")
    text = section(card(run), "Prompts")
    assert "The negative prompt is empty." in text
    assert "negative prompt: empty" in text


def test_synthetic_images_and_their_models_parents_are_counted(run):
    assert rows(card(run), "The fine-tuned models")[2:] == [
        [name, "10", "2", "2 to 3", "2 to 3", "2", "1", "2", "0"] for name in ("cardiomegaly", "nodule mass")
    ]
    assert rows(card(run), "Weights of the fine-tuned models")[2:][0] == ["cardiomegaly-10-0", "0abc"]


def test_budgets_are_the_params(run):
    assert rows(card(run), "Training budgets")[2:] == [
        ["base model: autoencoder", "AutoencoderKL", "200", "48", "0.0005"],
        ["base model: denoiser and text encoder", "UNet2DConditionModel", "2,000", "48", "0.0005"],
        ["each fine-tuned model", "UNet", "200", "48", "2e-06"],
        ["backbone of all classifiers", "resnet18", "200", "48", "0.0005"],
        ["each classifier", "resnet18", "200", "48", "0.0005"],
        ["judge of the audits", "resnet18", "200", "48", "0.0005"],
    ]


def test_limits_are_the_run_s_figures(run):
    lost = {"difference": -0.02, "low": -0.05, "high": 0.01, "detectable": 0.05, "non_inferior": False}
    answered(run, margin=0.01, majority={"vanilla": lost, "oversample": lost | {"non_inferior": True}})
    (run.metrics / "fidelity" / "added.csv").write_text(
        "shots,trial,arm,added,gap,diversity\n10,0,dreambooth_mix,9,0.6,0\n10,1,dreambooth_mix,9,0.8,0\n"
    )
    text = section(card(run), "Bias, risks and limitations")
    sentences = [line.removeprefix("- ") for line in text.splitlines() if line]
    assert sentences[:6] == [
        "Intervals rest on 2 trials, each a draw of the few real images and of all seeds.",
        "Of cardiomegaly, the rarest finding of the task on test, 100 images decide.",
        "dreambooth_mix shows no detectable difference from oversample, which is not equality: a true difference of "
        "less than 0.15 would have stayed unseen more often than one time in five.",
        "Over the majority findings the AUROC of dreambooth_mix is not shown to be as good as that of vanilla: -0.020 "
        "[-0.050, +0.010], by a margin of 0.01.",
        "Images that dreambooth_mix adds can be told from real ones with the same finding: AUC 0.70 (0.60 to 0.80), "
        "mean and range over trials; 0.5 would be no gap.",
        "2 of 120 synthetic images count as copies of training images; of ordinary images, 1.0% do by chance. A copy "
        "that was altered may pass.",
    ]
    assert len(sentences) == 9, "three hold for every run"


@pytest.mark.parametrize("layout", ["phantom", "table"])
@pytest.mark.parametrize(
    ("drawing", "told"),
    [
        ({"strength": 0.9, "onto": "drawn"}, "Synthetic images start from training radiographs, and keep of them"),
        ({"strength": 0.9, "onto": "original"}, "Synthetic images are training radiographs with a finding laid over"),
        ({"strength": 1.0, "onto": "drawn"}, None),
    ],
    ids=["drawn", "laid over", "from noise"],
)
def test_what_a_synthetic_image_shows_of_a_radiograph_is_a_limit(run, layout, drawing, told):
    run.params["synthesize"] |= drawing
    run.params["data"]["layout"] = layout
    sentences = [line for line in limits(run) if line.startswith("Synthetic images")]
    assert len(sentences) == (told is not None)
    if told:
        assert sentences[0].startswith(told)
        assert ("They show patients" in sentences[0]) == (layout == "table")
    assert ("is laid over the training radiograph" in card(run)) == (drawing["onto"] == "original")


@pytest.mark.parametrize("place", [None, {"rotation": 6.0, "shift": 0.06, "zoom": 0.15}], ids=["anywhere", "marked"])
def test_the_card_tells_where_findings_were_drawn(run, place):
    run.params["synthesize"]["place"] = place
    assert card(run).count("where a reader marked the finding in a radiograph that trains") == (2 if place else 0)


def test_a_gap_that_could_not_be_measured_is_not_told(run):
    (run.metrics / "fidelity" / "added.csv").write_text(
        "shots,trial,arm,added,gap,diversity\n10,0,dreambooth_mix,9,,0\n"
    )
    assert "can be told from real ones" not in section(card(run), "Bias, risks and limitations")


def test_of_one_trial_the_card_says_what_intervals_leave_out(run):
    run.params["study"]["trials"] = [0]
    assert "There is one trial: intervals count images, not" in card(run)


def test_words_of_the_run_are_no_markup(run):
    assert "> dreambooth_mix \\<improves>." in card(run)


@pytest.mark.parametrize("layout", ["phantom", "vindr", "table"])
def test_a_run_that_left_nothing_has_a_card_without_figures(tmp_path, layout):
    text = card(reported.inputs(tmp_path, layout))
    assert re.findall("^## (.*)$", text, re.M) == HEADINGS
    assert "Nothing was measured yet" in text
    assert "There is no list of synthetic images here" in text
    assert re.findall(r"^#{3} (.*)$", text, re.M) == ["Direct use", "Out-of-scope use"]
    assert re.findall(r"^([A-Z].*):\n\n\|", text, re.M) == ["Training budgets"]


@pytest.mark.parametrize("lost", ["compare", "split", "mix", "audit", "fidelity", "ingest"])
def test_without_a_stage_s_metrics_its_part_is_left_out(run, lost):
    whole = card(run)
    shutil.rmtree(run.metrics / lost)
    rest = card(run)
    assert len(rest) < len(whole)
    assert re.findall("^## (.*)$", rest, re.M) == HEADINGS


def test_an_older_run_s_answer_knows_nothing_of_what_it_could_have_seen(run):
    answer = json.loads((run.metrics / "compare" / "answer.json").read_text())
    for one in answer["against"].values():
        del one["detectable"]
    answered(run, **answer)
    assert "stayed unseen" not in card(run)


@pytest.mark.parametrize("profile", [".", *PROFILES])
def test_every_profile_s_params_and_metrics_make_a_card(profile, tmp_path):
    inputs = reported.inputs(tmp_path)
    inputs.params.clear()
    inputs.params.update(read_params(ROOT / profile / "params.yaml"))
    if (ROOT / profile / "metrics" / "compare" / "answer.json").is_file():
        shutil.copytree(ROOT / profile / "metrics", inputs.metrics)
    text = card(inputs)
    assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "diffusers"
    assert "nan" not in text.split()


def test_the_limit_of_guidance_is_in_the_code_to_start_with_and_in_words_where_there_is_one(run):
    with_it = card(run)
    assert "limited(pipeline.unet, guidance=5.0, limit=0.45)" in with_it
    assert "guidance 5.0 (at most 0.45 of the unguided prediction's norm), strength 0.9" in with_it
    run.params["synthesize"]["guidance_limit"] = None
    without = card(run)
    assert "limited(pipeline.unet, guidance=5.0, limit=None)" in without
    assert "guidance 5.0, strength 0.9" in without


def test_the_card_tells_which_labels_were_taken_as_unknown(run):
    told = "dreambooth_mix takes their labels as unknown"
    assert told in card(run)
    run.params["mix"]["denied"] = "all"
    assert told not in card(run)
