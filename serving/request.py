"""A request for recommendations, and how its values become the columns of one event.

The types are those that the events are declared with, since an id of another type has another key
and would find nothing. What does not fit is refused by name, never guessed.
"""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from twintide.errors import Refused
from twintide.events import EventSchema

MAX_EXCLUDED = 10_000
MAX_RECENT = 10_000

Id = str | int


class RecommendRequest(BaseModel):
    """What `POST /v1/recommend` takes; all but `user_id` may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user_id: Id | None
    """null: an anonymous user. An unknown user is answered from the rest of the request."""

    k: PositiveInt = 100
    """How many items."""

    features: dict[str, Any] = Field(default_factory=dict)
    """Columns of the event that the query tower reads, such as {"region": 3}; others are null."""

    recent: list[Id] | None = Field(default=None, max_length=MAX_RECENT)
    """The items that the user clicked last, the newest one last; without it, what the version
    remembers. Used where the model has a history.
    """

    exclude: list[Id] = Field(default_factory=list, max_length=MAX_EXCLUDED)
    """Items that must not be in the answer."""


def parse_request(body: bytes) -> RecommendRequest:
    """Raises Refused, naming each wrong key."""
    try:
        return RecommendRequest.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise Refused(
            f"the request is not valid: {problems}",
            hint='such as {"user_id": 7, "k": 10}; /openapi.json describes it',
        ) from None


def column_of(values: Sequence[Any], events: EventSchema, column: str, *, what: str) -> pa.Array:
    """The values with the type of an event column. Raises Refused where one does not fit it."""
    kind = events.columns[column]
    fits = _FITS[kind]
    for value in values:
        if value is not None and not fits(value):
            raise Refused(
                f"{what} must be {_WORDS[kind]}, as column {column!r} of the events is; "
                f"it is {str(value)[:80]!r} ({type(value).__name__})",
                hint="`twintide config show` prints the columns of the events",
            )
    return pa.array(values, events.arrow_schema().field(column).type)


def id_from_text(text: str, events: EventSchema, column: str, *, what: str) -> Id:
    """An id that a person typed, with the type of its column. Raises Refused."""
    if events.columns[column] != "int64":
        return text
    try:
        return int(text)
    except ValueError:
        raise Refused(
            f"{what} must be a whole number, as column {column!r} of the events is; it is {text!r}",
            hint="`twintide config show` prints the columns of the events",
        ) from None


def _is_int64(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return (isinstance(value, float) and math.isfinite(value)) or _is_int64(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_list_of_int64(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_int64, value))


_FITS = {
    "string": _is_text,
    "int64": _is_int64,
    "float64": _is_number,
    "bool": _is_bool,
    "timestamp_ms": _is_int64,
    "list<string>": _is_list_of_text,
    "list<int64>": _is_list_of_int64,
}
_WORDS = {
    "string": "a string",
    "int64": "a whole number",
    "float64": "a finite number",
    "bool": "true or false",
    "timestamp_ms": "Unix milliseconds",
    "list<string>": "a list of strings",
    "list<int64>": "a list of whole numbers",
}
