"""The page in headless Chromium, on a desk and on a telephone."""

import shutil
from pathlib import Path

import pytest
import reported
from browser import DRAWN, browsing, chromium

from raremix.report.page import page
from stages.cli import read_params

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")

CHARTS = "[...document.querySelectorAll('.chart')]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "index.html").write_text(page(reported.run(folder)), encoding="utf-8")
    return (folder / "index.html").as_uri()


def column(browser, place):
    """The cells of a column of the first table of arms, as they stand."""
    rows = "document.querySelectorAll('section:nth-of-type(2) table')[0].tBodies[0].rows"
    return browser.run(f"[...{rows}].map(row => row.cells[{place}].textContent)")


def header(browser, place, what):
    return browser.run(f"document.querySelectorAll('section:nth-of-type(2) thead th')[{place}].{what}")


def press(browser, key, code, text=""):
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (375, "light"), (320, "dark")])
def test_all_charts_are_drawn_without_a_complaint_or_a_request(browser, address, width, theme):
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(address, width, theme=theme)
    widths = browser.run(f"{CHARTS}.map(chart => chart.querySelector('svg').getBoundingClientRect().width)")
    marks = browser.run(f"{CHARTS}.map(chart => chart.querySelectorAll('.role-mark path').length)")
    assert len(widths) > 10
    assert min(widths) > 250
    assert min(marks) > 0
    assert browser.complaints == []
    assert [request for request in browser.requests if not request.startswith("data:")] == [address]


@pytest.mark.parametrize("width", [320, 375, 1280])
def test_the_page_does_not_scroll_sideways(browser, address, width):
    browser.open(address, width)
    browser.run("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('main p, figure, .chart svg, img, select')]"
    assert browser.run(f"Math.max(...{wide}.map(one => one.getBoundingClientRect().right))") <= width


def test_charts_follow_the_window(browser, address):
    browser.open(address, 1280)
    wide = browser.run("document.querySelector('.chart svg').getBoundingClientRect().width")
    browser.ask("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=True)
    width = "document.querySelector('.chart svg').getBoundingClientRect().width"
    browser.wait(f"{width} < {wide / 2}")
    assert browser.run(width) < wide / 2


def test_both_themes_are_readable(browser, address):
    colors = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    ink = "getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill"
    seen = {}
    for theme in ("light", "dark"):
        browser.open(address, 1280, theme=theme)
        ground, text = browser.run(colors)
        assert browser.run(ink) == text, "a chart's labels are the page's"
        seen[theme] = ground
    assert seen["light"] != seen["dark"]


def test_a_click_or_enter_on_a_header_sorts_and_says_so(browser, address):
    browser.open(address, 1280)
    before = column(browser, 0)
    assert header(browser, 0, "getAttribute('aria-sort')") is None
    header(browser, 0, "querySelector('button').click()")
    assert column(browser, 0) == sorted(before)
    assert header(browser, 0, "getAttribute('aria-sort')") == "ascending"
    header(browser, 0, "querySelector('button').focus()")
    press(browser, "Enter", 13, "\r")
    assert column(browser, 0) == sorted(before, reverse=True)
    assert header(browser, 0, "getAttribute('aria-sort')") == "descending"
    header(browser, 1, "querySelector('button').click()")
    assert header(browser, 0, "getAttribute('aria-sort')") is None
    assert header(browser, 1, "getAttribute('aria-sort')") == "descending"


def test_figures_sort_by_value_and_what_is_missing_comes_last(browser, tmp_path):
    run = reported.run(tmp_path)
    means = {"vanilla": 0.5, "oversample": None, "dreambooth_mix": 12.0, "shuffled": -0.3}
    arms = {arm: {"minority": {"ap": reported.figure(mean, None)}} for arm, mean in means.items()}
    reported.write(tmp_path, "compare/summary.json", {"10": arms})
    (run.metrics / "compare" / "arms.csv").unlink()  # so that the page shows the means
    (tmp_path / "index.html").write_text(page(run), encoding="utf-8")
    browser.open((tmp_path / "index.html").as_uri(), 1280)
    header(browser, 1, "querySelector('button').click()")
    assert column(browser, 0) == ["dreambooth_mix", "vanilla", "shuffled", "oversample"]
    header(browser, 1, "querySelector('button').click()")
    assert column(browser, 0) == ["shuffled", "vanilla", "dreambooth_mix", "oversample"]


def test_another_arm_can_be_chosen(browser, address):
    browser.open(address, 1280)
    choose = "document.querySelector('.choices label select')"
    assert browser.run(f"{choose}.labels[0].textContent").startswith("Arm")
    points = "[...document.querySelectorAll('.chart')][0].querySelectorAll('.mark-symbol.role-mark path')"
    places = f"[...{points}].map(point => point.getAttribute('transform')).join()"
    before = browser.run(places)
    browser.run(f"{choose}.value = 'shuffled', {choose}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    browser.run(f"{choose}.dispatchEvent(new Event('change', {{bubbles: true}}))")
    browser.wait(f"{places} != '{before}'")
    assert browser.run(places) != before


def test_the_first_tab_reaches_the_skip_link_and_focus_is_seen(browser, address):
    browser.open(address, 1280)
    press(browser, "Tab", 9)
    assert browser.run("document.activeElement.textContent") == "Skip to the report"
    box = browser.run("JSON.stringify(document.activeElement.getBoundingClientRect())")
    assert '"x":-' not in box, "it comes into sight"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_on_paper_nothing_is_folded(browser, address):
    browser.open(address, 1280)
    assert browser.run("document.querySelectorAll('details[open]').length") == 0
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.querySelectorAll('details[open]').length") == 0


def test_the_page_of_the_committed_metrics_draws_all_its_charts(browser, tmp_path):
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    run = reported.inputs(tmp_path)
    run.params.clear()
    run.params.update(read_params(ROOT / "params.yaml"))
    (tmp_path / "index.html").write_text(page(run), encoding="utf-8")
    browser.complaints.clear()
    browser.open((tmp_path / "index.html").as_uri(), 1280)
    assert browser.run(f"{CHARTS}.length") > 20
    assert browser.run(DRAWN)
    assert browser.complaints == []
