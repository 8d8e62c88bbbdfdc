"""The status page in a real browser: looked at, clicked through, judged by axe.

`TWINTIDE_SCREENSHOTS=FOLDER` keeps what it looked like.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from publisher import registry
from tests.console.conftest import hour
from tests.serving import page_line
from tests.serving.conftest import TOKEN, follower_of, pages_of, serving
from twintide import config
from twintide.clock import HeldClock

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no browser: apt-get install chromium"),
]
LOOKS = {
    "desk": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 800}, "color_scheme": "light"},
}
WHY = "clicks per front page fell by half"


@dataclass
class Seen:
    """A page and whatever the browser complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)


Open = Callable[..., AbstractContextManager[Seen]]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five versions, and messages that were rejected."""
    folder = tmp_path_factory.mktemp("line")
    deployment = page_line.make(folder, hours=(30, 52, 59.9), events_per_hour=1_200)
    page_line.reject(deployment, 2, page_line.BAD * 3)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser, line: Path, tmp_path: Path) -> Open:
    """A page of the line at an hour of its stream, after a rollback where a reason is given."""

    @contextmanager
    def open_(
        look: str, *, at: float = page_line.HOURS, rolled_back: str = "", token: str | None = None
    ) -> Iterator[Seen]:
        shutil.copytree(line, tmp_path / "line")
        deployment = config.load(tmp_path / "line" / "twintide.yaml")
        clock = HeldClock(hour(at))
        if rolled_back:
            registry.rollback(deployment.versions_dir, reason=rolled_back, clock=clock)
        follower = follower_of(deployment, clock)
        follower.look()
        pages = pages_of(deployment, follower, clock)
        more: dict[str, Any] = LOOKS[look]
        if token:
            more = more | {"http_credentials": {"username": "me", "password": token}}
        with serving(follower, clock=clock, token=token, pages=pages) as port:
            context = browser.new_context(base_url=f"http://127.0.0.1:{port}", **more)
            seen = Seen(context.new_page())
            seen.page.on("console", lambda each: seen.complaints.append(each.text))
            seen.page.on("pageerror", lambda each: seen.complaints.append(str(each)))
            seen.page.goto("/")
            yield seen
            context.close()

    return open_


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("TWINTIDE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"page-{name}.png", full_page=True)


def is_sound(seen: Seen) -> None:
    """Nothing to complain of, nothing beside the screen, nothing that axe finds."""
    width = seen.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    found = Axe().run(seen.page).response["violations"]

    assert seen.complaints == []
    assert width <= 0
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


@pytest.mark.parametrize("look", LOOKS)
def test_a_live_line_looks_right(opened: Open, look: str) -> None:
    """What is live, five hops, every partition, the drawings, and why messages were rejected."""
    with opened(look) as seen:
        keep(seen.page, f"live-{look}")
        text = seen.page.inner_text("main")
        hops = seen.page.locator(".hops li").all_inner_texts()

        assert seen.page.inner_text("h1").split() == ["LIVE", "v000005"]
        assert [each.split("\n")[1 if each.startswith("+") else 0] for each in hops] == [
            "Clicked",
            "In shards",
            "Learnt",
            "Published",
            "Served here",
        ]
        assert seen.page.locator("#stream tbody tr").count() == page_line.PARTITIONS
        assert seen.page.locator(".knot").count() == 5
        assert seen.page.locator(".point").count() >= 1
        assert "user_id: '<b>seven</b>' is no int64" in text
        is_sound(seen)


@pytest.mark.parametrize("look", LOOKS)
def test_a_lagging_line_looks_wrong(opened: Open, look: str) -> None:
    """Six hours later nothing was heard of: each partition, the hop, and what to type."""
    with opened(look, at=page_line.HOURS + 6) as seen:
        keep(seen.page, f"lag-{look}")

        assert "wrong" in seen.page.inner_text(".verdict h2")
        assert seen.page.locator(".problems code").first.inner_text() == (
            "twintide ingest -c twintide.yaml"
        )
        assert "In shards" in seen.page.inner_text(".hops .late")
        assert seen.page.locator("#stream .bad-row").count() == page_line.PARTITIONS
        is_sound(seen)


@pytest.mark.parametrize("look", LOOKS)
def test_after_a_rollback_the_page_says_from_what_and_why(opened: Open, look: str) -> None:
    """The version that is live again, the hold, the reason, and the mark in the drawing."""
    with opened(look, rolled_back=WHY) as seen:
        keep(seen.page, f"rollback-{look}")

        assert seen.page.inner_text("h1").split() == ["LIVE", "v000004"]
        assert WHY in seen.page.inner_text(".note")
        assert seen.page.locator(".label.rolled-back").count() == 1
        assert seen.page.locator(".changes .rollback").first.inner_text() == "rollback"
        assert "twintide release" in seen.page.inner_text(".problems")
        is_sound(seen)


def test_every_link_leads_somewhere_and_back(opened: Open) -> None:
    """With the token given as a browser does: the parts of the page, each version, home again."""
    with opened("desk", rolled_back=WHY, token=TOKEN) as seen:
        page = seen.page
        for link in page.locator("nav a").all():
            link.click()
            assert page.locator(page.evaluate("location.hash")).is_visible()
        for name in page.locator("#quality tbody a").all_inner_texts():
            page.click(f"#quality tbody a:text-is('{name}')")
            assert name in page.inner_text("h1")
            is_sound(seen)
            page.click("nav a")
        page.click("footer a:has-text('30 s')")
        assert "Loads again every 30 s" in page.inner_text("footer")
        page.click("footer a:has-text('stop')")
        assert page.url.endswith("/")
        assert seen.complaints == []
