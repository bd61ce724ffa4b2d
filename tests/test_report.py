"""What the page says of the data, the images and the diagnosis, and that no section needs a whole run."""

import base64
import importlib.metadata
import io

import pytest
import reported
from PIL import Image
from reported import blocks, edit, table, texts

from raremix.report.audits import audits
from raremix.report.blocks import Chart, Fold, Part, Picture, Table, Text
from raremix.report.card import model_card
from raremix.report.cells import between, count, interval, number, reach, spread
from raremix.report.diagnosis import diagnosis
from raremix.report.fidelity import fidelity
from raremix.report.materials import HIDDEN, mix, samples, split
from raremix.report.page import SECTIONS
from raremix.report.pictures import WIDEST, picture
from raremix.report.provenance import provenance
from raremix.report.tables import p_value


@pytest.fixture
def run(tmp_path):
    return reported.run(tmp_path)


@pytest.mark.parametrize("build", SECTIONS, ids=lambda build: build.__name__)
def test_a_section_of_a_run_that_left_nothing_says_so_in_one_line(build, tmp_path):
    section = build(reported.inputs(tmp_path))
    if section is not None and build not in (model_card, provenance):
        assert [type(block) for block in section.blocks] == [Text]


@pytest.mark.parametrize("build", SECTIONS, ids=lambda build: build.__name__)
def test_tables_that_have_a_header_alone_are_as_good_as_none(build, run):
    for path in run.metrics.rglob("*.csv"):
        path.write_text(path.read_text().splitlines()[0] + "\n")
    section = build(run)
    assert section is None or section.blocks


@pytest.mark.parametrize("build", SECTIONS, ids=lambda build: build.__name__)
def test_figures_that_are_not_there_are_dashes(build, run):
    """Every figure of every table is lost, names and counts stay."""
    for path in run.metrics.rglob("*.csv"):
        header, *rows = [line.split(",") for line in path.read_text().splitlines()]
        lost = [["" if "." in cell else cell for cell in row] for row in rows]
        path.write_text("".join(",".join(row) + "\n" for row in [header, *lost]))
    section = build(run)
    assert section is None or "nan" not in str([one.rows for one in blocks(section, Table)])


def test_a_p_value_too_small_to_print_says_so():
    cells = [p_value("p")({"p": value}) for value in (2e-36, 0.00049, 0.0005, 0.04)]
    assert [cell.text for cell in cells] == ["<0.001", "<0.001", "0.001", "0.040"]
    assert [cell.value for cell in cells] == [2e-36, 0.00049, 0.0005, 0.04], "by which they are sorted"


def test_synthetic_images_stand_beside_real_ones_and_copies_are_counted(run):
    section = fidelity(run)
    rows = table(section, "Synthetic images and real training images")
    counts = ["30", "20", "20"]
    assert rows[1][:7] == ["cardiomegaly", "synthetic", *counts, "2.00 (1.50 to 2.50)", "0.90 (0.90 to 0.90)"]
    assert rows[3][7] == "–", "no recall of too few images"  # noqa: RUF001
    assert "2 of 120 synthetic images count as copies" in texts(section)
    gap = table(section, "Gap and diversity")
    assert gap[1:] == [["oversample", "9", "0.650", "0.00"], ["shuffled", "9", "0.650", "0.50"]]
    *gaps, nearest = blocks(section, Picture)
    assert [gap.caption.split(",")[0] for gap in gaps] == ["oversample", "dreambooth_mix"], "the arms that have one"
    assert all("in red" in gap.alt for gap in gaps)
    assert "nearest" in nearest.alt


def test_the_gap_stands_against_diversity_with_a_mark_for_each_arm_that_adds_images(run):
    (chart,) = blocks(fidelity(run), Chart)
    encoding = chart.spec["encoding"]
    assert [encoding[axis]["field"] for axis in "xy"] == ["diversity", "gap"]
    assert [encoding[axis]["title"] for axis in "xy"] == ["diversity gained", "domain gap (AUC)"]
    assert chart.spec["mark"]["type"] == "point"
    marks = {mark["arm"]: (mark["diversity"], mark["gap"]) for mark in reported.values(chart)}
    assert marks == {"oversample": (0, 0.65), "shuffled": (0.5, 0.65)}
    for look in ("color", "shape"):
        assert encoding[look]["field"] == "arm"
        assert encoding[look]["scale"]["domain"] == list(marks), "what the scale lacks is not drawn"


