"""The pages: their paths, their headers, and the templates that write them.

Templates escape whatever they are given. The headers let a browser load nothing but the style and
the icon of this server, run no script, and show the page in no frame.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving.follower import Standing
from serving.page.drawing import MARKS, standing_of
from serving.page.looks import Looks
from serving.page.snapshot import Snapshot
from serving.page.view import age, changes_of, gate_rows, instant, view_of
from twintide import __version__
from twintide.clock import Clock
from twintide.errors import TwintideError
from twintide.overview.versions import VersionRow

HERE = Path(__file__).parent
REFRESH_SECONDS = (10, 30, 60)
"""How often a reader may let the page load itself again."""

SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATIC = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


class Pages:
    """What is asked for by a browser."""

    def __init__(
        self, look: Callable[[], Snapshot], standing: Callable[[], Standing], *, clock: Clock
    ) -> None:
        self._looks = Looks(look, clock=clock)
        self._standing = standing
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page")
        self._kept: tuple[tuple[Snapshot, Standing, int | None], str] | None = None
        """The page that was written last, and of what."""

        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["instant"] = instant
        self._templates.filters["thousands"] = lambda number: f"{number:,}"
        self._templates.globals |= {"age": age, "standing": standing_of, "marks": MARKS}
        self._templates.globals["program"] = __version__

    def add_to(self, app: FastAPI) -> None:
        """Answer at `/` and below `/page/`."""
        app.add_api_route("/", self.overview, include_in_schema=False)
        app.add_api_route("/page/versions/{name}", self.version, include_in_schema=False)
        app.add_api_route("/page/{name}", self.static, include_in_schema=False)

    async def overview(self, request: Request) -> Response:
        """The one page that says how everything stands."""
        try:
            snapshot = await self._looks.newest()
        except TwintideError as error:
            return self._page("failed.html", status=503, error=error)
        every = request.query_params.get("refresh", "")
        refresh = int(every) if every in map(str, REFRESH_SECONDS) else None
        text = await self._written(snapshot, refresh)
        answer = _html(text)
        if refresh:
            answer.headers["Refresh"] = str(refresh)
        return answer

    async def _written(self, snapshot: Snapshot, refresh: int | None) -> str:
        """The page of a look, once for all who ask for it; in a thread, as it takes as long as
        twenty answers.
        """
        said = (snapshot, self._standing(), refresh)
        if self._kept is None or any(a is not b for a, b in zip(self._kept[0], said, strict=True)):
            loop = asyncio.get_running_loop()
            self._kept = said, await loop.run_in_executor(self._thread, self._write, *said)
        return self._kept[1]

    def _write(self, snapshot: Snapshot, standing: Standing, refresh: int | None) -> str:
        view = view_of(snapshot, standing)
        return self._text("overview.html", view=view, refresh=refresh, choices=REFRESH_SECONDS)

    async def version(self, name: str) -> Response:
        """What is known of one version."""
        try:
            snapshot = await self._looks.newest()
        except TwintideError as error:
            return self._page("failed.html", status=503, error=error)
        row = next((each for each in snapshot.seen.versions if each.name == name), None)
        if row is None:
            return self._page("missing.html", status=404, name=name)
        return self._page("version.html", **_of_version(snapshot, row))

    async def static(self, name: str) -> Response:
        """The style and the icon."""
        if name not in STATIC:
            return self._page("missing.html", status=404, name=name)
        headers = SAFE | {"Cache-Control": "max-age=300"}
        return Response((HERE / name).read_bytes(), media_type=STATIC[name], headers=headers)

    def _page(self, template: str, *, status: int = 200, **said: Any) -> Response:
        return _html(self._text(template, **said), status=status)

    def _text(self, template: str, **said: Any) -> str:
        return self._templates.get_template(template).render(said)


def _html(text: str, *, status: int = 200) -> Response:
    headers = SAFE | {"Cache-Control": "no-store"}
    return Response(text, status, media_type="text/html; charset=utf-8", headers=headers)


def _of_version(snapshot: Snapshot, row: VersionRow) -> dict[str, Any]:
    made = {each.name: each for each in snapshot.checkpoints}
    changes = changes_of(row.name, snapshot.state.history)
    return {
        "row": row,
        "seen": snapshot.seen,
        "checkpoint": made.get(row.checkpoint),
        "changes": changes[::-1],
        "gate": row.gate,
        "figures": gate_rows(row.gate.model_dump(mode="json")) if row.gate else [],
        "once_live": frozenset({row.name} if changes else ()),
    }
