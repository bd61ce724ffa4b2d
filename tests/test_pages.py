"""README and docs: their figures are those of metrics/, and their links lead somewhere."""

import re
from collections import Counter
from pathlib import Path

import pytest

from raremix.evaluation.result import BLOCKS, OTHERS, check_blocks

ROOT = Path(__file__).parent.parent
PAGES = {page.name: page.read_text() for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
PLACES = {page.name: page.parent for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
FILLED = [name for name, text in PAGES.items() if "\n<!-- /" in text]
ANSWERS = {f"{name}-answer" for name in OTHERS}  # each profile's whole result has one


@pytest.mark.parametrize("name", FILLED)
def test_pages_say_what_metrics_say(name):
    check_blocks(PLACES[name] / name, ROOT / "metrics")


def test_every_block_is_in_one_page():
    found = Counter(block for text in PAGES.values() for block in re.findall(r"^<!-- ([a-z-]+) -->$", text, re.M))
    assert found.keys() >= BLOCKS.keys() - ANSWERS
    assert set(found.values()) == {1}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_anchors(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        led = (PLACES[name] / file).resolve() if file else PLACES[name] / name
        assert led.exists(), target
        assert not anchor or anchor in anchors(led.read_text()), target


def anchors(text: str) -> set[str]:
    """Those that a page says, and those that its headings make on GitHub."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    made = (re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {*re.findall(r'<a id="([^"]+)">', text), *made}


def test_no_page_is_an_orphan():
    """From README every page can be reached."""
    seen, left = set(), ["README.md"]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += [Path(target).name for target in re.findall(r"\]\(([^)#\s]+\.md)", PAGES[name])]
    assert seen >= PAGES.keys()
