"""Lists of messages that nobody would think of, against a plain reader of one message at a time."""

import json
import math
import os
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tests.streaming.line import EVENTS, NOON_MS
from twintide.events import EventSchema
from twintide.jsonrows import parse

SCHEMA = EventSchema.model_validate(EVENTS)
PATHS = {
    "user": "user.id",
    "item": "what.item",
    "price": "what.price.amount",
    "liked": "what.liked",
    "tags": "topics[].name",
    "codes": "topics[].code",
}
NESTED = SCHEMA.model_copy(update={"paths": PATHS})
SEED = int(os.environ.get("TWINTIDE_SEED", "1"))

# The plain reader: one message, one value at a time, with nothing but the standard library.


class BadError(Exception):
    """The rule does not read this."""


def read_one(message: bytes, schema: EventSchema = SCHEMA) -> dict[str, Any] | None:
    """The row of one message, or None where it is rejected."""
    text = message.decode(errors="surrogateescape")

    def pairs_of(pairs: list[tuple[str, Any]]) -> tuple[Any, ...]:
        return tuple(pairs)

    def no_constant(name: str) -> None:
        raise BadError(name)

    try:
        if len(text) > 1000 and depth_of(text) > 500:
            return None
        pairs = json.loads(text, object_pairs_hook=pairs_of, parse_constant=no_constant)
        if not isinstance(pairs, tuple) or has_lone_surrogate(message):
            return None
        row = {
            name: value_of(lies_at(schema.paths.get(name, name), pairs), kind)
            for name, kind in schema.columns.items()
        }
    except (ValueError, BadError):
        return None
    return None if row["item"] is None or row["at"] is None else row


def lies_at(path: str, value: Any) -> Any:
    """What an object, which is a tuple of pairs, has there."""
    if not isinstance(value, tuple):
        return None if value is None else bad()
    first, dot, rest = path.partition(".")
    found = [each for name, each in value if name == first.removesuffix("[]")]
    if len(found) > 1:
        raise BadError
    if not dot or not found or found[0] is None:
        return found[0] if found else None
    if not first.endswith("[]"):
        return lies_at(rest, found[0])
    return [lies_at(rest, each) for each in found[0]] if isinstance(found[0], list) else bad()


def depth_of(text: str) -> int:
    depth = deepest = 0
    for found in re.findall(r'"(?:[^"\\]|\\.)*"|[\[{}\]]', text, re.DOTALL):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found, 0)
        deepest = max(deepest, depth)
    return deepest


def has_lone_surrogate(message: bytes) -> bool:
    """Whether a string holds half of a pair, which no UTF-8 can say."""
    everything = json.loads(message.decode(errors="replace"), object_pairs_hook=list)
    try:
        json.dumps(everything, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def value_of(value: Any, kind: str) -> Any:
    if isinstance(value, str):
        value.encode()  # raises where bytes were no UTF-8
        if not value or value.isspace():
            return None
    if value is None:
        return None
    if kind.startswith("list"):
        return list_of(value, kind.removeprefix("list<").removesuffix(">"))
    return {"string": text_of, "int64": int_of, "float64": float_of, "bool": bool_of}.get(
        kind, time_of
    )(value)


def text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(whole(value))


def whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadError
    if isinstance(value, float) and not (abs(value) < 2**53 and value.is_integer()):
        raise BadError
    return int(value)


def int_of(value: Any) -> int | None:
    if isinstance(value, str):
        if value.strip().lower() in {"nan", "+nan"}:
            return None if value.strip().lower() == "nan" else bad()
        if not re.fullmatch(r"[+-]?[0-9]+(\.0*)?", value.strip()):
            raise BadError
        number = int(value.strip().partition(".")[0])
    else:
        number = whole(value)
    return number if -(2**63) <= number < 2**63 else bad()


def bad() -> Any:
    raise BadError


def float_of(value: Any) -> float | None:
    if isinstance(value, str):
        if value.strip().lower() == "nan":
            return None
        if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", value.strip()):
            raise BadError
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise BadError
    number = float(value) if not isinstance(value, int) else float(str(value))
    return number if math.isfinite(number) else bad()


def bool_of(value: Any) -> bool:
    word = str(value).strip().lower() if isinstance(value, str) else value
    if isinstance(value, str | bool | int | float):
        if word in {"true", "t", "yes", "y", "1", "1.0", 1}:
            return True
        if word in {"false", "f", "no", "n", "0", "0.0", 0}:
            return False
    raise BadError


def time_of(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadError
    if not isinstance(value, str):
        ms = (
            value
            if isinstance(value, int)
            else round(value * 1000) // 1000
            if math.isfinite(value)
            else bad()
        )
        return ms if value >= 31_536_000_000 and ms < 4_102_444_800_000 else bad()
    text = value.strip()
    if text.lower() == "nan":
        return None
    if re.fullmatch(r"\+?[0-9]+\.[0-9]*", text):
        return time_of(float(text))
    if re.fullmatch(r"\+?[0-9]{1,19}", text):
        return time_of(int(text))
    return iso_of(text)


def iso_of(text: str) -> int:
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
        r" ?(?:([Zz]|UTC|GMT)|([+-])(\d\d)(?::?(\d\d))?)?)?",
        text,
        re.ASCII,
    )
    if found is None:
        raise BadError
    day, minute, second, fraction, _, sign, hours, minutes = found.groups()
    at = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}").replace(tzinfo=UTC)
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise BadError
    at = at - ahead if sign == "+" else at + ahead
    ms = int(at.timestamp()) * 1000 + int(((fraction or "") + "000")[:3])
    return ms if 0 <= ms < 4_102_444_800_000 else bad()


