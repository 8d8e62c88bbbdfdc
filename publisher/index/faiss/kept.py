"""What a version keeps of an index in its folder: all of it, or how it differs from another."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from publisher.index.faiss.delta import Delta, laid_over
from publisher.index.faiss.index import FaissIndex
from publisher.index.faiss.layout import Bytes, inverted_file
from twintide.arrays import (
    Contents,
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

PLACES = pa.schema({STEP: pa.int64()})


def write_whole(index: FaissIndex, folder: Path) -> Files:
    """All of it."""
    return {INDEX: write_file(folder, INDEX, index.to_bytes())}


def write_delta(base: Path, files: Files, delta: Delta, folder: Path) -> Files:
    """The file of the one that it goes on from, under a second name, and what differs."""
    share_file(base, folder / INDEX_BASE)
    steps = pa.table({STEP: np.diff(delta.places, prepend=0)}, schema=PLACES)
    return {
        **files,
        INDEX_NEWER: write_file(folder, INDEX_NEWER, bytes(delta.newer)),
        **write_arrays(folder, {INDEX_POSITIONS.removesuffix(".npy"): delta.positions}),
        **write_table(folder, INDEX_PLACES, steps),
    }


def whole_index(contents: Contents, *, items: int) -> Bytes:
    """The bytes of the index of so many items. Raises Corrupt."""
    if INDEX in contents:
        return contents[INDEX]
    if INDEX_BASE not in contents:
        raise Corrupt(f"there is no file {INDEX}")
    return laid_over(inverted_file(contents[INDEX_BASE]), delta_in(contents), items=items)


def delta_in(contents: Contents) -> Delta:
    """How the index of a version differs from the one that it goes on from. Raises Corrupt."""
    steps = parse_table(contents, INDEX_PLACES)
    positions = view_arrays(contents).get(INDEX_POSITIONS.removesuffix(".npy"))
    if INDEX_NEWER not in contents or positions is None or positions.dtype != np.int64:
        raise Corrupt(f"there is no file {INDEX_NEWER}, or no numbers {INDEX_POSITIONS}")
    if steps.schema != PLACES or steps[STEP].null_count:
        raise Corrupt(f"{INDEX_PLACES} must have one column {STEP} without nulls")
    places = np.cumsum(steps[STEP].to_numpy())
    return Delta(places, contents[INDEX_NEWER], np.asarray(positions, np.int64))
