"""A request for recommendations, and how its values become the columns of one event.

The types are those that the events are declared with, since an id of another type has another key
and would find nothing. What does not fit is refused by name, never guessed. Everything has a bound,
and nothing is turned into Python objects before its size is known.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import UNSET, Meta, Struct, UnsetType

from twintide.errors import Refused
from twintide.events import ARROW_TYPES, EventSchema
from twintide.keys import Keys, key_of, keys_of

MAX_EXCLUDED = 10_000
MAX_RECENT = 10_000
MAX_BATCH = 100
"""Requests in one batch."""

MAX_FEATURE_BYTES = 16_384
"""JSON of one feature."""

MAX_TEXT = 1_000
"""Characters of an id or another text: its key is computed eight bytes after the other."""

MAX_FILTER_VALUES = 1_000
"""Of one column."""

Id = int | str
Value = bool | int | str
_K = 100


class RecentItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item that the user did something with, and when."""

    item_id: Id
    at: Annotated[int, Meta(ge=0, le=2**53, description="Unix milliseconds")]


Recent = Annotated[list[Id | RecentItem], Meta(max_length=MAX_RECENT)]


class RecommendRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/recommend` takes; all but `user_id` may be left out."""

    user_id: Annotated[
        Id | None, Meta(description="null: an anonymous user; an unknown one is answered as such")
    ]
    k: (
        Annotated[
            int,
            Meta(ge=1, le=2**31, description="how many items", extra_json_schema={"default": _K}),
        ]
        | UnsetType
    ) = UNSET
    features: Annotated[
        dict[str, msgspec.Raw],
        Meta(description='columns of the event that the query tower reads, such as {"region": 3}'),
    ] = {}
    recent: Annotated[
        Recent | None,
        Meta(
            description="the items that the user clicked last, the newest one last; "
            "without it, what the version remembers. A model that reads how long ago that was "
            "takes an item for clicked just now where it comes without its time: "
            '{"item_id": 17, "at": 1772323200000}'
        ),
    ] = None
    histories: Annotated[
        dict[str, Recent],
        Meta(
            description="the same of other events, by the name of the feature that looks back on "
            'them: {"liked": [17, 4]}'
        ),
    ] = {}
    objectives: Annotated[
        dict[str, Annotated[float, Meta(ge=0)]] | None,
        Meta(
            description='what each objective counts in this answer, such as {"click": 1, "like": '
            "3}; those that are not named count nothing. Without it, as the version declares"
        ),
    ] = None
    filters: Annotated[
        dict[str, Value | Annotated[list[Value], Meta(min_length=1, max_length=MAX_FILTER_VALUES)]],
        Meta(
            max_length=16,
            description="only items that have one of these values of every column named here: "
            '{"category": [3, 7], "in_stock": true}. Columns that publishing.filters declares',
        ),
    ] = {}
    seen: Annotated[
        bool,
        Meta(
            description="false: no item of `recent`, or of a list of `histories` in its place, and "
            "none that the version remembers the user to have clicked"
        ),
    ] = True
    exact: Annotated[
        bool,
        Meta(description="true: compare with every item, as a check; takes longer"),
    ] = False
    explain: Annotated[
        bool,
        Meta(
            description="true: each item with its score by part, and with which items of the "
            "history pulled it; for at most 100 items, and slower"
        ),
    ] = False
    exclude: Annotated[
        list[Id],
        Meta(max_length=MAX_EXCLUDED, description="items that must not be in the answer"),
    ] = []

    def wanted(self, *, max_k: int) -> int:
        """How many items it asks for; where it does not say, no more than a server gives."""
        return min(_K, max_k) if self.k is UNSET else self.k

    @property
    def says_what_is_liked(self) -> bool:
        """Whether it tells of its user what the version may not know."""
        return self.recent is not None or bool(self.histories) or self.objectives is not None

    @property
    def takes_long(self) -> bool:
        """Whether it is to take turns, so that others need not wait for it."""
        return self.exact or self.explain


class Batch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/recommend/batch` takes."""

    requests: Annotated[
        list[msgspec.Raw],
        Meta(
            min_length=1,
            max_length=MAX_BATCH,
            description="each as /v1/recommend takes it; answered in their order",
        ),
    ]


_REQUEST = msgspec.json.Decoder(RecommendRequest)
_BATCH = msgspec.json.Decoder(Batch)
_NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the decoder raises at bytes that are no JSON, no text, or nested without end."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_request(body: bytes) -> RecommendRequest:
    """Raises Refused, naming the first key that is wrong."""
    try:
        request = _REQUEST.decode(body)
        if body.count(b":") > _keys_seen(request):
            json.loads(body, object_pairs_hook=_check_keys, parse_int=str, parse_float=str)
    except _NO_JSON as error:
        problem, _, place = str(error).partition(" - at `$.")
        if problem == "Input data was truncated" and _SURROGATE.search(body):
            problem = "a text holds half a character, a lone surrogate"
        key = place.rstrip("`")
        raise Refused(
            f"the request is not valid: {f'{key}: ' if key else ''}{problem[:200]}",
            hint='such as {"user_id": 7, "k": 10}; /openapi.json describes it',
        ) from None
    return request


def parse_batch(body: bytes) -> list[bytes]:
    """The requests in it, not parsed yet. Raises Refused where there are none, or too many."""
    bodies = _bodies(body)
    if body.count(b":") > 1 + sum(each.count(b":") for each in bodies):  # outside of them, one
        raise Refused("the batch has the key 'requests' twice", hint="give each key at most once")
    return bodies


def _bodies(batch: bytes) -> list[bytes]:
    try:
        return [bytes(each) for each in _BATCH.decode(batch).requests]
    except _NO_JSON as error:
        raise Refused(
            f"the batch is not valid: {str(error)[:200]}",
            hint=f'such as {{"requests": [{{"user_id": 7}}]}}, with at most {MAX_BATCH} of them',
        ) from None


def batch_schema() -> dict[str, Any]:
    """The JSON schema of a batch."""
    each = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_BATCH,
        "items": request_schema(),
        "description": "answered in their order, by one version",
    }
    return {
        "type": "object",
        "required": ["requests"],
        "properties": {"requests": each},
        "additionalProperties": False,
    }


def _keys_seen(request: RecommendRequest) -> int:
    """No fewer colons are in the JSON: where there are no more, no key was given twice."""
    given = (
        request.k is not UNSET,
        request.features,
        request.recent is not None,
        request.histories,
        request.objectives is not None,
        request.exclude,
        request.filters,
        not request.seen,
        request.exact,
        request.explain,
    )
    objects = (request.filters, request.features, request.histories, request.objectives or ())
    return 1 + sum(map(bool, given)) + sum(map(len, objects))


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    """The decoder takes the last of two, which need not be what a proxy before it saw."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise Refused(
                f"the request has the key {name[:80]!r} twice", hint="give each key at most once"
            )
        seen.add(name)