def list_of(value: Any, kind: str) -> list[Any]:
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            value = json.loads(value)
        else:
            value = [part.strip() for part in value.split(",")]
            if not all(value):
                raise BadError
    if not isinstance(value, list):
        raise BadError
    return [value_of(part, kind) for part in value]


# Messages.

TEXTS = [
    "u1",
    "",
    " ",
    "\t\n",
    "12",
    "12.0",
    "-0",
    "+7",
    "0012",
    "nan",
    "NA",
    "null",
    "é",
    "日本",
    "\x00",
    "a,b",
    "a,,b",
    "[1,2]",
    '["a",null]',
    "[",
    "{}",
    "}\n{",
    '"',
    "\\",
    "true",
    "F",
    "yes",
    "1e3",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1.5",
    ".5",
    "5.",
    "1,5",
    "2023-11-15T12:00:00Z",
    "2023-11-15 12:00:00.123456+05:30",
    "2023-11-15",
    "2023-02-30",
    "2023-11-15T12:00:60Z",
    "20231115",
    "1700049600",
    "1700049600000",
    "1700049600000.7",
    "1.7e12",
    "1969-12-31",
    "2099-12-31T23:59:59-01:00",
    "\u2003",
    "\x1c",
    "Infinity",
    "u" * 40,
]
NUMBERS = [
    0,
    1,
    -1,
    2,
    7,
    12,
    1.0,
    12.0,
    -0.0,
    0.5,
    1e3,
    1e300,
    5e-324,
    2**53,
    2**53 + 1,
    float(2**53),
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64,
    10**19,
    10**30,
    NOON_MS,
    NOON_MS + 0.5,
    NOON_MS // 1000,
    NOON_MS * 1000,
    NOON_MS * 1_000_000,
    NOON_MS / 1000,
    -NOON_MS,
    31_535_999_999,
    31_536_000_000,
    4_102_444_799_999,
    4_102_444_800_000,
    4_102_444_799_999.9,
]
OTHERS: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [None],
    [1, None],
    ["a", None],
    [[1]],
    [{}],
    {"a": [1]},
    [1, "b"],
    [1.0],
    [True],
    [""],
    ["1"],
]
VALUES: list[list[Any]] = [list(TEXTS), list(NUMBERS), OTHERS]
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\n",
    b"}\n{",
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"item":',
    b'"item":"x",',
    b'"at":0,',
    b'"x":{',
    b'"x":[',
    b"\\ud800",
    b"\\ude00",
    b"\\u0000",
    b"/*",
    b"*/",
    b"//",
    b"'",
    b"0",
    b"-",
    b".",
    b"e5",
    b" ",
    b"\r",
    b"{}",
    b"[]",
    b"true",
    b"\xed\xa0\x80",
    b"\\",
    b'\\"',
    b"\x1f",
    b"\x7f",
    b"\xc3",
    b'"\\u0069tem":"y",',
]


def some_message(chance: random.Random, number: int) -> bytes:
    good = {"id": number, "user": f"u{number}", "item": f"i{number}", "at": NOON_MS + number}
    fields: dict[str, Any] = {
        **good,
        "price": number / 2,
        "liked": True,
        "tags": ["a"],
        "codes": [1],
    }
    while chance.random() < 0.4:
        name = chance.choice([*SCHEMA.columns, "other"])
        fields[name] = chance.choice(chance.choice(VALUES))
    if chance.random() < 0.2:
        fields.pop(chance.choice(list(fields)))
    names = list(fields)
    if chance.random() < 0.2:
        chance.shuffle(names)
    made = json.dumps({name: fields[name] for name in names}, ensure_ascii=chance.random() < 0.5)
    return made.encode()


