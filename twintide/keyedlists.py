"""A list of entries for each key, changed in place: whose clicks are whose.

A checkpoint keeps the stores that they lie in, so that an hour saves the entries that it touched;
who reads all of them gets arrays, keys ascending.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.errors import Corrupt
from twintide.keyedrows import KeyedRows
from twintide.keys import Keys
from twintide.rowlists import Entries, Offsets, RowLists
from twintide.rowstore import INDEX, Parts, RowNumbers

_LISTS = ".lists"


class KeyedLists:
    """Key -> list; a key that is not known has none."""

    def __init__(self, keys: KeyedRows, lists: RowLists) -> None:
        self._keys = keys
        self._lists = lists
        """By row of `_keys`; nobody's row has none."""

    @classmethod
    def empty(cls, dtypes: Mapping[str, npt.DTypeLike], *, longest: int) -> "KeyedLists":
        lists = RowLists(dtypes, longest=longest)
        lists.add(1)
        return cls(KeyedRows(), lists)

    @classmethod
    def of(cls, keys: Keys, offsets: Offsets, entries: Entries, *, longest: int) -> "KeyedLists":
        """Of distinct keys, one list after the other."""
        lists = RowLists.of(entries, np.concatenate(([0], offsets)), longest=longest)
        return cls(KeyedRows.of(keys), lists)

    def read(self, keys: Keys) -> tuple[Entries, Offsets]:
        """The lists of these keys, in this order."""
        return self._lists.read(self._keys.rows_of(keys))

    def last(self, keys: Keys, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The last entry of each key's list, and whether there is one; any where not."""
        return self._lists.last(self._keys.rows_of(keys), name)

    def replace(self, keys: Keys, offsets: Offsets, entries: Entries) -> None:
        """Give each of these distinct keys another list."""
        self._lists.add(self._keys.add(keys))
        self._lists.replace(self._keys.rows_of(keys), offsets, entries)

    def ascending(self) -> tuple[Keys, Offsets, Entries]:
        """All keys, ascending, and their lists one after the other."""
        rows: RowNumbers = 1 + np.argsort(self._keys.keys[1:])
        entries, offsets = self._lists.read(rows)
        return self._keys.keys[rows], offsets, entries

    def parts(self, *, prefix: str) -> Parts:
        """As a checkpoint has them."""
        sizes = sorted(self._lists.free)
        stores = {
            f"{prefix}.keys": self._keys.store,
            f"{prefix}.keys{INDEX}": self._keys.slots,
            f"{prefix}{_LISTS}": self._lists.rows,
            f"{prefix}.cells": self._lists.cells,
            **{f"{prefix}.free.{size}": self._lists.free[size] for size in sizes},
        }
        free = np.array([(each, self._lists.free_counts[each]) for each in sizes], np.int64)
        return Parts(stores, {f"{prefix}.free": free.reshape(-1, 2)})

    @classmethod
    def from_parts(cls, parts: Parts, *, prefix: str, longest: int | None = None) -> "KeyedLists":
        """What `parts` gave: it goes on in these stores. Raises Corrupt where one is missing."""
        try:
            free = parts.arrays[f"{prefix}.free"].reshape(-1, 2).tolist()
            stores = parts.stores
            keys = KeyedRows(stores[f"{prefix}.keys"], stores[f"{prefix}.keys{INDEX}"])
            lists = RowLists.in_stores(
                stores[f"{prefix}{_LISTS}"],
                stores[f"{prefix}.cells"],
                {size: (stores[f"{prefix}.free.{size}"], count) for size, count in free},
                longest=longest,
            )
        except (KeyError, ValueError) as error:
            raise Corrupt(f"{prefix}: what belongs to its lists is missing: {error}") from error
        return cls(keys, lists)


def has_lists(parts: Parts, *, prefix: str) -> bool:
    """Whether lists of this name are kept in stores."""
    return f"{prefix}{_LISTS}" in parts.stores


def as_arrays(lists: KeyedLists) -> Arrays:
    """For who reads all: key i of `users` has items[offsets[i]:offsets[i + 1]], and so on."""
    users, offsets, entries = lists.ascending()
    return {"users": users, "offsets": offsets, **entries}


def whole(parts: Parts) -> Arrays:
    """All parts of a checkpoint as arrays, lists as `as_arrays` has them. Raises Corrupt."""
    prefixes = [n.removesuffix(_LISTS) for n in parts.stores if n.endswith(_LISTS)]
    of_lists = {prefix: KeyedLists.from_parts(parts, prefix=prefix) for prefix in prefixes}
    own = {name for prefix, each in of_lists.items() for name in each.parts(prefix=prefix).stores}
    others = Parts({n: store for n, store in parts.stores.items() if n not in own}, parts.arrays)
    found = others.whole()
    for prefix, lists in of_lists.items():
        del found[f"{prefix}.free"]
        found |= {f"{prefix}.{name}": array for name, array in as_arrays(lists).items()}
    return found
