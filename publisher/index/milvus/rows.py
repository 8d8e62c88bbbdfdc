"""What a collection holds: rows that are of one version and not of another.

A row of an item is visible from the epoch in `since` until that in `until`. An upsert of an hour
adds rows and ends others; so what an earlier version of the collection answers stays as it was, and
an hour costs what has changed.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np

from publisher.attributes import Attributes
from publisher.index.milvus.columns import field, numbers, values_of
from publisher.index.milvus.found import visible
from publisher.index.milvus.service import MOST_ROWS, Service
from publisher.index.searched import Bools, Positions, Vectors
from twintide.keys import Keys, mixed
from twintide.ragged import Ids
from twintide.versions import IndexAt

END = 2**62
"""The epoch that never comes."""

_KEYS_AT_ONCE = 1_000


def rows_of(
    at: IndexAt,
    keys: Keys,
    vectors: Vectors,
    attributes: Attributes,
    positions: Positions,
    *,
    first: int,
) -> Iterator[dict[str, Any]]:
    """A row of each item at these positions, from its epoch on, numbered from `first`."""
    told = values_of(at, attributes, positions)
    items = numbers(keys[positions])
    for number, (item, position) in enumerate(zip(items, positions.tolist(), strict=True)):
        own = {name: values[number] for name, values in told.items()}
        row = {"row": first + number, "item": item, "since": at.epoch, "until": END}
        yield row | own | {"vector": vectors[position]}


def add(service: Service, collection: str, rows: Iterator[dict[str, Any]]) -> None:
    """Write new rows."""
    while some := list(islice(rows, MOST_ROWS)):
        service.add(collection, some)


def end(service: Service, at: IndexAt, keys: Keys) -> None:
    """From its epoch on these items have no row of an epoch before."""
    before = f"{visible(at.epoch - 1)} and since < {at.epoch}"
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        some = numbers(keys[begin : begin + _KEYS_AT_ONCE])
        _until(service, at, f"{before} and item in {some}", at.epoch)


def undo_after(service: Service, at: IndexAt) -> None:
    """Take back what a publish began after its epoch and no version came of."""
    service.take_away(at.collection, f"since > {at.epoch}")
    _until(service, at, f"until > {at.epoch} and until < {END}", END)


def forget(service: Service, at: IndexAt, epochs: Sequence[int]) -> None:
    """Take away the rows that no version sees, of those that there are: of these epochs, ascending,
    the last of which is the newest there was.
    """
    gaps = [(a, b) for a, b in pairwise((-1, *epochs)) if b - a > 1]
    if gaps:
        unseen = " or ".join(f"(since > {a} and until <= {b})" for a, b in gaps)
        service.take_away(at.collection, unseen)


def _until(service: Service, at: IndexAt, which: str, epoch: int) -> None:
    told = [field(at, name) for name in at.columns]
    fields = ["row", "item", "since", "until", *told, "vector"]
    found = service.rows(at.collection, which, fields)
    for begin in range(0, len(found), MOST_ROWS):
        some = found[begin : begin + MOST_ROWS]
        service.put(at.collection, [row | {"until": epoch} for row in some])


def told_alike(now: Attributes, before: Attributes, places: Positions) -> Bools:
    """[items of now]: whether the item that stood at this place before had the same keys."""
    found = np.ones(len(places), np.bool_)
    for name, attribute in now.items():
        found &= _sums(attribute.ids) == _sums(before[name].ids)[places]
    return found


def _sums(ids: Ids) -> Keys:
    """uint64 [items]: alike where the keys are, in whatever order."""
    before = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed(ids.keys.copy()))))
    return before[ids.offsets[1:]] - before[ids.offsets[:-1]]
