"""Every kind of feature: what it encodes, against a plain loop; and what all have in common."""

import bisect
import math
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from twintide.features import Feature
from twintide.features.kind import Kind, Known
from twintide.keys import keys_of
from twintide.ragged import Ids, Numbers, joined, take

AT = "at"
ZONE = "Asia/Kathmandu"
BEGIN = datetime(2026, 3, 27, 21, 40, tzinfo=UTC)
COUNT = 500

EXAMPLES: dict[str, dict[str, Any]] = {
    "sparse": {"column": "city", "table": "city"},
    "varlen": {"column": "tags", "table": "tag", "max_length": 2},
    "weighted_varlen": {"column": "shares", "table": "topic", "max_length": 2},
    "words": {"column": "title", "table": "word", "max_length": 3},
    "cross": {"columns": ["city", "own"], "table": "pair"},
    "bucket": {"column": "age", "table": "age", "boundaries": [18, 30.5, 65]},
    "dense": {"column": "age", "transform": "log1p", "divided_by": 4.0},
    "hour_of_day": {"table": "hour", "time_zone": ZONE},
    "day_of_week": {"table": "day", "time_zone": ZONE},
    "cyclic_time": {"period": "week", "time_zone": ZONE},
    "time_since": {"column": "joined_at"},
    "history": {"table": "item", "length": 3},
    "decayed_history": {"table": "item", "length": 3, "half_life_items": 2.0},
    "attention_history": {"table": "item", "length": 3, "layers": 2, "heads": 2},
    "item_statistics": {"windows_minutes": [60, 1440]},
    "user_statistics": {"windows_minutes": [60, 1440]},
}
TITLES = [
    None,
    "",
    " -- ! ",
    "Zwölf Äpfel, zwölf BIRNEN",
    "a_b\tc-3\u00a0d",
    "Ёлка \u0926\u0941\u0927",
    "one",
    "\u0301x " * 60,
]
DERIVED = (
    "history",
    "decayed_history",
    "attention_history",
    "item_statistics",
    "user_statistics",
)
OF_AN_EVENT = tuple(kind for kind in EXAMPLES if kind not in DERIVED)


def declared(kind: str, **keys: Any) -> Kind:
    """A feature as a file declares it."""
    values = {"kind": kind, "name": "it"} | EXAMPLES[kind] | keys
    text = TypeAdapter(dict[str, Any]).dump_json(values)
    found: Kind = TypeAdapter(Feature).validate_json(text)
    return found


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """Every column with missing values, empty lists, and texts that cannot be read."""
    rng = np.random.default_rng(3)

    def some(values: list[Any]) -> list[Any]:
        return [values[number] for number in rng.integers(0, len(values), COUNT)]

    at = [BEGIN + timedelta(minutes=int(each)) for each in rng.integers(0, 20_000, COUNT)]
    before = some([None, -90, 0, 61, 100_000])
    joined_at = [
        None if minutes is None else when - timedelta(minutes=minutes)
        for when, minutes in zip(at, before, strict=True)
    ]
    shares = ["", None, "a:1", "a:0.5,b:.25", " a : 2e0 , b:1,c:3", "a", "a:x,b:1", "u:v:7", "b:0"]
    return pa.table(
        {
            AT: pa.array(at, pa.timestamp("ms", tz="UTC")),
            "city": pa.array(some([None, "rome", "oslo", ""])),
            "own": pa.array(some([True, False, None])),
            "age": pa.array(some([None, -3.0, 17.9, 18.0, 30.5, 64.0, 65.0, math.nan])),
            "tags": pa.array(some([None, [], ["x"], ["x", None, "y", "z"]]), pa.list_(pa.string())),
            "shares": pa.array(some(shares)),
            "title": pa.array(some(TITLES)),
            "joined_at": pa.array(joined_at, pa.timestamp("ms", tz="UTC")),
        }
    )


def key(value: Any) -> int:
    return int(keys_of(pa.array([value]))[0])


def lists_in(rows: Ids | Numbers) -> list[list[Any]]:
    """Each row as a list: keys, or keys with weights, or numbers."""
    if isinstance(rows, Numbers):
        numbers: list[list[Any]] = rows.values.tolist()
        return numbers
    keys, weights = rows.keys.tolist(), rows.weights
    entries = keys if weights is None else list(zip(keys, weights.tolist(), strict=True))
    return [entries[a:b] for a, b in zip(rows.offsets[:-1], rows.offsets[1:], strict=True)]


