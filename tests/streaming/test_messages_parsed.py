import json
import random

import numpy as np
import pyarrow as pa
import pytest

from tests.streaming.line import EVENTS, NOON_MS
from twintide import jsonrows
from twintide.events import EventSchema
from twintide.jsonrows import parse

SCHEMA = EventSchema.model_validate(EVENTS)
GOOD = b'{"id":1,"user":"u","item":"i","at":%d}' % NOON_MS


def message(**changes: object) -> bytes:
    return json.dumps({"id": 1, "user": "u", "item": "i", "at": NOON_MS, **changes}).encode()


def raw(fields: str) -> bytes:
    return GOOD[:-1] + b"," + fields.encode() + b"}"


ODD_NAMES = ('say "user"', "back\\slash", "line\nend", "\x00", "", "a.b", "ünï", "c0")


@pytest.mark.promise("S8")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_column_may_be_called_as_anything(name: str) -> None:
    """Quotes, backslashes and line ends too, which are escaped in a message."""
    columns = {name: "int64", "user": "string", "item": "string", "at": "timestamp_ms"}
    schema = EventSchema.model_validate(EVENTS | {"columns": columns})
    values = [1, None, "2", 3.5, [1], *range(300)]

    parsed = parse([message(**{name: value}) for value in values], schema)

    assert parsed.events[name].to_pylist() == [1, None, 2, *range(300)]
    assert [index for index, _ in parsed.rejected] == [3, 4]


@pytest.mark.promise("S8")
@pytest.mark.timeout(30)
def test_one_field_twice_among_many_is_found_in_one_pass() -> None:
    """One message of 600 kB held a partition for minutes."""
    many = ",".join(f'"{number:x}":1' for number in range(60_000))

    parsed = parse([raw(f'{many},"id":2'), GOOD], SCHEMA)

    assert parsed.rejected == ((0, "id stands twice"),)