def request_schema() -> dict[str, Any]:
    """The JSON schema of a request."""
    (found,), components = msgspec.json.schema_components(
        [RecommendRequest], ref_template="#/{name}"
    )
    schema: dict[str, Any] = _inlined(found, components)
    return schema


def _inlined(part: Any, components: dict[str, Any]) -> Any:
    """With what is referred to in its place: the schema stands alone."""
    if isinstance(part, list):
        return [_inlined(each, components) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(components[part["$ref"].removeprefix("#/")], components)
    return {key: _inlined(value, components) for key, value in part.items()}


def ids_of(values: Sequence[Id | None], events: EventSchema, column: str, *, what: str) -> pa.Array:
    """Ids with the type of their event column. Raises Refused where one does not fit it."""
    kind = events.columns[column]
    fits = int if kind == "int64" else str
    if not set(map(type, values)) <= {fits, type(None)}:
        wrong = next(value for value in values if not isinstance(value, fits | None))
        raise _misfit(what, kind, column, f"{str(wrong)[:80]!r} ({type(wrong).__name__})")
    if fits is str:
        _check_texts(values, what)
    try:
        return pa.array(values, ARROW_TYPES[kind])
    except (pa.ArrowException, OverflowError, UnicodeError):
        raise _misfit(what, kind, column, "out of range") from None


def plain_ids(items: Sequence[Id | RecentItem]) -> list[Id]:
    """The ids of items with or without their times."""
    return [each.item_id if isinstance(each, RecentItem) else each for each in items]


def keys_of_ids(
    values: Sequence[Id | None], events: EventSchema, column: str, *, what: str
) -> Keys:
    """The keys of ids, which have the type of their event column. Raises Refused where one does
    not fit it.
    """
    if len(values) > _FEW:
        return keys_of(ids_of(values, events, column, what=what))
    kind = events.columns[column]
    fits = int if kind == "int64" else str
    try:
        if set(map(type, values)) <= {fits, type(None)}:
            if fits is str:
                _check_texts(values, what)
            return np.array(list(map(key_of, values)), np.uint64)
    except (OverflowError, UnicodeError):
        pass
    return keys_of(ids_of(values, events, column, what=what))  # which says what is wrong


_FEW = 32
"""Arrow costs as much as so many ids one by one."""


def feature_of(raw: bytes | None, events: EventSchema, column: str) -> pa.Array:
    """A feature of a request as a column of one row; null where it is not given. Raises Refused
    where it does not fit the column.
    """
    kind, what = events.columns[column], f"features.{column}"
    value = None if raw is None else _decoded(raw, kind, column)
    if isinstance(value, str | list):
        _check_texts([value] if isinstance(value, str) else value, what)
    try:
        return pa.array([value], ARROW_TYPES[kind])
    except (pa.ArrowException, OverflowError, UnicodeError):
        raise _misfit(what, kind, column, "out of range") from None


def id_from_text(text: str, events: EventSchema, column: str, *, what: str) -> Id:
    """An id that a person typed, with the type of its column. Raises Refused."""
    if events.columns[column] != "int64":
        return text
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or not -(2**63) <= number < 2**63:
        raise _misfit(what, "int64", column, repr(text[:80]))
    return number


_INTEGER = re.compile(r"-?[0-9]{1,19}")


def _decoded(raw: bytes, kind: str, column: str) -> Any:
    what = f"features.{column}"
    if len(raw) > MAX_FEATURE_BYTES:
        raise Refused(
            f"{what} has {len(raw):,} bytes; {MAX_FEATURE_BYTES:,} is the most",
            hint="give fewer or shorter values",
        )
    try:
        value = msgspec.json.decode(raw, type=_TYPES[kind])
    except _NO_JSON:
        seen = raw[:80].decode(errors="replace")
        raise _misfit(what, kind, column, seen) from None
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(each, float) and not math.isfinite(each) for each in numbers):
        raise _misfit(what, kind, column, "not finite")
    return value


def _check_texts(values: Sequence[Any], what: str) -> None:
    longest = max((len(value) for value in values if isinstance(value, str)), default=0)
    if longest > MAX_TEXT:
        raise Refused(
            f"{what} has {longest:,} characters; {MAX_TEXT:,} is the most",
            hint="no id is that long",
        )


def _misfit(what: str, kind: str, column: str, seen: str) -> Refused:
    return Refused(
        f"{what} must be {_WORDS[kind]}, as column {column!r} of the events is; it is {seen}",
        hint="`twintide config show` prints the columns of the events",
    )


_TYPES: dict[str, Any] = {
    "string": str | None,
    "int64": int | None,
    "float64": float | None,
    "bool": bool | None,
    "timestamp_ms": int | None,
    "list<string>": list[str | None] | None,
    "list<int64>": list[int | None] | None,
    "list<float64>": list[float | None] | None,
}
_WORDS = {
    "string": "a string",
    "int64": "a whole number",
    "float64": "a finite number",
    "bool": "true or false",
    "timestamp_ms": "Unix milliseconds",
    "list<string>": "a list of strings",
    "list<int64>": "a list of whole numbers",
    "list<float64>": "a list of finite numbers",
}
