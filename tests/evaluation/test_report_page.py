"""The page of a report: whole in one file, and looked at in a real browser.

`TWINTIDE_SCREENSHOTS=FOLDER` keeps what it looked like.
"""

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from evaluation.report import report, write_report
from tests.evaluation import made

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LOOKS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 800}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 360, "height": 800}, "color_scheme": "dark"},
}
SKILLS = {
    "nightly+hourly": 0.6,
    "nightly": 0.3,
    "hourly": 0.58,
    "popular-all-time": 0.2,
    "popular-1h": 0.5,
    "co-visitation": 0.4,
}
GAP = {"after": "2026-03-02T03:00:00Z", "until": "2026-03-02T06:00:00Z", "hours": 3.0}


VARIATION = {
    "ingredient": "last click",
    "name": "without last click",
    "recall@10": 0.3,
    "recall@100": 0.5,
    "cost_seconds_per_hour": 0.5,
}
LESS = {
    "recall@10": -0.02,
    "interval@10": [-0.03, -0.01],
    "recall@100": 0.0,
    "interval@100": [-0.01, 0.01],
}
ABLATION = {
    "policy": "nightly+hourly",
    "ingredients": [VARIATION | {"difference": LESS}, VARIATION | {"difference": {}}],
    "left_out": [{"ingredient": "residual", "why": "rows are too narrow"}],
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of six policies over 60 hours, with an outage."""
    clicks = made.scored(60, 40, seed=1)
    runners = [made.runner(name, clicks, skill=skill)[0] for name, skill in SKILLS.items()]
    found = report(runners, data=made.data(clicks, gaps=[GAP], null_columns=["region"]))
    partial = {"at": "2026-03-04T00:00:00Z", "done_ratio": 0.7}
    folder = tmp_path_factory.mktemp("report")
    found |= {"partial": partial, "ablation": ABLATION}
    return write_report(found, folder, zone="Europe/Berlin")[1]


class Parts(HTMLParser):
    """Tags, and what they would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_is_one_file_that_loads_nothing(page: Path) -> None:
    """No script, no address but its own parts; what names a file of the user's is escaped."""
    text = page.read_text(encoding="utf-8")
    parts = Parts()
    parts.feed(text)

    assert "script" not in parts.tags
    assert all(each.startswith("#") or each == "data:," for each in parts.loads)
    assert "url(" not in text
    assert "@import" not in text
    assert "&lt;b&gt;clicks&lt;/b&gt;.parquet" in text
    assert parts.tags.count("svg") == 4 + len(SKILLS) + len(LESS) // 2
    assert not re.search(r"\bnan\b|None", text)


def test_the_page_says_what_is_to_be_known(page: Path) -> None:
    """The verdict, every policy, the outage, how far it came, each group and ingredient, and what
    it costs.
    """
    text = page.read_text(encoding="utf-8")

    assert re.search(r"<li>(The model wins|The model and the best list|A plain list)", text)
    assert "No event for 3.0 hours, from 2026-03-02T03:00:00Z" in text
    assert "70 % of the way" in text
    assert "No event has a value of region" in text
    assert "Residual was not tried: rows are too narrow." in text
    for words in (
        *SKILLS,
        "long histories",
        "middle",
        "s an hour",
        "recall@100",
        "distance in",
        "-0.020",
    ):
        assert words in text


def test_a_report_of_nothing_is_a_page_too(tmp_path: Path) -> None:
    """As after an interruption before anything was scored."""
    runners = [made.runner(name, [], skill=0.5)[0] for name in ("nightly", "popular-1h")]
    paths = write_report(report(runners, data=made.data([])), tmp_path, zone="UTC")

    assert "Nothing was scored" in paths[1].read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no browser: apt-get install chromium")
@pytest.mark.parametrize("look", LOOKS)
def test_the_page_looks_right(page: Path, look: str) -> None:
    """No complaint of the browser's, nothing beside the screen, nothing that axe finds."""
    complaints: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        shown = browser.new_context(bypass_csp=True, **LOOKS[look]).new_page()
        shown.on("console", lambda each: complaints.append(each.text))
        shown.on("pageerror", lambda each: complaints.append(str(each)))
        shown.goto(page.as_uri())
        if folder := os.environ.get("TWINTIDE_SCREENSHOTS"):
            shown.screenshot(path=Path(folder) / f"report-{look}.png", full_page=True)
        width = shown.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        found = Axe().run(shown).response["violations"]
        browser.close()

    assert complaints == []
    assert width <= 0
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