def test_every_kind_has_an_example() -> None:
    """So that a new kind is held to what all kinds promise."""
    classes = get_args(get_args(Feature)[0])
    kinds = {get_args(each.model_fields["kind"].annotation)[0] for each in classes}

    assert kinds == set(EXAMPLES)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_rows_of_every_kind_come_back_from_their_columns(kind: str, events: pa.Table) -> None:
    """To the bit, also a part of a column, no rows at all, and rows that are put together."""
    feature = declared(kind)
    rows = feature.no_rows() if kind in DERIVED else feature.encode(events, time_column=AT)
    column = feature.to_arrow(rows)

    assert lists_in(feature.from_arrow(column)) == lists_in(rows)
    assert lists_in(feature.from_arrow(column.slice(7, 30))) == lists_in(rows)[7:37]
    nothing = feature.to_arrow(feature.no_rows())
    assert nothing.type == column.type
    assert len(feature.from_arrow(nothing)) == 0
    twice = joined({"it": feature.no_rows()}, {"it": rows})
    assert lists_in(twice["it"]) == lists_in(rows)
    order = np.arange(len(rows))[::-1]
    assert lists_in(take(twice, order)["it"]) == lists_in(rows)[::-1]


@pytest.mark.parametrize("kind", OF_AN_EVENT)
def test_an_event_alone_is_encoded_as_among_others(kind: str, events: pa.Table) -> None:
    """A request is one event: nothing of a row may depend on its neighbours."""
    feature = declared(kind)
    together = lists_in(feature.encode(events, time_column=AT))

    alone = [
        lists_in(feature.encode(events.slice(number, 1), time_column=AT))[0]
        for number in range(0, COUNT, 11)
    ]

    assert alone == together[::11]


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind != "item_statistics"])
def test_sample_queries_differ(kind: str) -> None:
    """One row for each query, of the kind's own shape, and not all of them the same."""
    ids = keys_of(pa.array(range(40)))
    users = keys_of(pa.array(range(16)))
    histories = Ids(ids[:32], np.arange(17) * 2, ages=np.arange(32, dtype=np.float32))
    known = Known(
        users=users, user_column="user", ids_in=lambda _: ids, history=lambda _: histories
    )
    feature = declared(kind)

    rows = feature.sample(known)

    assert len(rows) == 16
    assert feature.to_arrow(rows).type == feature.to_arrow(feature.no_rows()).type
    assert len({str(row) for row in lists_in(rows)}) > 3


def test_weighted_lists_are_read_entry_by_entry(events: pa.Table) -> None:
    """`id:weight`, blanks ignored, the id up to the last colon; what has no weight does not count;
    the heaviest stay, and a mean's weights add up to 1.
    """

    def plainly(text: str | None) -> list[tuple[int, float]]:
        found = []
        for entry in (text or "").split(","):
            name, colon, weight = entry.strip().rpartition(":")
            if colon and weight.strip().replace(".", "").replace("e", "").isdigit():
                found.append((key(name.strip()), float(weight)))
        return sorted(found, key=lambda each: -each[1])[:2]

    for pooling in ("sum", "mean"):
        feature = declared("weighted_varlen", pooling=pooling)
        rows = lists_in(feature.encode(events, time_column=AT))
        for row, text in zip(rows, events["shares"].to_pylist(), strict=True):
            wanted = dict(plainly(text))
            total = sum(wanted.values()) if pooling == "mean" else 1.0
            assert len(row) == len(wanted)
            assert dict(row) == pytest.approx({k: w / (total or 1.0) for k, w in wanted.items()})


def test_weighted_ids_may_be_whole_numbers_and_lists() -> None:
    """So that they share a table with columns of int64; what is no whole number does not count."""
    feature = declared("weighted_varlen", ids="int64", pooling="sum", column="list")
    column = pa.chunked_array(
        [[["7:0.5", "-3:1"], ["x:1", "8:2"], None, [None, "9:1"], ["+5:1", "++5:1"]]]
    )

    rows = feature.encode(pa.table({"list": column}), time_column=AT)

    assert lists_in(rows) == [
        [(key(7), 0.5), (key(-3), 1.0)],
        [(key(8), 2.0)],
        [],
        [(key(9), 1.0)],
        [(key(5), 1.0)],
    ]


