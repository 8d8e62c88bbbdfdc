"""Tables that are read and never change: rows by key. Row 0 is the default row."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.errors import Corrupt
from twintide.keys import NO_KEY, Keys, places_of
from twintide.model.exported.weights import Floats
from twintide.model.vocabulary import Vocabulary
from twintide.rowstore import INDEX, RowNumbers, RowStore
from twintide.vectorstore import Vectors


class Known(Protocol):
    """Ids that have a row."""

    @property
    def known(self) -> Keys:
        """Their keys."""


class LookedUp(Known, Protocol):
    """What features look up."""

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for one that it does not know."""

    def take(self, rows: RowNumbers) -> Floats:
        """float32 [n, width]: the rows of these numbers."""


class Rows:
    """Rows that were learnt, as a version carries them."""

    def __init__(self, keys: Keys, weights: Floats) -> None:
        self._weights = weights
        rows = np.flatnonzero(keys != NO_KEY)
        self.known = keys[rows]
        self._order = rows[np.argsort(self.known)]
        self._ascending = keys[self._order]

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for one that it does not know."""
        if not len(self._ascending):
            return np.zeros(len(keys), np.int64)
        places, is_known = places_of(keys, self._ascending)
        return self._order[places] * is_known

    def take(self, rows: RowNumbers) -> Floats:
        """float32 [n, width]: the rows of these numbers."""
        return self._weights.take(rows, axis=0)


class Fixed:
    """Fixed vectors; row 0 is the zero vector of unknown ids."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self.known = vectors.keys
        self.rows_of = vectors.rows_of
        self.take = vectors.take


def rows_in(arrays: Arrays, table: str, *, width: int) -> Rows:
    """`table.<name>.keys` and `.weights`. Raises Corrupt where they are not there, or not whole."""
    keys, weights = (arrays.get(f"table.{table}.{part}") for part in ("keys", "weights"))
    if keys is None or weights is None:
        raise Corrupt(f"there is no table {table}")
    if keys.dtype != np.uint64 or keys.ndim != 1 or not len(keys):
        raise Corrupt(f"the keys of table {table} are {keys.dtype} {keys.shape}")
    if weights.dtype != np.float32 or weights.shape != (len(keys), width):
        raise Corrupt(f"table {table} is {weights.dtype} {weights.shape}, and must be {width} wide")
    if keys[0] != NO_KEY:
        raise Corrupt(f"the first row of table {table} is not its default row")
    return Rows(np.asarray(keys, np.uint64), np.asarray(weights, np.float32))


_OF_ONE = 2
"""Offsets of one bag."""


def pooled(
    rows: Floats,
    offsets: npt.NDArray[np.int64],
    pooling: str,
    counts: npt.NDArray[np.float32] | None,
) -> Floats:
    """[B, W] of rows [N, W]: bag i pools rows[offsets[i]:offsets[i + 1]], each as often as its
    count says, where there are counts; an empty bag is zero.
    """
    if counts is not None:
        rows, pooling = rows * counts[:, None], "sum"
    if len(offsets) == _OF_ONE:
        total = rows.sum(axis=0, keepdims=True)
        is_mean = pooling == "mean" and len(rows) > 1
        pooled_row: Floats = total / np.float32(len(rows)) if is_mean else total
        return pooled_row
    lengths = offsets[1:] - offsets[:-1]
    found = np.zeros((len(lengths), rows.shape[1]), np.float32)
    is_full = lengths > 0
    if len(rows):
        found[is_full] = np.add.reduceat(rows, offsets[:-1][is_full], axis=0)
    if pooling == "mean":
        found /= np.maximum(lengths, 1).astype(np.float32)[:, None]
    return found


class StoredRows:
    """The same where a checkpoint has them: rows that are looked at are read, and no others."""

    def __init__(self, store: RowStore, slots: RowStore) -> None:
        self._store, self._vocabulary = store, Vocabulary(slots)
        self.rows_of = self._vocabulary.rows_of

    @property
    def known(self) -> Keys:
        """The keys of some of them, which is enough to try them by."""
        return self._vocabulary.some()

    def take(self, rows: RowNumbers) -> Floats:
        """float32 [n, width]: the rows of these numbers."""
        return self._store.take("weights", rows)


def stored_rows(stores: Mapping[str, RowStore], table: str, *, width: int) -> StoredRows:
    """`table.<name>` and what finds its rows. Raises Corrupt where they are not there, or no such
    rows.
    """
    store, slots = stores.get(f"table.{table}"), stores.get(f"table.{table}{INDEX}")
    if store is None or slots is None:
        raise Corrupt(f"there is no table {table}")
    weights = store.at(slice(0)).get("weights")
    if weights is None or weights.dtype != np.float32 or weights.shape[1:] != (width,):
        raise Corrupt(f"table {table} has no weights, or they are not {width} wide")
    if not len(store):
        raise Corrupt(f"table {table} has no default row")
    return StoredRows(store, slots)
