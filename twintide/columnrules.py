"""What of events' columns cannot work: their names, where they lie, and what a file calls them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from twintide.columnpath import ColumnPath, paths_of
from twintide.conditions import no_column
from twintide.events import ARROW_TYPES, RESERVED_COLUMNS, EventSchema
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
    """Columns that take one thing of a row for two: whatever it is, one of them is bad."""
    taken: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name, path in lies_at.items():
        for place, kind in path.takes():
            taken[place].setdefault(kind, name)
    for name in declared:
        for place, kind in lies_at[name].takes() if name in lies_at else ():
            others = [other for taken_for, other in taken[place].items() if taken_for != kind]
            if others:
                yield Problem(
                    key(name),
                    f"column {name!r} lies at {str(lies_at[name])!r}, and column {others[0]!r} at "
                    f"{str(lies_at[others[0]])!r}: no row could have both",
                    hint=f"what lies at {'.'.join(place)} is one of a value, an object and a list",
                    reads=(f"events.paths.{others[0]}",),
                )
                break


_LISTS = [kind for kind, arrow_type in ARROW_TYPES.items() if pa.types.is_list(arrow_type)]