def test_weights_may_stand_in_a_list_beside_the_ids() -> None:
    """Each id with the number at its place; what is null on either side, or below 0, does not
    count; of lists of other lengths nothing does, and a request or a sample with such is named.
    """
    feature = declared("weighted_varlen", column="ids", weights="amounts", pooling="sum")
    ids = [["a", "b", "c"], ["a", None, "b"], ["a"], None, ["x", "y", "z", "u"], []]
    amounts = [[1.0, 2.5, 0.5], [1.0, 3.0, None], [1.0, 2.0], None, [-1.0, 0.0, 1e9, 2.0], []]
    events = pa.table(
        {
            "ids": pa.array(ids, pa.list_(pa.string())),
            "amounts": pa.array(amounts, pa.list_(pa.float64())),
        }
    )

    rows = lists_in(feature.encode(events, time_column=AT))

    assert rows == [
        [(key("b"), 2.5), (key("a"), 1.0)],
        [(key("a"), 1.0)],
        [],
        [],
        [(key("z"), 1e4), (key("u"), 2.0)],
        [],
    ]
    assert lists_in(feature.encode(events.slice(4), time_column=AT)) == rows[4:]
    assert [feature.misfit(events.slice(row, 1)) is None for row in range(6)] == [
        row != 2 for row in range(6)
    ]
    doubt = feature.doubt(events, time_column=AT)
    assert doubt is not None
    assert doubt.reason.startswith("in 17% of the clicks 'ids' and 'amounts' are lists of other")
    assert feature.doubt(events.slice(3), time_column=AT) is None


def test_words_are_letters_and_digits_in_lower_case(events: pa.Table) -> None:
    """The first ones of a text, each an id by itself; what has none is no word, and a column that
    hardly ever has several is doubted.
    """

    def plainly(text: str | None) -> list[int]:
        signs = [c if unicodedata.category(c)[0] in "LMN" else " " for c in (text or "").lower()]
        return [key(word) for word in "".join(signs).split()][:3]

    rows = lists_in(declared("words").encode(events, time_column=AT))

    assert rows == [plainly(text) for text in events["title"].to_pylist()]
    assert max(map(len, rows)) == 3
    assert declared("words").doubt(events, time_column=AT) is None
    ones = pa.table({"title": ["one"] * COUNT})
    doubt = declared("words").doubt(ones, time_column=AT)
    assert doubt is not None
    assert doubt.reason == "0 of 500 texts of column 'title' have several words"


def test_keys_that_came_later_change_no_identity_until_they_are_said() -> None:
    """What was sliced and trained before a kind had a key goes on."""
    said = {"kind": "weighted_varlen", "name": "it", "column": "shares", "table": "topic"}

    assert declared("weighted_varlen", max_length=10_000).identity() == said | {
        "ids": "string",
        "pooling": "mean",
        "max_length": 10_000,
    }
    assert declared("weighted_varlen", weights="amounts").identity()["weights"] == "amounts"


def test_a_cross_is_one_id_for_each_combination(events: pa.Table) -> None:
    """The same pair the same id, another pair another, in another order another; none where one of
    the two is missing. In buckets, ids are as many at most.
    """
    columns = (events["city"].to_pylist(), events["own"].to_pylist())
    rows = lists_in(declared("cross").encode(events, time_column=AT))
    turned = lists_in(declared("cross", columns=["own", "city"]).encode(events, time_column=AT))
    ids: dict[Any, set[tuple[int, int]]] = {}
    for city, own, (found,), (other,) in zip(*columns, rows, turned, strict=True):
        known = city is not None and own is not None
        ids.setdefault((city, own) if known else None, set()).add((found, other))

    assert ids.pop(None) == {(0, 0)}
    assert [len(found) for found in ids.values()] == [1] * 6
    assert len({one for found in ids.values() for one, _ in found}) == 6
    assert all(one != other for one, other in ids["rome", True])
    few = declared("cross", buckets=2).encode(events, time_column=AT)
    assert set(few.keys.tolist()) == {0, 1, 2}  # type: ignore[union-attr]


def test_a_bucket_is_the_range_that_a_number_lies_in(events: pa.Table) -> None:
    """A boundary belongs to the range above it; what is no number has no range."""
    rows = lists_in(declared("bucket").encode(events, time_column=AT))

    for (found,), age in zip(rows, events["age"].to_pylist(), strict=True):
        missing = age is None or math.isnan(age)
        assert found == (0 if missing else key(bisect.bisect_right([18, 30.5, 65], age)))
    with pytest.raises(ValidationError, match="must ascend"):
        declared("bucket", boundaries=[3, 3])


def test_hours_days_and_angles_are_those_of_the_users_clock(events: pa.Table) -> None:
    """In a zone that is a quarter of an hour off the full ones."""
    local = [each.astimezone(ZoneInfo(ZONE)) for each in events[AT].to_pylist()]
    hours = lists_in(declared("hour_of_day").encode(events, time_column=AT))
    days = lists_in(declared("day_of_week").encode(events, time_column=AT))
    angles = lists_in(declared("cyclic_time").encode(events, time_column=AT))

    assert hours == [[key(each.hour)] for each in local]
    assert days == [[key(each.weekday())] for each in local]
    for found, each in zip(angles, local, strict=True):
        quarter = each.weekday() * 96 + each.hour * 4 + each.minute // 15
        angle = 2 * math.pi * quarter / (7 * 96)
        assert found == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)


