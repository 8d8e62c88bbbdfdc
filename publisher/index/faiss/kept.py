"""What a version keeps of an index in its folder: all of it, or how it differs from another."""

from collections.abc import Collection, Mapping
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa

from publisher.index.faiss.delta import Delta, Positions, laid_over, merged
from publisher.index.faiss.index import FaissIndex
from publisher.index.faiss.layout import Bytes, inverted_file
from twintide.arrays import (
    Contents,
    FileEntry,
    Files,
    parse_table,
    view_arrays,
    write_arrays,
    write_file,
    write_table,
)
from twintide.errors import Corrupt
from twintide.files import share_file
from twintide.versions import INDEX, INDEX_BASE, INDEX_NEWER, INDEX_PLACES, INDEX_POSITIONS

STEP = "step"
"""From the place of the item before: one, for nearly all, which takes no room."""

Linked = Mapping[str, tuple[Path, FileEntry]]
"""Files of an earlier version, by the name that they have in the next."""

MOST_EARLIER = 15
"""Deltas that another one is made on top of; a reader lays each over the others."""

PLACES = pa.schema({STEP: pa.int64()})


def write_whole(index: FaissIndex, folder: Path) -> Files:
    """All of it."""
    return {INDEX: write_file(folder, INDEX, index.to_bytes())}


def write_delta(base: Path, files: Files, earlier: Linked, delta: Delta, folder: Path) -> Files:
    """What differs; by links, under their names here, the file of the one that it goes on from and
    the deltas that this one was made on top of.
    """
    share_file(base, folder / INDEX_BASE)
    for name, (path, _) in earlier.items():
        share_file(path, folder / name)
    steps = pa.table({STEP: np.diff(delta.places, prepend=0)}, schema=PLACES)
    return {
        **files,
        **{name: entry for name, (_, entry) in earlier.items()},
        INDEX_NEWER: write_file(folder, INDEX_NEWER, bytes(delta.newer)),
        **write_arrays(folder, {INDEX_POSITIONS.removesuffix(".npy"): delta.positions}),
        **write_table(folder, INDEX_PLACES, steps),
    }


def linked(folder: Path, files: Files) -> Linked:
    """The deltas of a version in that folder, under the names that they have in the next one."""
    own = _deltas(files)
    found = {}
    for number, names in enumerate(own, start=1):
        for name, later in zip(names, _earlier(number), strict=True):
            found[later] = (folder / name, files[name])
    return found


def whole_index(contents: Contents, *, items: int) -> Bytes:
    """The bytes of the index of so many items. Raises Corrupt."""
    if INDEX in contents:
        return contents[INDEX]
    if INDEX_BASE not in contents:
        raise Corrupt(f"there is no file {INDEX}")
    delta = merged(deltas_in(contents))
    return laid_over(inverted_file(contents[INDEX_BASE]), delta, items=items)


def deltas_in(contents: Contents) -> list[Delta]:
    """How the index of a version differs from the one that it goes on from, the oldest first.
    Raises Corrupt.
    """
    steps = parse_table(contents, INDEX_PLACES)
    if steps.schema != PLACES or steps[STEP].null_count:
        raise Corrupt(f"{INDEX_PLACES} must have one column {STEP} without nulls")
    places, arrays = np.cumsum(steps[STEP].to_numpy()), view_arrays(contents)
    found = []
    for newer, of_newer in _deltas(contents):
        positions = arrays.get(of_newer.removesuffix(".npy"))
        if newer not in contents or positions is None or positions.dtype != np.int64:
            raise Corrupt(f"there is no file {newer}, or no numbers {of_newer}")
        found.append(Delta(places, contents[newer], np.asarray(positions, np.int64)))
    if len(found) > 1 and not is_in_place(places):
        raise Corrupt("deltas lie upon each other, and items have moved meanwhile")
    return found


def is_in_place(places: Positions) -> bool:
    """Whether every item stands where it did."""
    return np.array_equal(places, np.arange(len(places)))


def _deltas(files: Collection[str]) -> list[tuple[str, str]]:
    """Their vectors and positions by name, the oldest first and the version's own last."""
    earlier = takewhile(lambda names: not set(names).isdisjoint(files), map(_earlier, count(1)))
    return [*earlier, (INDEX_NEWER, INDEX_POSITIONS)]


def _earlier(number: int) -> tuple[str, str]:
    return f"index.newer.{number:02}.faiss", f"index.positions.{number:02}.npy"
