"""What the columns of unknown events are, guessed from a sample: types, roles, and whose they are.

Nothing here is certain, so each guess says why. A person reads them in a commented file and changes
what is wrong; nothing else in Twintide guesses.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twintide.datafile import Raw
from twintide.errors import Refused
from twintide.events import RESERVED_COLUMNS, ColumnType, TimeUnit
from twintide.features.weighted_varlen import WeightedVarlen
from twintide.notation import Notation, Typed
from twintide.traffic import Traffic, traffic_of
from twintide.unfold import Found, unfolded
from twintide.values import typed, typed_objects

_NAMES = {
    "user": r"user|visitor|customer|member|account|session|client|viewer|reader|uid|buyer|device",
    "item": r"item|product|sku|article|video|movie|song|track|content|doc|page|stock|photo",
    "time": r"time|_at$|^at$|(^|_)ts(_|$)|date|when|stamp",
    "click": r"^(is_)?click|^clicked$|purchas|^bought$|^ordered$|positive|conver",
}
_UNITS: tuple[tuple[TimeUnit, float], ...] = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))
_YEARS_2000_TO_2100 = (946_684_800, 4_102_444_800)
_ID = r"id$|^id|no$|key$|code$"
_MANY = 200
_CONSTANT_SHARE = 0.95
_BY_CHANCE = 0.8
_LEAST_REPEATED = 10
_HOURS = 24
_QUIET_HOURS = 3


@dataclass(frozen=True)
class Column:
    """A column as it will be declared."""

    name: str
    kind: ColumnType
    values: pa.Array
    unit: TimeUnit | None = None
    """Of a time that is written as a number."""

    path: str | None = None
    """Where its values lie; None where that is the field of its name."""


@dataclass(frozen=True)
class Guess:
    """One entry of the declaration, or none, and why."""

    column: str
    entry: dict[str, Any] | None
    """The feature; None where the column is left out."""

    why: str


@dataclass(frozen=True)
class Guesses:
    """All that was guessed of a sample."""

    rows: int
    columns: tuple[Column, ...]
    user: str
    item: str
    time: str
    positive: tuple[str, Any] | None
    query: tuple[Guess, ...]
    candidate: tuple[Guess, ...]
    left_out: tuple[Guess, ...]
    quiet_hour: int | None
    """UTC; None where the sample is too short to say."""

    traffic: Traffic | None
    """None where the sample is too short to say."""

    def column(self, name: str) -> Column:
        """The one of that name."""
        return next(each for each in self.columns if each.name == name)


def guess(raw: Mapping[str, Raw], *, roles: Mapping[str, str]) -> Guesses:
    """`roles` are those that a person named: user, item, time. Raises Refused where a role is
    nowhere to be seen.
    """
    columns = tuple(
        _typed(each)
        for each in unfolded(raw)
        if each.name.strip() and each.name not in RESERVED_COLUMNS
    )
    time = _role("time", columns, roles, kinds={"timestamp_ms"})
    user = _role("user", columns, roles, kinds={"string", "int64"})
    others = tuple(each for each in columns if each.name != user)
    item = _role("item", others, roles, kinds={"string", "int64"})
    found: dict[str, list[Guess]] = {"query": [], "candidate": [], "left_out": []}
    positive = _positive(columns)
    taken = {user, item, time, positive[0] if positive else ""}
    by_name = {each.name: each for each in columns}
    weights = {_weighed_by(each, columns): each.name for each in columns}
    weights.pop(None, None)
    names = {"user", "item", "history", "last", "decayed", "statistics"}
    for column in columns:
        if column.name not in taken:
            feature = _free_name(column.name, names)
            side, one = _placed(
                column, by_name[user], by_name[item], feature, weights.get(column.name)
            )
            found[side].append(one)
            names.add(feature)
    return Guesses(
        rows=len(by_name[time].values),
        columns=columns,
        user=user,
        item=item,
        time=time,
        positive=positive,
        query=tuple(found["query"]),
        candidate=tuple(found["candidate"]),
        left_out=tuple(found["left_out"]),
        quiet_hour=_quiet_hour(by_name[time].values),
        traffic=traffic_of(_clicks_ms(by_name, time, positive)),
    )


def _typed(found: Found) -> Column:
    """The first type that reads every value."""
    name, raw = found.name, found.values
    for kind, unit in _types_to_try(name, raw):
        read = _read(raw, kind, Notation(times=unit))
        if not read.is_bad.any() and read.values.null_count < len(read.values):
            return Column(name, kind, read.values, unit, found.path)
    return Column(name, "string", _read(raw, "string", Notation()).values, path=found.path)


def _read(raw: Raw, kind: ColumnType, notation: Notation) -> Typed:
    if isinstance(raw, list):
        return typed_objects(raw, kind, notation)
    return typed(raw, kind, notation)


def _types_to_try(name: str, raw: Raw) -> Iterator[tuple[ColumnType, TimeUnit | None]]:
    values = raw if isinstance(raw, list) else raw.slice(0, 1000).to_pylist()
    shown = {str(value).strip().lower() for value in values if value is not None} - {""}
    if any(isinstance(value, list) for value in values) or _all(shown, r"^\[.*\]$"):
        yield "list<int64>", None
        yield "list<float64>", None
        yield "list<string>", None
    if shown <= {"true", "false", "yes", "no", "t", "f", "y", "n"} or shown == {"0", "1"}:
        yield "bool", None
    if re.search(_NAMES["time"], name.lower()):
        yield from (("timestamp_ms", unit) for unit in _units(shown))
    yield "int64", None
    yield "float64", None
    if not _all(shown, r"^[0-9.+-]*$"):
        yield "timestamp_ms", None


def _all(shown: set[str], pattern: str) -> bool:
    return bool(shown) and all(re.match(pattern, each) for each in shown)


def _units(shown: set[str]) -> Iterator[TimeUnit | None]:
    """The unit in which all of these numbers lie between 2000 and 2100."""
    if not _all(shown, r"^[0-9]+(\.[0-9]+)?$"):
        yield None
        return
    low, high = _YEARS_2000_TO_2100
    for unit, in_a_second in _UNITS:
        if all(low * in_a_second <= float(each) < high * in_a_second for each in shown):
            yield unit


def _role(
    role: str, columns: tuple[Column, ...], roles: Mapping[str, str], *, kinds: set[str]
) -> str:
    told = roles.get(role)
    if told is not None:
        for column in columns:
            if column.name == told and column.kind in kinds:
                return told
        raise Refused(
            f"there is no column {told!r} that can be the {role}; the sample has "
            + ", ".join(f"{each.name} ({each.kind})" for each in columns),
            hint=f"a {role} is {' or '.join(sorted(kinds))}",
        )
    fitting = [each for each in columns if each.kind in kinds]
    named = [each for each in fitting if re.search(_NAMES[role], each.name.lower())]
    possible = named or (fitting if role == "time" else [])
    if not possible:
        raise Refused(
            f"no column looks like the {role}; the sample has "
            + ", ".join(f"{each.name} ({each.kind})" for each in columns),
            hint=f"name it: `--{role} COLUMN`",
        )
    ids = [each for each in possible if re.search(_ID, each.name.lower())]
    return (ids or possible)[0].name


def _positive(columns: tuple[Column, ...]) -> tuple[str, Any] | None:
    """What tells a click from what was only shown, where something does."""
    for column in columns:
        if column.kind == "bool" and re.search(_NAMES["click"], column.name.lower()):
            return column.name, True
    for column in columns:
        if column.kind == "string" and re.search(r"action|event|type|kind", column.name.lower()):
            said = set(pc.unique(column.values).to_pylist())
            for value in ("click", "purchase", "buy", "view"):
                if value in said and len(said) > 1:
                    return column.name, value
    return None


def _free_name(column: str, taken: set[str]) -> str:
    """What a feature and its table may be called: as the column, where that is a name."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", column)[:60]
    name = name if name[:1].isalpha() else f"c{name}"
    numbered = (f"{name}_{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def _weighed_by(column: Column, columns: tuple[Column, ...]) -> str | None:
    """The list of ids whose weights a list of numbers holds: of the same lengths in every event."""
    if column.kind != "list<float64>":
        return None
    lengths = _lengths(column)
    for each in sorted(columns, key=lambda each: _list_of(each) != _list_of(column)):
        if each.kind in {"list<string>", "list<int64>"} and (_lengths(each) == lengths).all():
            return each.name
    return None


def _list_of(column: Column) -> str | None:
    """The list of objects that it is taken from: ids and weights of one belong together."""
    before, in_list, _ = (column.path or "").partition("[]")
    return before if in_list else None


def _lengths(column: Column) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = pc.fill_null(pc.list_value_length(column.values), 0).to_numpy()
    return lengths


def _placed(
    column: Column, user: Column, item: Column, feature: str, weights: str | None
) -> tuple[str, Guess]:
    """Which tower may see it, as what, and why; `weights` is the column of its weights."""

    def left_out(why: str) -> tuple[str, Guess]:
        return "left_out", Guess(column.name, None, why)

    values = column.values
    if column.kind.startswith("list"):
        texts = pa.array([str(each) for each in values.to_pylist()])
        distinct = len(pc.unique(texts))
    else:
        texts, distinct = values, len(pc.unique(values.drop_null()))
    if distinct <= 1 or column.kind == "list<float64>":
        return left_out(
            "has one value, or none, in all events of the sample"
            if distinct <= 1
            else "is a list of numbers, which is no feature but `weights` of a list of ids"
        )
    of_item, of_user = _is_of(texts, item.values), _is_of(texts, user.values)
    if of_item and not (of_user and len(pc.unique(user.values)) < len(pc.unique(item.values))):
        if column.kind == "timestamp_ms":
            return left_out("is a time of the item (item_statistics has its age in the stream)")
        if column.kind == "string" and distinct >= len(pc.unique(item.values)):
            return left_out("has as many values as there are items (the item's id says the same)")
        return "candidate", Guess(
            column.name,
            _entry(column, feature, weights),
            "is of the item: the same in all its events",
        )
    if of_user:
        return "query", Guess(
            column.name,
            _entry(column, feature, weights),
            "is of the user: the same in all their events",
        )
    return left_out(
        "is not of the user or the item alone (an outcome must not be seen; what a request knows "
        "may be declared in query)"
    )


def _is_of(values: pa.Array, owners: pa.Array) -> bool:
    """Whether nearly every owner with several events has one value in all of them, and that is no
    wonder of a value that hardly ever changes: dealt out at random it would not be so.
    """
    table = pa.table({"owner": owners, "value": values}).drop_null()
    dealt = table["value"].take(pa.array(np.random.default_rng(0).permutation(len(table))))
    share, by_chance = (
        _constant_share(each) for each in (table, table.set_column(1, "value", dealt))
    )
    return share >= _CONSTANT_SHARE and by_chance < _BY_CHANCE * share


def _constant_share(table: pa.Table) -> float:
    """Share of the owners with several events whose values are all the same; 0 where too few."""
    told = table.group_by("owner").aggregate([("value", "count_distinct"), ("value", "count")])
    repeated = told.filter(pc.greater(told["value_count"], 1))
    if len(repeated) < _LEAST_REPEATED:
        return 0.0
    is_constant = pc.equal(repeated["value_count_distinct"], 1).cast(pa.float64())
    return float(pc.mean(is_constant).as_py())


def _entry(column: Column, name: str, weights: str | None) -> dict[str, Any]:
    entry, table = {"name": name, "column": column.name}, {"table": name}
    if column.kind == "float64":
        return {"kind": "dense"} | entry | {"standardise": True}
    if column.kind == "int64" and _is_measure(column):
        return {"kind": "dense"} | entry | {"transform": "log1p", "standardise": True}
    if column.kind == "timestamp_ms":
        return {"kind": "time_since"} | entry
    if column.kind.startswith("list"):
        if weights is not None:
            entry = {"kind": "weighted_varlen"} | entry | {"weights": weights}
        return {"kind": "varlen"} | entry | table
    if column.kind == "string" and _is_weighted(column, name):
        return {"kind": "weighted_varlen"} | entry | table
    return {"kind": "sparse"} | entry | table


def _is_measure(column: Column) -> bool:
    """Whether whole numbers are amounts rather than names."""
    named = re.search(_ID, column.name.lower())
    return named is None and len(pc.unique(column.values)) > _MANY


def _is_weighted(column: Column, name: str) -> bool:
    feature = WeightedVarlen(kind="weighted_varlen", name=name, column=column.name, table=name)
    clicks = pa.table({column.name: pa.chunked_array([column.values])})
    return feature.doubt(clicks, time_column="") is None


def _clicks_ms(
    by_name: Mapping[str, Column], time: str, positive: tuple[str, Any] | None
) -> npt.NDArray[np.int64]:
    times = by_name[time].values
    if positive is not None:
        name, value = positive
        times = times.filter(pc.equal(by_name[name].values, value))
    found: npt.NDArray[np.int64] = times.drop_null().cast(pa.int64()).to_numpy()
    return found


def _quiet_hour(times: pa.Array) -> int | None:
    """When the quietest three hours of the day begin, UTC."""
    ms = times.drop_null().cast(pa.int64()).to_numpy()
    hours = ms // 3_600_000
    if len(ms) == 0 or hours.max() - hours.min() < _HOURS:
        return None
    counts = np.bincount(hours % _HOURS, minlength=_HOURS)
    around = sum(np.roll(counts, -shift) for shift in range(_QUIET_HOURS))
    return int(np.argmin(around)) + 1