def test_time_since_is_hours_on_a_log_scale(events: pa.Table) -> None:
    """An instant to come is now; an unknown one is told from one that is now."""
    rows = lists_in(declared("time_since").encode(events, time_column=AT))

    for found, at, then in zip(
        rows, events[AT].to_pylist(), events["joined_at"].to_pylist(), strict=True
    ):
        hours = 0.0 if then is None else max((at - then).total_seconds(), 0) / 3600
        assert found == pytest.approx([math.log1p(hours) / 5, float(then is not None)], abs=1e-6)


def test_histories_are_the_newest_items_of_which_the_newest_may_count_most() -> None:
    """Of 4, 2, 0 and 3 items, 3 at most: an item counts half of one that came two later."""
    items = np.arange(11, 20, dtype=np.uint64)
    before = Ids(items, np.array([0, 4, 6, 6, 9]))
    half = 0.5**0.5
    total = 1 + half + half**2

    plain = declared("history").of_histories(before)
    decayed = declared("decayed_history").of_histories(before)

    assert lists_in(plain) == [[12, 13, 14], [15, 16], [], [17, 18, 19]]
    assert lists_in(Ids(decayed.keys, decayed.offsets)) == lists_in(plain)
    three = [half**2 / total, half / total, 1 / total]
    assert decayed.weights == pytest.approx([*three, half / (1 + half), 1 / (1 + half), *three])


def test_what_is_older_may_count_less() -> None:
    """Half for each half-life as of the event: shares of a row in a mean, which even a history of
    years has; as it is in a sum, which fades.
    """
    ages = [9000.0, 48.0, 24.0, 0.0, 6.0, 3.0, 1e7, 1e7 - 12]
    before = Ids(
        np.arange(8, dtype=np.uint64), np.array([0, 4, 6, 6, 8]), ages=np.array(ages, np.float32)
    )
    mean, total = (
        declared("decayed_history", half_life_items=5.0, half_life_hours=12.0, pooling=pooling)
        for pooling in ("mean", "sum")
    )

    shares, counts = mean.of_histories(before).weights, total.of_histories(before).weights

    wanted = [2.0**-4, 2.0**-2, 1.0, 2.0**-0.5, 2.0**-0.25, 0.0, 0.0]
    assert counts == pytest.approx(wanted)
    sums = [sum(wanted[:3])] * 3 + [sum(wanted[3:5])] * 2
    assert shares is not None
    assert shares[:5] == pytest.approx([one / of for one, of in zip(wanted, sums, strict=False)])
    assert shares[5:] == pytest.approx([1 / 3, 2 / 3])
    assert mean.reads_ages()
    assert not declared("decayed_history").reads_ages()


def test_an_attention_history_keeps_the_order_and_the_ages() -> None:
    """The newest items with the age of each, the newest last, also in a column."""
    ages = np.array([5.5, 4, 3, 2, 1], np.float32)
    before = Ids(np.arange(11, 16, dtype=np.uint64), np.array([0, 4, 4, 5]), ages=ages)
    feature = declared("attention_history")

    rows = feature.of_histories(before)
    again = feature.from_arrow(feature.to_arrow(rows).slice(0, 3))

    assert isinstance(again, Ids)
    assert lists_in(rows) == lists_in(again) == [[12, 13, 14], [], [15]]
    assert again.ages is not None
    assert again.ages.tolist() == [4, 3, 2, 1]


def test_lists_are_cut_to_their_first_ids(events: pa.Table) -> None:
    """Nulls in a list are dropped before it is cut."""
    rows = lists_in(declared("varlen").encode(events, time_column=AT))

    for found, tags in zip(rows, events["tags"].to_pylist(), strict=True):
        assert found == [key(each) for each in tags or [] if each is not None][:2]


def test_a_sample_that_cannot_be_read_as_weighted_lists_is_named() -> None:
    """With how much of it, and what an entry looks like."""
    feature = declared("weighted_varlen")
    clicks = pa.table({"shares": pa.chunked_array([["a,b", "a:1,b:2", "a;1"]])})

    doubt = feature.doubt(clicks, time_column=AT)

    assert doubt is not None
    assert doubt.reason.startswith("3 of 5 entries of column 'shares'")
    assert feature.doubt(clicks.slice(1, 1), time_column=AT) is None