BAD = {
    "blank": b"",
    "space": b"  \n",
    "null": b"null",
    "number": b"7",
    "string": b'"x"',
    "list": b"[]",
    "list of one": b"[" + GOOD + b"]",
    "empty object": b"{}",
    "cut off": GOOD[:-1],
    "two objects": GOOD + GOOD,
    "two objects on lines": GOOD + b"\n" + GOOD,
    "object and null": GOOD + b"null",
    "trailing zero byte": GOOD + b"\x00",
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "no item": b'{"id":1,"user":"u","at":%d}' % NOON_MS,
    "no time": b'{"id":1,"user":"u","item":"i"}',
    "null item": message(item=None),
    "null time": message(at=None),
    "item empty": message(item=""),
    "item blank": message(item=" \t"),
    "item a boolean": message(item=True),
    "item a fraction": message(item=1.5),
    "item a list": message(item=["i"]),
    "id a float": message(id=1.5),
    "id a word": message(id="one"),
    "id a fraction in text": message(id="1.5"),
    "id beyond 64 bits in text": message(id=str(2**63)),
    "id a large float": raw('"id2":0').replace(b'"id":1', b'"id":1e300'),
    "id a boolean": message(id=True),
    "id beyond 64 bits": message(id=2**63),
    "id far beyond": message(id=10**40),
    "price a word": message(price="much"),
    "price with a comma": message(price="1,5"),
    "price infinite in text": message(price="inf"),
    "price a boolean": message(price=True),
    "price NaN": raw('"price":NaN'),
    "price infinite": raw('"price":-Infinity'),
    "price too big": raw('"price":1e999'),
    "NaN in a field that is ignored": raw('"other":NaN'),
    "time in text without a meaning": message(at="yesterday"),
    "time of another notation": message(at="15.11.2023 12:00"),
    "time on a day that is none": message(at="2023-02-29T12:00:00Z"),
    "time at hour 24": message(at="2023-11-15T24:00:00Z"),
    "time before 1970": message(at="1969-12-31T23:59:59Z"),
    "time after 2100": message(at="2100-01-01T00:00:00Z"),
    "time a power of ten in text": message(at="1.70005E+12"),
    "time in seconds with a fraction": message(at=NOON_MS / 1000),
    "time a boolean": message(at=True),
    "liked two": message(liked=2),
    "liked a word": message(liked="perhaps"),
    "tags a number": message(tags=5),
    "tags an object": message(tags={}),
    "tags with a gap": message(tags="a,,b"),
    "tags of lists": message(tags=[["a"]]),
    "tags with a boolean": message(tags=["a", True]),
    "codes of words": message(codes=["one"]),
    "codes a broken array": message(codes="[1,2"),
    "time in seconds": message(at=NOON_MS // 1000),
    "time in microseconds": message(at=NOON_MS * 1000),
    "time negative": message(at=-1),
    "column named twice": raw('"id":2'),
    "column twice, and bad UTF-8 in another": raw('"id":2,"x":1,"x":1').replace(b"x", b"\xff"),
    "object of bad UTF-8": message(user={"x": 1}).replace(b'"x"', b'"\xff"'),
    "bad UTF-8 in a value": GOOD.replace(b'"u"', b'"\xff\xfe"'),
    "lone surrogate": raw('"other":"\\ud800"'),
    "raw newline in a string": GOOD.replace(b'"u"', b'"a\nb"'),
    "deep nesting": raw('"other":' + "[" * 5000 + "]" * 5000),
    "deep and unclosed": b"[" * 200_000,
    "ten megabytes, cut off": b'{"item":"' + b"x" * 10_000_000,
    "single quotes": b"{'id':1}",
    "trailing comma": GOOD[:-1] + b",}",
    "leading zero": GOOD.replace(b'"id":1', b'"id":01'),
}

UNUSUAL = {
    "null user": message(user=None),
    "no user": b'{"item":"i","at":%d}' % NOON_MS,
    "unknown field": message(other={"a": [1, {"b": None}]}),
    "spaces around": b"  " + GOOD + b" \n",
    "pretty printed": json.dumps(json.loads(GOOD), indent=2).encode(),
    "whole number as price": message(price=3),
    "exponent as price": raw('"price":1e3'),
    "negative zero": message(id=-0),
    "smallest id": message(id=-(2**63)),
    "largest id": message(id=2**63 - 1),
    "escapes": GOOD.replace(b'"u"', b'"\\u00e9\\n\\u0000\\ud83d\\ude00"'),
    "UTF-8": message(user="žluťoučký").decode().encode(),
    "braces in a string": message(user="}\\n{"),
    "empty lists": message(tags=[], codes=[]),
    "null in lists": message(tags=["a", None], codes=[1, None]),
    "the word NaN in a string": message(user="NaN and Infinity"),
    "unknown field named twice": raw('"other":1,"other":2'),
    "ten megabytes": message(user="x" * 10_000_000),
    "many brackets, not deep": message(codes=None, other=[[]] * 2000),
    "earliest time": message(at=946_684_800_000),
}


READ_AS_MEANT = {
    "item a number": (message(item=5), {"item": "5"}),
    "item a whole float": (message(item=5.0), {"item": "5"}),
    "item a long number": (message(item=10**40), {"item": "1" + "0" * 40}),
    "user empty": (message(user=""), {"user": None}),
    "user blank": (message(user="  "), {"user": None}),
    "user with blanks around": (message(user=" u "), {"user": " u "}),
    "id a string": (message(id="1"), {"id": 1}),
    "id a string with blanks": (message(id=" +1 "), {"id": 1}),
    "id empty": (message(id=""), {"id": None}),
    "id a whole float": (message(id=1.0), {"id": 1}),
    "id the largest, in text": (message(id=str(2**63 - 1)), {"id": 2**63 - 1}),
    "id an odd number beyond what floats hold": (message(id=2**53 + 1), {"id": 2**53 + 1}),
    "price a string": (message(price="1.25"), {"price": 1.25}),
    "price a word for nothing": (message(price="NaN"), {"price": None}),
    "price a long number": (raw('"price":1' + "0" * 40), {"price": 1e40}),
    "liked a number": (message(liked=1), {"liked": True}),
    "liked a word": (message(liked="False"), {"liked": False}),
    "tags a string": (message(tags="a, b"), {"tags": ["a", "b"]}),
    "tags an array in text": (message(tags='["a", 1]'), {"tags": ["a", "1"]}),
    "tags of numbers": (message(tags=[1, "b"]), {"tags": ["1", "b"]}),
    "codes of strings": (message(codes=["1", 2.0]), {"codes": [1, 2]}),
    "time with Z": (message(at="2023-11-15T12:00:00Z"), {"at": NOON_MS}),
    "time with a small z": (message(at="2023-11-15t12:00:00z"), {"at": NOON_MS}),
    "time with an offset": (message(at="2023-11-15T14:00:00+02:00"), {"at": NOON_MS}),
    "time with a short offset": (message(at="2023-11-15 07:30-0430"), {"at": NOON_MS}),
    "time with UTC": (message(at="2023-11-15 12:00:00 UTC"), {"at": NOON_MS}),
    "time without a zone": (message(at="2023-11-15 12:00:00"), {"at": NOON_MS}),
    "time in nanoseconds": (message(at="2023-11-15T12:00:00.123999999Z"), {"at": NOON_MS + 123}),
    "time a date": (message(at="2023-11-15"), {"at": NOON_MS - 12 * 3_600_000}),
    "time of 1985": (message(at="1985-01-01T00:00:00Z"), {"at": 473_385_600_000}),
    "time a number in text": (message(at=str(NOON_MS)), {"at": NOON_MS}),
    "time a float": (message(at=NOON_MS + 0.5), {"at": NOON_MS}),
    "lone surrogate unread": (raw('"other":"\\udc00\\ud800"'), None),
    "bad UTF-8 unread": (raw('"other":1').replace(b"other", b"\xff"), {}),
}
"""(message, what differs from GOOD), or None where it is rejected."""


@pytest.mark.promise("S14")
@pytest.mark.parametrize(("value", "changes"), READ_AS_MEANT.values(), ids=READ_AS_MEANT.keys())
def test_another_notation_of_a_value_is_read_as_meant(
    value: bytes, changes: dict[str, object] | None
) -> None:
    """Alone and among others, however those are written."""
    plain = {
        "id": 1,
        "user": "u",
        "item": "i",
        "at": NOON_MS,
        **dict.fromkeys(list(SCHEMA.columns)[4:]),
    }
    for before, after in (([], []), ([GOOD], [GOOD]), ([message(id="1", item=7)], [b"null"])):
        parsed = parse([*before, value, *after], SCHEMA)
        rows = parsed.events.set_column(3, "at", parsed.events["at"].cast(pa.int64())).to_pylist()
        read = dict(zip(parsed.good.tolist(), rows, strict=True))
        assert read.get(len(before)) == (None if changes is None else plain | changes)


@pytest.mark.promise("S8")
@pytest.mark.parametrize(
    ("said", "read"),
    [
        ([1, 0.5, None], [1.0, 0.5, None]),
        ([1, 2], [1.0, 2.0]),
        ([], []),
        (None, None),
        ("0.5, 2e3", [0.5, 2000.0]),
        ('[1, "0.25"]', [1.0, 0.25]),
        ([2**63], [2.0**63]),
        (["NaN"], [None]),
        (["much"], "no list<float64>"),
        ([True], "no list<float64>"),
        (0.5, "no list<float64>"),
        ([[0.5]], "no list<float64>"),
        ([1e999], "no list<float64>"),
    ],
)
def test_a_list_of_numbers_is_read_or_rejected_element_by_element(
    said: object, read: list[float | None] | str | None
) -> None:
    """Alone and among others, of whole numbers or not."""
    columns = {"item": "string", "user": "string", "at": "timestamp_ms", "sure": "list<float64>"}
    schema = EventSchema.model_validate(
        {"columns": columns, "user": "user", "item": "item", "time": "at"}
    )
    plain = message(sure=[0.5])
    value = message(sure=said).replace(b"Infinity", b"1e999")
    for before, after in (([], []), ([plain], [plain, message(sure=[3])]), ([b"null"], [])):
        parsed = parse([*before, value, *after], schema)
        place = len(before)
        if isinstance(read, str):
            assert read in dict(parsed.rejected)[place]
        else:
            row = parsed.good.tolist().index(place)
            assert parsed.events["sure"].to_pylist()[row] == read


@pytest.mark.promise("S8")
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_message_is_rejected_with_a_reason(bad: bytes) -> None:
    """Alone, and among good ones, which are kept: the verdict does not depend on neighbours."""
    alone = parse([bad], SCHEMA)
    among = parse([GOOD, bad, GOOD], SCHEMA)

    assert [index for index, _ in alone.rejected] == [0]
    assert alone.rejected[0][1].encode()  # it goes into the quarantine file
    assert len(alone.events) == 0
    assert [index for index, _ in among.rejected] == [1]
    assert among.good.tolist() == [0, 2]
    assert among.events["item"].to_pylist() == ["i", "i"]


@pytest.mark.promise("S8")
@pytest.mark.parametrize("good", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_an_unusual_message_is_taken_as_it_is(good: bytes) -> None:
    """Alone, among others, and beside a bad one: always the values that the JSON says."""
    said = json.loads(good)
    expected = {name: said.get(name) for name in SCHEMA.columns}

    for neighbours in ([], [GOOD], [b"null"]):
        parsed = parse([*neighbours, good], SCHEMA)
        assert parsed.good[-1] == len(neighbours)
        row = parsed.events.slice(len(parsed.events) - 1)
        row = row.set_column(3, "at", row["at"].cast(pa.int64()))
        assert row.to_pylist() == [expected]


def of(item: str) -> bytes:
    return message(item=item)


FORGED = {
    "an array around a good one": [b'{"other":[', of("good"), b"]," + of("forged")[1:]],
    "an object around a good one": [b'{"other":{"a":', of("good"), b"}," + of("forged")[1:]],
    "a value that is a good one": [b'{"other":', of("good"), b"," + of("forged")[1:]],
    "a string over a border": [b'{"other":"', of("good"), b'",' + of("forged")[1:]],
    "an escaped end of a string": [b'{"other":"\\', of("good"), b'",' + of("forged")[1:]],
    "a value cut in two": [of("good"), of("forged")[:9], of("forged")[9:]],
    "between a key and its value": [of("good"), b'{"item"', b':"forged","at":%d}' % NOON_MS],
    "a comment over a border": [b'{"other":1/*', of("good"), b"*/," + of("forged")[1:]],
    "a blank and two in one": [b"", of("forged") + b"\n" + of("forged"), of("good")],
    "a null and two in one": [b"null", of("forged") + of("forged"), of("good")],
    "a zero byte at a border": [of("forged") + b"\x00", b"", of("good")],
    "a byte order mark at a border": [b"\xef\xbb\xbf" + of("forged"), of("good")],
    "closed too often": [of("forged") + b"}", b"{" + of("forged"), of("good")],
}
"""Pieces around a good one. To pass a count of rows and of borders, more whole objects follow in
the last piece: that is what whoever forges would do.
"""


@pytest.mark.promise("S8")
@pytest.mark.parametrize("values", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("more", range(4))
def test_no_row_comes_from_more_than_one_message(values: list[bytes], more: int) -> None:
    """Broken messages around a good one: the good one is read as it is, and nothing else."""
    good = values.index(of("good"))
    broken = [*values[:-1], values[-1] + (b"\n" + of("forged")) * more]

    parsed = parse(broken, SCHEMA)

    is_whole = broken[good] == of("good")
    assert parsed.events["item"].to_pylist() == ["good"] * is_whole
    assert parsed.good.tolist() == [good] * is_whole
    assert [index for index, _ in parsed.rejected] == [
        index for index in range(len(broken)) if index != good or not is_whole
    ]


def test_the_columns_are_those_of_the_schema() -> None:
    """Whatever comes, even nothing: same names, types and nullability."""
    for values in ([], [GOOD], [b"null"], [GOOD, b"null"]):
        parsed = parse(values, SCHEMA)
        assert parsed.events.schema == SCHEMA.arrow_schema()
        parsed.events.validate(full=True)


@pytest.mark.promise("S8")
def test_every_message_is_good_or_rejected_once() -> None:
    """A thousand mixed ones, over several blocks: the indexes are a partition of all."""
    random_ = random.Random(1)
    small_bad = [bad for bad in BAD.values() if len(bad) < 1000]
    values = [
        random_.choice(small_bad) if random_.random() < 0.05 else message(id=number, pad="x" * 900)
        for number in range(5000)
    ]

    parsed = parse(values, SCHEMA)

    rejected = [index for index, _ in parsed.rejected]
    assert sorted([*parsed.good.tolist(), *rejected]) == list(range(5000))
    assert rejected == [index for index, value in enumerate(values) if value in small_bad]
    assert parsed.events["id"].to_pylist() == parsed.good.tolist()


def test_blocks_hold_every_message_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a block, the rows are the same."""
    values = [message(id=number) for number in range(100)]
    for size in (1, 150, 10**6):
        monkeypatch.setattr(jsonrows, "BLOCK_BYTES", size)
        parsed = parse(values, SCHEMA)
        assert parsed.events["id"].to_pylist() == list(range(100))
        assert np.array_equal(parsed.good, np.arange(100))
