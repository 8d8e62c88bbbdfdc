"""How results reach a person or a script: one object with a text and a JSON form.

Results go to standard output, progress and errors to standard error, so that `--json` can be piped.
On a terminal progress is a bar; elsewhere it is a line now and then.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from twintide.clock import iso

Update = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and a few words."""

_WIDTH_OF_A_FILE = 120
_ANY_WIDTH = 10_000
_SHARE_OF_A_LINE = 0.1


def say(result: Any, text: RenderableType | Iterable[RenderableType], *, as_json: bool) -> None:
    """Print a result: as JSON, or as text for a person."""
    if as_json:
        print(json_text(result))  # noqa: T201  byte for byte, whatever the terminal is
        return
    out = stdout()
    for part in [text] if isinstance(text, str) or not isinstance(text, Iterable) else text:
        out.print(part, soft_wrap=isinstance(part, str | Text))


def json_text(result: Any) -> str:
    """The JSON form; where the output cannot hold every letter, escaped."""
    narrow = not (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
    return json.dumps(plain(result), indent=1, ensure_ascii=narrow)


def plain(value: Any) -> Any:
    """What JSON can say: records and dataclasses as objects, instants in UTC, paths as text."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return iso(value)
    return str(value) if isinstance(value, Path | date) else value


@dataclass(frozen=True)
class Listing:
    """A table for a person. Where the terminal is too narrow for it, each row is a block of lines:
    nothing is cut off.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        grid = self._grid()
        wide = options.update(width=_ANY_WIDTH)
        if Measurement.get(console, wide, grid).maximum <= options.max_width:
            if self.title:
                yield Text(self.title)
            yield grid
        else:
            yield from self._blocks()

    def _grid(self) -> Table:
        made = Table(
            header_style="bold",
            show_header=any(self.columns),
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )
        for name in self.columns:
            right = "right" if name.startswith("#") else "left"
            made.add_column(name.lstrip("#"), justify=right, no_wrap=True)  # type: ignore[arg-type]
        for row in self.rows:
            made.add_row(*[Text(_cell(cell)) for cell in row])
        return made

    def _blocks(self) -> Iterator[Text]:
        if self.title:
            yield Text(self.title)
        names = [name.lstrip("#") for name in self.columns]
        for row in self.rows:
            yield Text(f"{names[0]} {_cell(row[0])}".strip(), style="bold")
            for name, cell in zip(names[1:], row[1:], strict=True):
                if shown := _cell(cell):
                    yield Text(f"  {name}: {shown}" if name else f"  {shown}")


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Listing:
    """A table for a person. A column whose name begins with a # holds numbers, to the right."""
    return Listing(title, columns, list(rows))


def heading(words: str, more: str = "", *, style: str = "bold") -> Text:
    """The head of a part, with an empty line before it."""
    return Text.assemble("\n", (words, style), "  " if more else "", more)


def command(words: str, why: str = "") -> Text:
    """Something to type, and what it is good for."""
    return Text.assemble((words, "cyan"), "  " if why else "", (why, "dim"))


@contextmanager
def progress(what: str) -> Iterator[Update]:
    """Show how far a long deed has come."""
    err = stderr()
    if not err.is_terminal:
        yield _lines(err, what)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[words]}", style="dim", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None, words="")

        def update(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total or None, words=words)

        yield update


@contextmanager
def waiting(words: str) -> Iterator[Callable[[str], None]]:
    """Show that something is at work, and on a terminal at what; call it with other words."""
    with stderr().status(Text(words)) as status:
        yield lambda now: status.update(Text(now))


def _lines(err: Console, what: str) -> Update:
    """A line at each tenth of the way; a deed that begins anew, as the next night, counts anew."""
    said = [-1]

    def update(done: int, total: int, words: str) -> None:
        tenths = int(done / total / _SHARE_OF_A_LINE) if total else 0
        if tenths != said[0]:
            said[0] = tenths
            err.print(f"{what}: {10 * tenths} % {words}".rstrip(), soft_wrap=True)

    return update


def stdout() -> Console:
    """Where results go."""
    return _console(stderr=False)


def stderr() -> Console:
    """Where progress and errors go."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    """One that takes every text as it is: a [red] or :bug: in it is the user's own."""
    words: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    console = Console(stderr=stderr, **words)
    if console.is_terminal:
        return console
    return Console(stderr=stderr, width=_WIDTH_OF_A_FILE, **words)


def number(value: float | None, digits: int = 3) -> str:
    """0.123, or a dash where there is nothing to say."""
    return "–" if value is None else f"{value:.{digits}f}"


def instant(at: datetime | None) -> str:
    """2026-01-05 04:00 UTC to the minute, or a dash."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M}"