def test_a_run_without_pictures_of_the_gap_does_not_speak_of_them(run):
    for gap in run.fidelity.glob("gap-*.png"):
        gap.unlink()
    assert "gives" not in str([part.title for part in blocks(fidelity(run), Part)])


def test_samples_of_the_first_trial_are_open_and_of_others_folded(run):
    section = samples(run)
    assert [one.caption for one in section.blocks[1].blocks] == ["cardiomegaly, trial 0", "nodule mass, trial 0"]
    assert [fold.title for fold in blocks(section, Fold)] == ["Trial 1"]
    assert "nodule mass" in section.blocks[1].blocks[1].alt


@pytest.mark.parametrize("layout", ["vindr", "nih", "table"])
def test_patients_are_hidden_but_where_a_parameter_shows_them(run, tmp_path, layout):
    hidden, shown = reported.inputs(tmp_path, layout), reported.inputs(tmp_path, layout, show=True)
    sections = [section for build in SECTIONS if (section := build(hidden))]
    assert not [picture for section in sections for picture in blocks(section, Picture)]
    assert HIDDEN in texts(samples(hidden))
    assert texts(fidelity(hidden)).count(HIDDEN) == 2, "the gaps, once, and the nearest"
    assert len(blocks(fidelity(shown), Picture)) == 3
    assert texts(diagnosis(hidden)).count(HIDDEN) == 2, "traversals and panels"
    assert len(blocks(samples(shown), Picture)) == 4
    assert len(blocks(diagnosis(shown), Picture)) == 3


def test_counts_that_differ_between_trials_are_ranges(run):
    rows = table(split(run), "Images with each finding")
    assert rows[0] == ["finding", "train", "validation", "test", "held back"]
    assert [row[0] for row in rows[1:]] == ["all images", "cardiomegaly", "nodule mass", "atelectasis"]
    assert rows[1][1:] == ["100 to 101", "100", "100", "100"]


def test_the_mixes_are_means_over_trials(run):
    section = mix(run)
    assert [chart.caption for chart in blocks(section, Chart)] == ["cardiomegaly", "nodule mass"]
    assert table(section, "Balance")[1] == ["vanilla", "cardiomegaly", "5", "50.5", "0.100"]


def test_what_the_label_sets_leave_is_folded(run):
    (fold,) = (one for one in blocks(mix(run), Fold) if one.title == "What the label sets leave")
    rows = table(fold, "Images with each finding")
    assert rows[0] == ["finding", "target", "real", "planned", "left"]
    assert rows[3] == ["atelectasis", "60", "10", "49", "1 (0 to 2)"]
    (run.metrics / "split" / "imbalance.csv").unlink()
    assert len(blocks(mix(run), Fold)) == 1


def test_audits_have_ranges_over_trials_and_no_attributes_where_none_were_read(run):
    section = audits(run)
    rows = table(section, "judge")
    assert rows[2][:5] == ["nodule mass", "0.900", "0.880", "38.2", "0.975"]
    assert rows[2][5:7] == ["0.750 (0.700 to 0.800)", "0.60 (0.60 to 0.60)"]
    assert rows[3] == ["all", "0.900", "0.880", "38.2", "0.975", *["–"] * 4]  # noqa: RUF001
    assert rows[2][7:] == ["–", "0.80"], "a probe that was not measured, and one trial"  # noqa: RUF001
    assert table(section, "R2")[1] == ["exposure index", "all", "0.60", "-2.00"]
    reported.write(run.metrics.parent, "audit/attributes.csv", [["attribute", "scope", "real", "sampled"]])
    assert len(blocks(audits(run), Table)) == 1