def some_nested(chance: random.Random, number: int) -> bytes:
    """A message whose objects have other values, gaps and names twice in any place."""

    def some(value: Any) -> Any:
        return chance.choice(chance.choice(VALUES)) if chance.random() < 0.02 else value

    def fields(**given: Any) -> dict[str, Any]:
        made = {name: some(value) for name, value in given.items() if chance.random() < 0.97}
        if made and chance.random() < 0.02:
            made["~" + chance.choice(list(made))] = chance.choice([None, 1, "a"])
        return made

    topics = [
        some(fields(name=f"t{at}", code=at, other={"name": at}))
        for at in range(chance.randrange(4))
    ]
    price = fields(amount=number / 2, currency="EUR")
    what = fields(item=f"i{number}", price=price, liked=True, other=[{"item": 1}])
    user = fields(id=f"u{number}", other={"id": 1})
    made = fields(id=number, at=NOON_MS + number, user=user, what=what, topics=topics, tags=[{}])
    return json.dumps(made, ensure_ascii=chance.random() < 0.5).replace("~", "").encode()


def some_messages(
    chance: random.Random, some: Callable[[random.Random, int], bytes] = some_message
) -> list[bytes]:
    """Few or many, of which some are broken, at times by pieces that go to a neighbour."""
    made = [some(chance, number) for number in range(chance.choice([1, 2, 3, 60, 200]))]
    for _ in range(chance.randint(0, 1 + len(made) // 2)):
        index = chance.randrange(len(made))
        message = made[index]
        at, until = sorted(chance.randint(0, len(message)) for _ in range(2))
        match chance.randrange(6):
            case 0:
                made[index] = message[:at] + chance.choice(PIECES) + message[at:]
            case 1:
                made[index] = message[:at] + message[until:]
            case 2:
                made[index] = message[:at]
                made.insert(index + 1, message[at:])
            case 3:
                made[index] = message[:at]
                made[(index + 1) % len(made)] += message[at:]
            case 4:
                made[index] = message[:at] + chance.choice(made) + message[at:]
            case _:
                made[index] = message[:at] + bytes([chance.randrange(256)]) + message[at + 1 :]
    return made


def rows_of(events: pa.Table) -> list[dict[str, Any]]:
    times = events["at"].cast(pa.int64())
    rows: list[dict[str, Any]] = events.set_column(3, "at", times).to_pylist()
    return rows


def check(seed: int, *, messages: int) -> None:
    """Lists of that many messages in all, each against the plain reader."""
    while messages > 0:
        some = some_messages(random.Random(seed))
        agrees(some, SCHEMA, seed)
        messages -= len(some)
        seed += 1


def agrees(some: list[bytes], schema: EventSchema, seed: int) -> None:
    """Each message of a list means what it means to the plain reader, which sees it alone."""
    parsed = parse(some, schema)
    read = dict(zip(parsed.good.tolist(), rows_of(parsed.events), strict=True))
    rejected = dict(parsed.rejected)
    assert all(reason and reason.encode() for reason in rejected.values())
    assert sorted([*read, *rejected]) == list(range(len(some))), f"seed {seed}"
    for index, message in enumerate(some):
        said = read.get(index, rejected.get(index))
        assert same(read.get(index), read_one(message, schema)), f"seed {seed}: {message!r}: {said}"


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types: 1 is not True."""
    return repr(left) == repr(right)


@pytest.mark.long
@pytest.mark.promise("S8")
@pytest.mark.promise("S14")
def test_each_message_means_what_it_means_alone() -> None:
    """20,000 messages in lists, whole and broken, some over borders: rows, places and verdicts are
    those of a plain reader that never sees two messages at once.
    """
    check(SEED * 1_000_000, messages=20_000)


@pytest.mark.promise("S8")
def test_nested_messages_mean_what_they_mean_alone() -> None:
    """Values that lie in objects and in objects of lists: what is missing on the way is null, what
    is of another kind there is bad, whatever stands beside it.
    """
    read = 0
    for seed in range(SEED * 1_000_000, SEED * 1_000_000 + 20):
        some = some_messages(random.Random(seed), some_nested)
        agrees(some, NESTED, seed)
        read += len(parse(some, NESTED).good)
    assert read > 300


@pytest.mark.promise("S8")
@pytest.mark.parametrize(("schema", "made"), [(SCHEMA, some_message), (NESTED, some_nested)])
def test_a_reason_never_depends_on_the_neighbours(
    schema: EventSchema, made: Callable[[random.Random, int], bytes]
) -> None:
    """What is said of a message in a list is what is said of it alone."""
    for seed in range(SEED * 1_000_000, SEED * 1_000_000 + 10):
        some = some_messages(random.Random(seed), made)
        for index, reason in parse(some, schema).rejected[:20]:
            assert parse([some[index]], schema).rejected == ((0, reason),), f"seed {seed}"


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.promise("S8")
@pytest.mark.promise("S14")
@pytest.mark.parametrize("part", range(10))
def test_a_million_messages(part: int) -> None:
    """100,000 in each part; TWINTIDE_SEED makes others."""
    first = (SEED + 1) * 10_000_000 + part * 100_000
    check(first, messages=100_000)
    for seed in range(first, first + 400):
        agrees(some_messages(random.Random(seed), some_nested), NESTED, seed)
