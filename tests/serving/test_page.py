"""The status page over HTTP, without a browser: what it says, to whom, and what it costs others."""

import base64
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from serving.page.pages import Pages
from serving.page.snapshot import Looker, Snapshot
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import TOKEN, Client, follower_of, pages_of, serving
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.overview.versions import list_versions
from twintide.versions import STATE

HOSTILE = "<script>alert('a & b')</script>"
Serve = Callable[..., AbstractContextManager[int]]


@pytest.fixture
def serve(clock: HeldClock) -> Serve:
    """A server with pages of a deployment, which has looked once."""

    def start(deployment: Deployment, **more: Any) -> AbstractContextManager[int]:
        follower = follower_of(deployment, clock)
        follower.look()
        pages = pages_of(deployment, follower, clock)
        return serving(follower, clock=clock, **({"pages": pages} | more))

    return start


def page(port: int, path: str = "/", **headers: str) -> tuple[int, str]:
    with Client(port) as client:
        status, body = client.ask("GET", path, None, **headers)
    return status, body.decode()


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.promise("X5")
def test_the_page_says_what_is_live_and_changes_nothing(
    two_versions: Deployment, serve: Serve
) -> None:
    """With no shard on this machine that is said too, and a version has a page of its own."""
    before = files_of(two_versions.data_dir)
    with serve(two_versions) as port:
        status, text = page(port)
        of_version = page(port, "/page/versions/v000001")
        missing = page(port, "/page/versions/v000009")

    assert (status, of_version[0], missing[0]) == (200, 200, 404)
    assert "v000002" in text
    assert "hourly-000002" in text
    assert "The shards are on another machine" in text
    assert "is the ingest daemon running" not in text
    assert "hourly-000001" in of_version[1]
    assert files_of(two_versions.data_dir) == before


def test_before_anything_has_come_the_page_says_so(deployment: Deployment, serve: Serve) -> None:
    """No folder at all: what to type is there, and no error."""
    with serve(deployment) as port:
        status, text = page(port)

    assert status == 200
    assert "Nothing yet" in text
    assert "twintide ingest -c twintide.yaml" in text


@pytest.mark.parametrize("damaged", ["versions/v000001/manifest.json", f"versions/{STATE}"])
def test_what_is_damaged_is_said_and_hides_nothing_else(
    two_versions: Deployment, serve: Serve, damaged: str
) -> None:
    """The page stands, and names the file or the version."""
    (two_versions.data_dir / damaged).write_bytes(b"{")
    with serve(two_versions) as port:
        status, text = page(port)

    assert status == 200
    assert "is wrong" in text or "are wrong" in text
    assert "damaged" in text or STATE in text
    assert "hourly-000002" in text or "hourly" in text


def test_a_pinned_version_is_shown_as_what_it_is(
    two_versions: Deployment, serve: Serve, clock: HeldClock
) -> None:
    """Live, previous or neither: a pin takes nothing of it away."""
    root = two_versions.versions_dir
    for name in ("v000001", "v000002"):
        registry.pin(root, name, reason="kept", clock=clock)

    with serve(two_versions) as port:
        status, shown = page(port)

    assert (status, "previous" in shown) == (200, True)
    assert [row.state for row in list_versions(two_versions)] == ["previous", "live"]
    assert all(row.standing().endswith(", pinned") for row in list_versions(two_versions))


def test_every_text_is_escaped(two_versions: Deployment, serve: Serve, clock: HeldClock) -> None:
    """A reason of an operator is shown as it was typed, and is no part of the page."""
    registry.rollback(two_versions.versions_dir, reason=HOSTILE, clock=clock)
    with serve(two_versions) as port:
        _, text = page(port)
        _, of_version = page(port, "/page/versions/v000001")
        _, missing = page(port, "/page/versions/%3Cscript%3E")

    for each in (text, of_version, missing):
        assert "<script" not in each
    assert "&lt;script&gt;alert(" in text
    assert "&lt;script&gt;alert(" in of_version


def test_a_browser_may_load_nothing_from_elsewhere(two_versions: Deployment, serve: Serve) -> None:
    """No script at all, no frame, style and icon from here; and nothing of it is kept."""
    with serve(two_versions) as port, Client(port) as client:
        client.ask("GET", "/")
        client._connection.request("GET", "/")
        answer = client._connection.getresponse()
        text = answer.read().decode()
        policy = answer.headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert "http" not in text.replace("http-equiv", "")
    assert " style=" not in text


@pytest.mark.promise("X5")
def test_a_browser_gives_the_token_for_the_password_and_only_for_pages(
    two_versions: Deployment, serve: Serve
) -> None:
    """Without it no page, no style; with it no answer but pages, since browsers send it unasked."""
    right = {"Authorization": "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()}
    wrong = {"Authorization": "Basic " + base64.b64encode(b"me:no").decode()}
    broken = {"Authorization": "Basic ?"}
    pages = ("/", "/page/style.css", "/page/versions/v000001")
    with serve(two_versions, token=TOKEN) as port:
        assert [page(port, path, **right)[0] for path in pages] == [200] * 3
        for headers in (wrong, broken, {}):
            assert [page(port, path, **headers)[0] for path in pages] == [401] * 3
        assert page(port, "/v1/version", **right)[0] == 401
        assert page(port, "/", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_slow_look_keeps_nobody_else_waiting(
    two_versions: Deployment, serve: Serve, clock: HeldClock
) -> None:
    """While the page waits for a disk, recommendations are answered; many pages, one look."""
    began, may_end, looks = threading.Event(), threading.Event(), []
    looker = Looker(two_versions, Path("twintide.yaml"), clock=clock)

    def look() -> Snapshot:
        looks.append(1)
        began.set()
        may_end.wait(20)
        return looker.look()

    follower = follower_of(two_versions, clock)
    follower.look()
    pages = Pages(look, lambda: follower.standing, clock=clock)
    with serving(follower, clock=clock, pages=pages) as port:
        threads = [threading.Thread(target=page, args=(port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        began.wait(20)
        with Client(port) as client:
            assert client.recommend(user_id=7, k=3)[0] == 200
        may_end.set()
        for thread in threads:
            thread.join()
        assert page(port)[0] == 200
        assert len(looks) == 1
        clock.advance(6)
        assert page(port)[0] == 200
        assert len(looks) == 2


def test_it_loads_itself_again_only_where_asked(two_versions: Deployment, serve: Serve) -> None:
    """At one of the offered paces, which the page offers to stop."""
    with serve(two_versions) as port:
        assert '<a href="/?refresh=30">' in page(port)[1]
        assert '<a href="/">stop</a>' in page(port, "/?refresh=30")[1]
        assert '<a href="/">stop</a>' not in page(port, "/?refresh=1")[1]


def test_a_checkpoint_that_is_gone_is_no_trouble(deployment: Deployment, serve: Serve) -> None:
    """The drawing begins where the folders do: a parent that gc took is not drawn."""
    made.add_checkpoint(deployment, 7, parent="hourly-000006", base="nightly-000002")
    with serve(deployment) as port:
        status, text = page(port)

    assert status == 200
    assert "began with hourly-000006" in text