def test_audits_of_a_run_before_there_were_psnr_and_ssim_have_dashes(run):
    rows = [["finding", "real", "reconstructed"], ["nodule_mass", 0.9, 0.88]]
    reported.write(run.metrics.parent, "audit/judge.csv", rows)
    assert table(audits(run), "judge")[1][:5] == ["nodule mass", "0.900", "0.880", "–", "–"]  # noqa: RUF001


def test_the_diagnosis_ranks_what_arrived(run):
    section = diagnosis(run)
    rows = table(section, "the largest by hyperplane")
    assert rows[0] == ["attribute", "finding", "hyperplane", "implicit", "observed", "true"]
    assert rows[1][0] == "source distance"
    everything = str([one.rows for one in blocks(section, Table)])
    assert "tube" not in everything, "it did not arrive"
    assert "wide" not in everything, "a phrase is no attribute"
    assert table(section, "Methods")[1][:4] == ["hyperplane", "3", "0.70 [0.60, 0.80]", "0.40"]
    assert table(section, "planted")[2] == ["fair", "7", "–"]  # noqa: RUF001
    scatters = [chart for chart in blocks(section, Chart) if chart.caption in ("hyperplane", "implicit", "observed")]
    assert len(scatters) == 3


def test_real_data_have_no_truth_and_the_page_says_so(run, tmp_path):
    header = (run.metrics / "sensitivity" / "beside.csv").read_text().splitlines()[0]
    (run.metrics / "sensitivity" / "beside.csv").write_text(header + "\n")
    edit(run, "sensitivity/summary.json", lambda found: found.update(planted={}))
    none = dict.fromkeys(["spearman", "low", "high", "null"])
    edit(run, "sensitivity/summary.json", lambda found: found["agreement"]["observed"].update(none))
    section = diagnosis(reported.inputs(tmp_path, "table"))
    assert "only the phantom knows" in texts(section)
    titles = [part.title for part in section.blocks if isinstance(part, Part)]
    assert "Estimates beside the truth" not in titles
    assert "The planted bias" not in titles
    assert "Effects of every attribute" in titles


def test_provenance_has_params_and_data_but_no_folder(run, tmp_path):
    section = provenance(run)
    everything = str(section)
    assert "somebody" not in everything
    assert "layout: phantom" in everything
    rows = dict(table(section, "The run")[1:])
    assert rows["images"] == "7,200"
    assert rows["torch"] == importlib.metadata.version("torch")
    assert int(rows["cores"]) >= 1
    (tmp_path / "manifest.csv").write_text("image_id\nb\n")
    assert dict(table(provenance(run), "The run")[1:])["SHA-256, manifest"] != rows["SHA-256, manifest"]


def test_a_picture_is_itself_unless_it_is_too_wide(tmp_path):
    reported.save(tmp_path / "small.png", 0)
    reported.save(tmp_path / "wide.png", 0, width=2 * WIDEST)
    small, wide = (picture(tmp_path / f"{name}.png", "caption", "alt") for name in ("small", "wide"))
    assert base64.b64decode(small.source.partition(",")[2]) == (tmp_path / "small.png").read_bytes()
    assert (wide.width, wide.height) == (WIDEST, 12)
    with Image.open(io.BytesIO(base64.b64decode(wide.source.partition(",")[2]))) as image:
        assert image.size == (WIDEST, 12)


def test_cells():
    assert number(-0.0001).text == "0.000", "no minus before nothing"
    assert number(0.5, 2, signed=True).text == "+0.50"
    assert number(float("nan")).value is None
    assert count(1234.0).text == "1,234"
    assert count(50.5).text == "50.5"
    assert spread(0.5, None).text == "0.500"
    assert interval(0.5, None, 0.6).text == "0.500"
    assert reach([0.7, float("nan")]).text == "0.700"
    assert reach([]).value is None
    assert between([1234, 1234]).text == "1,234"
    assert between([7, 1234]).text == "7 to 1,234"
    assert between([]).value is None
