"""The columns of a sample whose values lie in objects: each taken out by the path that finds it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import pyarrow as pa

from twintide.columnpath import ColumnPath, Steps
from twintide.datafile import Raw
from twintide.forms import plain


@dataclass(frozen=True)
class Found:
    """A column of the sample."""

    name: str
    path: str | None
    """None where it is a field of its name."""

    values: Raw


def unfolded(raw: Mapping[str, Raw]) -> list[Found]:
    """The fields of a sample, and in the place of those that hold objects what lies in them, under
    the names on the way. What no path can name is left out.
    """
    flat: list[Found] = []
    nested: list[tuple[ColumnPath, Raw]] = []
    for name, values in raw.items():
        held = _pairs(values) if isinstance(values, list) else values
        own = ((name, False),)
        for steps in _in_values(held, own) if isinstance(held, list) else _in_type(held.type, own):
            path = ColumnPath(steps)
            if steps == own:
                flat.append(Found(name, None, values))
            elif _can_be_said(path):
                nested.append((path, _at(path, held)))
    taken = {each.name for each in flat}
    for path, values in nested:
        said = "_".join(name for name, _ in path.steps)
        free = chain([said], (f"{said}_{number}" for number in count(2)))
        name = next(each for each in free if each not in taken)
        taken.add(name)
        flat.append(Found(name, str(path), values))
    return flat


def _can_be_said(path: ColumnPath) -> bool:
    try:
        return ColumnPath.of(str(path)) == path
    except ValueError:
        return False


def _at(path: ColumnPath, held: Raw) -> Raw:
    if isinstance(held, list):
        return [path.in_row({path.top: value}) for value in held]
    return path.in_column(held)


def _in_values(values: list[Any], steps: Steps) -> Iterator[Steps]:
    """What lies within values, whose objects are tuples of pairs; or their own place."""
    there = [value for value in values if value is not None]
    kinds = {type(value) for value in there}
    if kinds == {list} and not _is_in_list(steps):
        parts = [part for value in there for part in value if part is not None]
        if {type(part) for part in parts} == {tuple}:
            there, kinds, steps = parts, {tuple}, _as_list(steps)
    if kinds != {tuple}:
        yield steps
        return
    by_name: dict[str, list[Any]] = {}
    for each in there:
        for name, value in each:
            by_name.setdefault(name, []).append(value)
    for name, inner in by_name.items():
        yield from _in_values(inner, (*steps, (name, False)))


def _in_type(kind: pa.DataType, steps: Steps) -> Iterator[Steps]:
    """What lies within values of such a type; or their own place."""
    if not _is_in_list(steps):
        lists, _ = plain(pa.nulls(0, kind))
        if pa.types.is_list(lists.type) and pa.types.is_struct(lists.type.value_type):
            kind, steps = lists.type.value_type, _as_list(steps)
    if not pa.types.is_struct(kind):
        yield steps
        return
    for field in kind:
        yield from _in_type(field.type, (*steps, (field.name, False)))


def _is_in_list(steps: Steps) -> bool:
    return any(is_list for _, is_list in steps)


def _as_list(steps: Steps) -> Steps:
    return (*steps[:-1], (steps[-1][0], True))


def _pairs(value: Any) -> Any:
    """Objects as tuples of pairs, which are never taken for lists."""
    match value:
        case dict():
            return tuple((name, _pairs(each)) for name, each in value.items())
        case list():
            return [_pairs(each) for each in value]
    return value
