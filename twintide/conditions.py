"""What cannot be in a condition on events: `events.positive`, an objective's positives, a scenario.

Pure rules, as those of twintide.declaration, which asks them.
"""

from collections.abc import Callable, Iterator

from twintide.events import Condition, EventSchema, Value
from twintide.problems import Problem

AMOUNTS = ("int64", "float64")
"""Column types of which one value may be more than another."""


def no_column(key: str, column: str, events: EventSchema) -> Problem:
    """That a key names a column that events do not have."""
    return Problem(
        key,
        f"events have no column {column!r}; they have {', '.join(sorted(events.columns))}",
        reads=(f"events.columns.{column}",),
    )


def fits(key: str, condition: Condition, events: EventSchema) -> Iterator[Problem]:
    """Each value must be one that the column can hold."""
    column = condition.column
    kind = events.columns.get(column)
    if kind is None:
        yield no_column(f"{key}.column", column, events)
        return
    reads = (f"events.columns.{column}", f"{key}.column")
    if condition.at_least is not None:
        if kind not in AMOUNTS:
            yield Problem(
                f"{key}.at_least",
                f"column {column!r} is {kind}, which is never more or less",
                hint=f"take a column that is {' or '.join(AMOUNTS)}, or say equals",
                reads=reads,
            )
        return
    if kind not in _HOLDS:
        yield Problem(
            f"{key}.column",
            f"column {column!r} is {kind}, which no value can be compared with",
            hint=f"take a column that is {', '.join(_HOLDS)}",
            reads=reads,
        )
        return
    if not condition.values():
        yield Problem(f"{key}.equals", "is an empty list, so that no event would be meant")
    for value in condition.values():
        if not _HOLDS[kind](value):
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            yield Problem(
                f"{key}.equals",
                f"{shown} is no value of column {column!r}, which is {kind}",
                hint=_SUCH_AS[kind],
                reads=reads,
            )


def not_of_exposures(key: str, positive: Condition, events: EventSchema) -> Iterator[Problem]:
    """What was merely shown is no positive: its items would also be negatives of other rows, which
    they must never be.
    """
    if _names_exposures(positive) or _denies_clicks(positive, events):
        yield Problem(
            key,
            f"{positive}: that is what was shown, not what was chosen. An item that was shown and "
            "not clicked is never learnt: as a positive it teaches what retrieval did itself, and "
            "in a batch it is a negative of others, where whatever retrieval showed was a very "
            "good match already; it is data for the ranking model",
            hint="name what users did: a click, a like, a purchase, seconds watched",
            reads=(f"{key}.column", "events.positive"),
        )


def _names_exposures(positive: Condition) -> bool:
    names = [value for value in positive.values() if isinstance(value, str)]
    if positive.at_least is not None or not _says_no(positive):
        names.append(positive.column)
    return any(name.lower() in _EXPOSURES for name in names)


def _denies_clicks(positive: Condition, events: EventSchema) -> bool:
    """Whether it is what a click is not."""
    clicked = {"click", "clicked"}
    if events.positive is not None and events.positive != positive:
        clicked |= set() if _says_no(events.positive) else {events.positive.column}
    return positive.column in clicked and _says_no(positive)


def _says_no(condition: Condition) -> bool:
    if condition.at_least is not None:
        return False
    return any(str(value).lower() in {"false", "no", "0", "0.0"} for value in condition.values())


_EXPOSURES = frozenset(
    {"exposed", "exposure", "exposures", "impression", "impressions", "shown", "show", "displayed"}
    | {"not_clicked", "not clicked", "no_click", "unclicked", "not-clicked"}
)


def _is_whole(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_HOLDS: dict[str, Callable[[Value], bool]] = {
    "string": lambda value: isinstance(value, str),
    "int64": _is_whole,
    "float64": lambda value: _is_whole(value) or isinstance(value, float),
    "bool": lambda value: isinstance(value, bool),
}
"""Column types that a condition can be told by, and which values they hold."""

_SUCH_AS = {
    "string": "such as equals: click, or equals: 'yes'",
    "int64": "such as equals: 1",
    "float64": "such as equals: 4.5",
    "bool": "equals: true or equals: false",
}
