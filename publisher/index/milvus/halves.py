"""The vectors of a version in half precision, as files: all, or those that differ from its night's.

What Milvus holds is these numbers. They are there for whoever goes on from a version, looks at a
few of its items, or has lost its Milvus.

    index.vectors.npy       float16 [items, width]: all of a whole index; or instead
    index.base.vectors.npy  the same file, of the night that this index goes on from
    index.newer.npy         float16 [n, width]: vectors that are others, or new
    index.rows.parquet      `step` int64, whose sum up to an item is its row in the one, or behind
                            it in the other
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher.index.searched import Positions, Vectors
from twintide.arrays import Contents, Files, parse_table, view_arrays, write_arrays, write_table
from twintide.errors import Corrupt
from twintide.files import share_file

Half = npt.NDArray[np.float16]
WHOLE, BASE, NEWER = "index.vectors", "index.base.vectors", "index.newer"
ROWS = "index.rows.parquet"
STEP = "step"
_SCHEMA = pa.schema({STEP: pa.int64()})


@dataclass(frozen=True)
class Halves:
    """Of each item its vector."""

    base: Half
    """[items of the night, width]"""

    newer: Half
    """[n, width]"""

    rows: Positions
    """int64 [items]: of each its row in the one, or behind it in the other."""

    @classmethod
    def whole(cls, vectors: Vectors) -> "Halves":
        """Of a whole index."""
        return cls(_half(vectors), _half(vectors[:0]), np.arange(len(vectors)))

    def at(self, positions: Positions) -> Vectors:
        """float32 [n, width]"""
        rows, size = self.rows[positions], len(self.base)
        found = np.empty((len(rows), self.base.shape[1]), np.float32)
        is_newer = rows >= size
        found[~is_newer] = self.base[rows[~is_newer]]
        found[is_newer] = self.newer[rows[is_newer] - size]
        return found

    def gone_on(self, vectors: Vectors, before: Positions) -> "Halves":
        """The same base with these vectors [items, width]; `before` [items] is where each item
        stood in this, -1 where it did not.
        """
        now = _half(vectors)
        rows = np.where(before < 0, len(self.base), self.rows[before])
        is_base = np.flatnonzero(rows < len(self.base))
        same = (self.base[rows[is_base]] == now[is_base]).all(axis=1)
        is_newer = np.ones(len(now), np.bool_)
        is_newer[is_base[same]] = False
        rows[is_newer] = len(self.base) + np.arange(int(is_newer.sum()))
        return Halves(self.base, now[is_newer], rows)

    def write_whole(self, folder: Path) -> Files:
        """All of them."""
        return write_arrays(folder, {WHOLE: self.base})

    def write_beside(self, base: Path, folder: Path) -> Files:
        """What differs from the file of another version, but for that file itself."""
        share_file(base, folder / f"{BASE}.npy")
        steps = pa.table({STEP: np.diff(self.rows, prepend=0)}, schema=_SCHEMA)
        return write_arrays(folder, {NEWER: self.newer}) | write_table(folder, ROWS, steps)


def halves_in(contents: Contents, *, width: int, items: int) -> Halves:
    """Those of a version. Raises Corrupt where they do not fit."""
    arrays = view_arrays(contents)
    if WHOLE in arrays:
        base = _checked(arrays[WHOLE], width)
        found = Halves(base, base[:0], np.arange(len(base)))
    else:
        if BASE not in arrays or NEWER not in arrays or ROWS not in contents:
            raise Corrupt(f"there is no file {WHOLE}.npy")
        steps = parse_table(contents, ROWS)
        if steps.schema != _SCHEMA or steps[STEP].null_count:
            raise Corrupt(f"{ROWS} must have one column {STEP} without nulls")
        rows = np.cumsum(steps[STEP].to_numpy())
        found = Halves(_checked(arrays[BASE], width), _checked(arrays[NEWER], width), rows)
    bound = len(found.base) + len(found.newer)
    if len(found.rows) != items or found.rows.min(initial=0) < 0:
        raise Corrupt("the vectors of the index are more or fewer than its items")
    if found.rows.max(initial=-1) >= bound:
        raise Corrupt(f"{ROWS} names a vector that there is not")
    return found


def _half(vectors: Vectors) -> Half:
    with np.errstate(over="ignore"):  # what is not finite the gate refuses
        return vectors.astype(np.float16)


def _checked(array: npt.NDArray[np.generic], width: int) -> Half:
    if array.dtype != np.float16 or array.ndim != 2 or array.shape[1] != width:  # noqa: PLR2004
        raise Corrupt(f"vectors of an index of {array.dtype} {array.shape}, not {width} wide")
    return np.asarray(array, np.float16)
