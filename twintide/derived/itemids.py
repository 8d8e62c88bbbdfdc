"""Ids of items as the log has them, whole numbers or texts, by row."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.errors import Corrupt
from twintide.rowlists import RowLists
from twintide.rowstore import Column, Parts, RowNumbers, RowStore

_NUMBERS = {"ids": Column(np.int64)}
_BYTES = {"bytes": np.uint8}


class ItemIds(Protocol):
    """The id of each item."""

    def add(self, count: int) -> None:
        """That many rows more, which are nobody's yet."""

    def write(self, rows: RowNumbers, ids: pa.Array) -> None:
        """These distinct rows are those of these items; none is null."""

    def clear(self, rows: RowNumbers) -> None:
        """These distinct rows are nobody's any more."""

    def read(self, rows: RowNumbers) -> pa.Array:
        """Of these items."""

    def parts(self, name: str) -> Parts:
        """As a checkpoint has them."""


def ids_of(of_type: pa.DataType) -> ItemIds:
    """Room for ids of that type, without one."""
    if pa.types.is_integer(of_type):
        return _Numbers(RowStore.empty(_NUMBERS), of_type)
    return _Texts(RowLists.empty(_BYTES), of_type)


def ids_in(parts: Parts, name: str, of_type: pa.DataType) -> ItemIds:
    """What `parts` gave: it goes on in these stores. Raises Corrupt where it is missing."""
    if not pa.types.is_integer(of_type):
        return _Texts(parts.lists_of(name, _BYTES), of_type)
    store = parts.store_of(name)
    if store.names != tuple(_NUMBERS):
        raise Corrupt(f"{name} are no ids")
    return _Numbers(store, of_type)


class _Numbers:
    def __init__(self, rows: RowStore, of_type: pa.DataType) -> None:
        self._rows, self._type = rows, of_type

    def add(self, count: int) -> None:
        self._rows.grow(count)

    def write(self, rows: RowNumbers, ids: pa.Array) -> None:
        self._rows.touch(rows)["ids"][rows] = ids.to_numpy(zero_copy_only=False)

    def clear(self, rows: RowNumbers) -> None:
        self._rows.touch(rows)["ids"][rows] = 0

    def read(self, rows: RowNumbers) -> pa.Array:
        return pa.array(self._rows.at(rows)["ids"][rows], self._type)

    def parts(self, name: str) -> Parts:
        return Parts({name: self._rows}, {})


class _Texts:
    def __init__(self, lists: RowLists, of_type: pa.DataType) -> None:
        self._lists, self._type = lists, of_type

    def add(self, count: int) -> None:
        self._lists.add(count)

    def write(self, rows: RowNumbers, ids: pa.Array) -> None:
        offsets, data = _as_bytes(ids)
        self._lists.replace(rows, offsets, {"bytes": data})

    def clear(self, rows: RowNumbers) -> None:
        self._lists.clear(rows)

    def read(self, rows: RowNumbers) -> pa.Array:
        entries, offsets = self._lists.read(rows)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(entries["bytes"])]
        return pa.Array.from_buffers(pa.large_string(), len(rows), buffers).cast(self._type)

    def parts(self, name: str) -> Parts:
        return Parts({}, {}, {name: self._lists})


def _as_bytes(ids: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    texts = pa.concat_arrays([ids.cast(pa.large_string())])  # its own, from the first byte on
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    held = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    begin, end = (int(ends[0]), int(ends[-1])) if len(ends) else (0, 0)
    return ends - begin, held[begin:end]
