"""The page as HTML: whole, self-contained, the same bytes anywhere, and fit for a screen reader."""

import json
import re
import shutil
import subprocess
import webbrowser
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import reported
import vl_convert
import yaml
from markupsafe import escape

from raremix.report.charts import COLORS, DASHES, SHAPES
from raremix.report.page import SHAPES as OUTLINES
from raremix.report.page import page
from raremix.runtime.sources import sources
from stages.cli import read_params
from stages.cli import run as run_stage
from stages.report import report
from stages.show import main as show

ROOT = Path(__file__).parent.parent
PROFILES = sorted(f"profiles/{path.name}" for path in (ROOT / "profiles").iterdir())
VOID = {"meta", "img", "wbr", "br", "link", "path"}


class Read(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    return page(reported.run(folder))


@pytest.fixture(scope="module")
def read(written):
    return Read(written)


def build(folder: Path, **flags: str) -> str:
    """What the stage writes of the run in ``folder``."""
    paths = {"parameters": "params.yaml", "manifest": "manifest.csv", "checksums": "images.sha256"}
    paths |= {
        "metrics": "metrics",
        "samples": "results/synthesize",
        "screen": "results/screen",
        "fidelity": "results/fidelity",
        "synthetic": "synthetic",
        "out": "report",
    }
    arguments = [f"--{name}={folder / path}" for name, path in paths.items()]
    run_stage(report, [str(folder / "params.yaml"), *arguments, *(f"--{name}={flags[name]}" for name in flags)])
    return (folder / "report" / "index.html").read_text()


def test_the_same_run_gives_the_same_bytes_in_any_folder(written, tmp_path):
    reported.run(tmp_path / "elsewhere")
    again = build(tmp_path / "elsewhere")
    assert again == written
    assert build(tmp_path / "elsewhere") == again
    assert str(tmp_path) not in again


def test_what_lies_beside_the_metrics_does_not_matter(written, tmp_path):
    reported.run(tmp_path)
    (tmp_path / "metrics" / "provenance.json").write_text("{}")
    (tmp_path / "metrics" / "STALE.md").write_text("since abc\n")
    assert build(tmp_path) == written


@pytest.mark.parametrize("layout", ["vindr", "table"])
def test_patients_are_in_the_page_only_if_params_say_so(layout, tmp_path):
    reported.run(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(reported.params(layout)))
    assert "data:image" not in build(tmp_path)
    assert "data:image" in build(tmp_path, report=json.dumps({"show_patients": True}))


@pytest.mark.parametrize("profile", [".", *PROFILES])
def test_a_profile_hides_patients(profile):
    assert read_params(ROOT / profile / "params.yaml")["report"] == {"show_patients": False}


@pytest.mark.parametrize("profile", [name for name in (".", *PROFILES) if (ROOT / name / "metrics/compare").is_dir()])
def test_the_committed_metrics_make_a_page(profile, tmp_path):
    shutil.copytree(ROOT / profile / "metrics", tmp_path / "metrics")
    shutil.copy(ROOT / profile / "params.yaml", tmp_path)
    sentence = json.loads((tmp_path / "metrics" / "compare" / "answer.json").read_text())["sentence"]
    text = build(tmp_path)
    assert escape(sentence) in text
    assert "nan" not in re.findall(r"<td[^>]*>([^<]*)</td>", text)
    assert not Read(text).faults
    assert len(text) < 4_000_000


def test_nothing_is_loaded_from_elsewhere(written, read):
    outward = [
        value
        for _, attributes in read.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster") and not value.startswith(("#", "data:image/"))
    ]
    assert outward == []
    assert not read.all("link")
    (policy,) = [tag["content"] for tag in read.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;"), "the browser refuses what a test would miss"
    style = re.search(r"<style>(.*?)</style>", written, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_is_well_formed(written, read):
    assert written.startswith("<!DOCTYPE html>")
    assert not read.faults
    assert not read.open
    assert read.all("html") == [{"lang": "en"}]
    assert "dreambooth_mix &lt;improves&gt;." in written, "text is text"
    assert len(re.findall("</script", written)) == len(read.all("script")), "the library does not end its element"


def test_headings_go_down_one_step_at_a_time(read):
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_what_is_seen_can_be_heard(read):
    assert read.all("img")
    for image in read.all("img"):
        assert len(image["alt"]) > 20
        assert image["width"]
        assert image["height"]
    charts = [tag for tag in read.all("div") if tag.get("class") == "chart"]
    assert charts
    for chart in charts:
        assert chart["role"] == "img"
        assert "table" in chart["aria-label"] or "below" in chart["aria-label"]


def test_tables_have_captions_and_headers_and_can_be_reached_by_keyboard(written, read):
    tables = re.findall(r"<table>.*?</table>", re.sub(r"<script.*?</script>", "", written, flags=re.S), re.S)
    assert len(tables) > 10
    for table in tables:
        assert table.count("<caption>") == 1
        assert all(re.match(r'<th scope="(col|row)"', header) for header in re.findall(r"<th\b[^>]*>", table))
        columns, rows = table.count('scope="col"'), table.count('scope="row"')
        assert table.count('<button type="button">') == columns
        assert table.count("<td") == rows * (columns - 1)
    regions = [tag for tag in read.all("div") if tag.get("class") == "scroll"]
    assert len(regions) == len(tables)
    assert all(tag["tabindex"] == "0" and tag["role"] == "region" for tag in regions)


def test_names_are_there_once_and_links_lead_somewhere(read):
    names = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(names) == len(set(names))
    pointed = [a["aria-labelledby"] for _, a in read.tags if "aria-labelledby" in a]
    pointed += [a["data-spec"] for _, a in read.tags if "data-spec" in a]
    pointed += [a["href"].removeprefix("#") for a in read.all("a")]
    assert set(pointed) <= set(names)
    assert read.all("a")[0] == {"class": "skip", "href": "#content"}


def test_every_chart_draws_its_points(written):
    specs = re.findall(r'<script type="application/json" id="[^"]*">(.*?)</script>', written, re.S)
    assert len(specs) == written.count('class="chart"')
    for spec in map(json.loads, specs):
        drawn = vl_convert.vega_to_svg(spec | {"width": 300})
        assert re.search(r'class="mark-(symbol|line|rect) role-mark', drawn)


def luminance(color: str) -> float:
    """Of a colour such as #2f81f7, relative (WCAG 2)."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_told_from_the_page_in_both_themes():
    style = (ROOT / "raremix" / "report" / "style.css").read_text()
    themes = [dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{([^}]*)\}", style)[:2]]
    assert themes[0]["page"] != themes[1]["page"]
    for theme in themes:
        for ground in (theme["page"], theme["stripe"]):
            assert all(contrast(theme[name], ground) >= 4.5 for name in ("ink", "quiet", "accent"))
        assert all(contrast(color, theme["page"]) >= 3 for color in COLORS)


def test_the_legend_knows_every_shape_and_no_two_names_look_alike():
    assert set(SHAPES) == set(OUTLINES)
    for marks in (SHAPES, DASHES):
        looks = [(COLORS[k % len(COLORS)], str(marks[k % len(marks)])) for k in range(20)]
        assert len(set(looks)) == 20


def test_templates_are_dependencies_of_the_stage():
    listed = subprocess.run(["git", "ls-files", "raremix/report", "stages/report.py"], cwd=ROOT, capture_output=True)
    files = set(listed.stdout.decode().split()) | {
        f"raremix/report/{name}" for name in ("page.html", "style.css", "script.js", "card.md")
    }
    assert files <= set(sources(ROOT, "stages.report"))


def test_a_template_that_is_added_becomes_a_dependency(tmp_path):
    shutil.copytree(ROOT / "raremix", tmp_path / "raremix", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "raremix" / "report" / "model_card.html").write_text("")
    before = sources(ROOT, "stages.report")
    assert sources(tmp_path, "stages.report") == sorted([*before, "raremix/report/model_card.html"])
    assert sources(tmp_path, "stages.split") == sources(ROOT, "stages.split")


def test_the_page_is_opened_where_there_is_a_display_and_named_anyway(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert show([str(tmp_path / "index.html")]) == 2
    assert "run: dvc repro report" in capsys.readouterr().err
    (tmp_path / "index.html").write_text("")
    assert show([str(tmp_path / "index.html")]) == 0
    assert (tmp_path / "index.html").as_uri() in capsys.readouterr().out
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    assert show([str(tmp_path / "index.html")]) == 0
    assert opened == [(tmp_path / "index.html").as_uri()]


def test_make_report_builds_the_page_and_opens_it():
    recipe = ["dvc --wait-for-lock repro report", "python -m stages.show report/index.html"]
    lines = (ROOT / "Makefile").read_text().splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("report: .venv/ready ##")]
    assert lines[first + 1 : first + 4] == [*(f"\t{command}" for command in recipe), ""]
