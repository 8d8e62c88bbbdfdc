"""What a collection holds: rows that are of one version and not of another.

A row of an item is visible from the epoch in `since` until that in `until`. An upsert of an hour
adds rows and ends others; so what an earlier version of the collection answers stays as it was, and
an hour costs what has changed.
"""

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import numpy as np

from publisher.attributes import Attributes
from publisher.index.milvus.found import numbers, visible
from publisher.index.milvus.service import MOST_KEYS, MOST_ROWS, Service
from publisher.index.searched import Bools, Positions, Vectors
from twintide.errors import Refused
from twintide.keys import Keys, mixed
from twintide.ragged import Ids

END = 2**62
"""The epoch that never comes."""

_KEYS_AT_ONCE = 1_000


def rows_of(
    keys: Keys,
    vectors: Vectors,
    attributes: Attributes,
    positions: Positions,
    *,
    epoch: int,
    first: int,
) -> Iterator[dict[str, Any]]:
    """A row of each item at these positions, from this epoch on, numbered from `first`."""
    told = [_lists(each.ids.take(positions)) for each in attributes.values()]
    items = numbers(keys[positions])
    for number, (item, position) in enumerate(zip(items, positions.tolist(), strict=True)):
        own = {f"attribute_{column}": lists[number] for column, lists in enumerate(told)}
        row = {"row": first + number, "item": item, "since": epoch, "until": END}
        yield row | own | {"vector": vectors[position]}


def add(service: Service, collection: str, rows: Iterator[dict[str, Any]]) -> None:
    """Write new rows."""
    while some := list(islice(rows, MOST_ROWS)):
        service.add(collection, some)


def end(service: Service, collection: str, keys: Keys, *, epoch: int, columns: int) -> None:
    """From this epoch on these items have no row of an epoch before."""
    before = f"{visible(epoch - 1)} and since < {epoch}"
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        some = numbers(keys[begin : begin + _KEYS_AT_ONCE])
        _until(service, collection, f"{before} and item in {some}", epoch, columns)


def undo_after(service: Service, collection: str, epoch: int, *, columns: int) -> None:
    """Take back what a publish began after this epoch and no version came of."""
    service.take_away(collection, f"since > {epoch}")
    _until(service, collection, f"until > {epoch} and until < {END}", END, columns)


def _until(service: Service, collection: str, which: str, epoch: int, columns: int) -> None:
    told = [f"attribute_{number}" for number in range(columns)]
    found = service.rows(collection, which, ["row", "item", "since", "until", *told, "vector"])
    for begin in range(0, len(found), MOST_ROWS):
        some = found[begin : begin + MOST_ROWS]
        service.put(collection, [row | {"until": epoch} for row in some])


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


def _lists(ids: Ids) -> list[list[int]]:
    most = int(np.diff(ids.offsets).max(initial=0))
    if most > MOST_KEYS:
        raise Refused(
            f"an item has {most:,} values of a column of publishing.filters; Milvus holds "
            f"{MOST_KEYS:,} of one",
            hint="leave the column out of publishing.filters, or publishing.milvus",
        )
    found, offsets = numbers(ids.keys), ids.offsets.tolist()
    return [found[begin:end] for begin, end in pairwise(offsets)]
