"""What of events' columns cannot work: their names, where they lie, and what a file calls them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING

from twintide.columnpath import ColumnPath, paths_of
from twintide.conditions import no_column
from twintide.events import RESERVED_COLUMNS, EventSchema
from twintide.problems import Problem

if TYPE_CHECKING:
    from twintide.config import DataFileConfig

Problems = Iterator[Problem]

_HINT = "names with dots between: user.id; or topics[].name, of each object of a list"


def names(events: EventSchema) -> Problems:
    """Each has one, and one that shards do not use themselves."""
    for name in events.columns:
        if name in RESERVED_COLUMNS:
            yield Problem(
                f"events.columns.{name}", "is a name that the shards use for where a message lay"
            )
        elif not name.strip():
            yield Problem("events.columns", "one column has no name")


def paths(events: EventSchema) -> Problems:
    """Each path is one, of a column that is there and can hold what lies at its end."""
    wrong = False
    for name, text in events.paths.items():
        key, kind = f"events.paths.{name}", events.columns.get(name)
        try:
            path = ColumnPath.of(text)
        except ValueError as error:
            wrong = True
            yield Problem(key, f"{text!r} {error}", _HINT)
            continue
        if kind is None:
            yield no_column(key, name, events)
        elif path.is_in_list and not kind.startswith("list"):
            yield Problem(
                key,
                f"{text!r} is a list of values, one for each object, and column {name!r} is {kind}",
                hint=f"declare it as list<{kind}>"
                if f"list<{kind}>" in _LISTS
                else f"it is one of {', '.join(_LISTS)}",
                reads=(f"events.columns.{name}",),
            )
    if not wrong:
        yield from _meeting(paths_of(events), lambda name: f"events.paths.{name}", events.paths)


def of_file(events: EventSchema, data_file: "DataFileConfig") -> Problems:
    """What a file calls columns that are there, of which none holds another."""
    for name in data_file.columns:
        if name not in events.columns:
            yield no_column(f"data_file.columns.{name}", name, events)
    if not any(paths(events)):
        yield from _meeting(
            paths_of(events, data_file.columns),
            lambda name: f"data_file.columns.{name}",
            data_file.columns,
        )


def _meeting(
    lies_at: Mapping[str, ColumnPath], key: Callable[[str], str], declared: Iterable[str]
) -> Problems:
    """Two columns of which one lies within the other: whatever a row has there, one is bad."""
    for name, other in product(declared, lies_at):
        if name not in lies_at:
            continue
        mine, others = lies_at[name], lies_at[other]
        if mine.meets(others) or others.meets(mine):
            yield Problem(
                key(name),
                f"column {name!r} lies at {str(mine)!r}, and column {other!r} at {str(others)!r}: "
                "no row could have both",
                hint="what one takes for a value, or for one object, is to the other an object, or "
                "a list: mend one, or leave it out",
                reads=(f"events.paths.{other}",),
            )


_LISTS = ("list<string>", "list<int64>", "list<float64>")
