"""Where in a message, or in a row of a data file, a column's value lies: user.id, topics[].name.

A path is names with dots between, from the row inwards. `[]` behind one says that a list of objects
lies there, of each of which the rest is taken. What is missing on the way is null, for an object in
a list in its place: so two paths into one list give lists of one length. What is of another kind on
the way is bad, and never null.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twintide.events import EventSchema
from twintide.forms import plain
from twintide.values import Digits

MAX_NAMES = 32
"""Of one path: what lies deeper nobody means."""

_SHOWN = 80
_NAME = re.compile(r'[^\s.\[\]"\\\x00-\x1f](?:[^.\[\]"\\\x00-\x1f]*[^\s.\[\]"\\\x00-\x1f])?')
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    Digits: "a number",
    list: "a list",
    tuple: "an object",
}
Steps = tuple[tuple[str, bool], ...]


class AstrayError(ValueError):
    """What lies on the way to a value is not what the path says; the text says what it is."""


@dataclass(frozen=True)
class ColumnPath:
    """The place of one column's values."""

    steps: Steps
    """Names from the row inwards, and of each whether a list lies there."""

    @classmethod
    def of(cls, text: str) -> "ColumnPath":
        """Raises ValueError where it is none; the text goes on after what was read."""
        parts = text.split(".")
        steps = tuple((part.removesuffix("[]"), part.endswith("[]")) for part in parts)
        wrong = next((name for name, _ in steps if not _NAME.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"is no path: {wrong!r} is no name in it")
        if len(steps) > MAX_NAMES:
            raise ValueError(f"has {len(steps)} names, and {MAX_NAMES} are the most")
        if sum(is_list for _, is_list in steps) > 1:
            raise ValueError("has [] twice: lists in lists have no column type")
        if steps[-1][1]:
            raise ValueError("ends with []: leave it out, a list of values is a value")
        return cls(steps)

    @classmethod
    def named(cls, name: str) -> "ColumnPath":
        """The field of that name, whatever signs it has."""
        return cls(((name, False),))

    def __str__(self) -> str:
        return _text_of(self.steps)

    @cached_property
    def top(self) -> str:
        """The field of the row that holds it."""
        return self.steps[0][0]

    @cached_property
    def is_named(self) -> bool:
        """Whether it is a field of the row."""
        return len(self.steps) == 1

    @cached_property
    def is_in_list(self) -> bool:
        """Whether there is one value for each object of a list."""
        return any(is_list for _, is_list in self.steps)

    def takes(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """What it takes the value of each name on the way for: an object, a list, its own value."""
        for step, (_, is_list) in enumerate(self.steps, 1):
            kind = "value" if step == len(self.steps) else "list" if is_list else "object"
            yield tuple(name for name, _ in self.steps[:step]), kind

    def in_row(self, row: Mapping[str, Any]) -> Any:
        """The value of a row whose objects are tuples of (name, value). Raises AstrayError."""
        return self._found(row.get(self.top), 0)

    def _found(self, value: Any, step: int) -> Any:
        """What the steps behind this one find in what this one found."""
        is_list, inner = self.steps[step][1], step + 1
        if value is None or (inner == len(self.steps) and not is_list):
            return value
        if not is_list:
            return self._found(self._member(value, inner), inner)
        if not isinstance(value, list):
            where = self._until(step).removesuffix("[]")
            raise AstrayError(f"{where} is {_kind(value)}, and no list")
        return [
            None if each is None else self._found(self._member(each, inner), inner)
            for each in value
        ]

    def _member(self, value: Any, step: int) -> Any:
        if not isinstance(value, tuple):
            where = self._until(step - 1)
            raise AstrayError(f"{where} is {_kind(value)}, and no object")
        name = self.steps[step][0]
        found = [each for key, each in value if key == name]
        if len(found) > 1:
            raise AstrayError(f"{self._until(step)} stands twice")
        return found[0] if found else None

    def in_column(self, column: pa.Array) -> pa.Array:
        """The values of a column of rows' fields, as Arrow holds them. Raises AstrayError."""
        is_list = self.steps[0][1]
        for step in range(1, len(self.steps)):
            if is_list:
                return self._in_lists(column, step)
            column = self._field(column, step)
            is_list = self.steps[step][1]
        return column

    def _in_lists(self, column: pa.Array, step: int) -> pa.Array:
        lists, _ = plain(column)
        if not pa.types.is_list(lists.type):
            return self._nothing(lists, step - 1, "list")
        offsets = np.zeros(len(lists) + 1, np.int32)
        np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(), out=offsets[1:])
        found = lists.flatten()
        for inner in range(step, len(self.steps)):
            found = self._field(found, inner)
        return pa.ListArray.from_arrays(pa.array(offsets), found, mask=lists.is_null())

    def _field(self, column: pa.Array, step: int) -> pa.Array:
        if not pa.types.is_struct(column.type):
            return self._nothing(column, step - 1, "struct")
        name = self.steps[step][0]
        places = column.type.get_all_field_indices(name)
        if len(places) > 1:
            raise AstrayError(f"{self._until(step)} stands twice")
        return pc.struct_field(column, places) if places else pa.nulls(len(column))

    def _nothing(self, column: pa.Array, step: int, wanted: str) -> pa.Array:
        """Nulls, where nothing else is there; how those are typed is no matter."""
        if column.null_count < len(column):
            where = self._until(step)
            where = where.removesuffix("[]") if wanted == "list" else where
            kind = " ".join(str(column.type).split())  # names of fields may hold line ends
            kind = kind if len(kind) <= _SHOWN else f"{kind[:_SHOWN]}…"
            raise AstrayError(f"{where} is {kind}, and no {wanted}")
        return pa.nulls(len(column))

    def _until(self, step: int) -> str:
        return _text_of(self.steps[: step + 1])


def paths_of(schema: EventSchema, names: Mapping[str, str] | None = None) -> dict[str, ColumnPath]:
    """Where each column lies, in the schema's order; `names` are those of columns that are fields
    of the row, whatever the schema says.
    """
    names = names or {}
    return {
        name: ColumnPath.of(schema.paths[name])
        if name in schema.paths and name not in names
        else ColumnPath.named(names.get(name, name))
        for name in schema.columns
    }


def nested(paths: Sequence[ColumnPath], *values: Any) -> dict[str, Any]:
    """The row that has these values in these places; what is null is left out."""
    row: dict[str, Any] = {}
    for path, value in zip(paths, values, strict=True):
        if value is not None:
            _put(row, path.steps, value)
    return row


def _put(row: dict[str, Any], steps: Steps, value: Any) -> None:
    (name, is_list), *rest = steps
    if not rest:
        row[name] = value
    elif not is_list:
        _put(row.setdefault(name, {}), tuple(rest), value)
    else:
        objects = row.setdefault(name, [])
        objects += [{} for _ in range(len(value) - len(objects))]
        for each, part in zip(objects, value, strict=False):
            if part is not None:
                _put(each, tuple(rest), part)


def arrow_fields(kinds: Mapping[ColumnPath, pa.DataType]) -> list[pa.Field]:
    """The fields of a row that holds values of these types in these places, of which none meet."""
    leaves = {
        path.steps: kind.value_type if path.is_in_list else kind for path, kind in kinds.items()
    }
    return _fields(leaves)


def _fields(leaves: Mapping[Steps, pa.DataType]) -> list[pa.Field]:
    groups: dict[tuple[str, bool], dict[Steps, pa.DataType]] = {}
    for (first, *rest), kind in leaves.items():
        groups.setdefault(first, {})[tuple(rest)] = kind
    fields = []
    for (name, is_list), inner in groups.items():
        kind = inner.get(()) or pa.struct(_fields(inner))
        fields.append(pa.field(name, pa.list_(kind) if is_list else kind))
    return fields


def _text_of(steps: Steps) -> str:
    return ".".join(f"{name}[]" if is_list else name for name, is_list in steps)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "text")
