"""An index that goes on from another: what moved, what came and what went, and the rest by a link.

The centres stay, so nothing is learnt anew; a vector that moved goes to the list of its nearest
centre. What is stored is the whole index that one goes on from, which is the same file for all
hours of a day, and an index of the vectors that moved or are new. A reader lays the one over the
other and gets the bytes of a whole index, which is checked and searched like any other: an answer
takes as long, and a position means the same to all who ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from publisher.index.faiss.layout import Bytes, InvertedFile, inverted_file
from twintide.errors import Corrupt
from twintide.keys import GONE

Positions = npt.NDArray[np.int64]

_MOST_ITEMS = 1 << 28
"""A place behind so many is none: what is read there takes memory by the largest."""


@dataclass(frozen=True)
class Delta:
    """How one index differs from another."""

    places: Positions
    """int64 [items of the other]: where each stands in this one; GONE for one that is not in it."""

    newer: Bytes
    """An inverted file with the same centres: vectors that moved or are new."""

    positions: Positions
    """int64 [vectors of `newer`]: where each stands in this index."""


def laid_over(old: InvertedFile, delta: Delta, *, items: int) -> memoryview:
    """The bytes of the whole index of so many items. Raises Corrupt where the two do not fit."""
    new = inverted_file(delta.newer, is_delta=True)
    if new.head_without_count() != old.head_without_count():
        _corrupt("the newer vectors have other centres")
    if delta.places.shape != (old.items,) or delta.positions.shape != (new.items,):
        _corrupt("it has more or fewer places than vectors")
    if not _all_below(delta.places, items, least=GONE) or not _all_below(delta.positions, items):
        _corrupt("a place lies behind its items")
    places = delta.places.copy()
    is_replaced = np.zeros(items + 1, np.bool_)
    is_replaced[delta.positions] = True
    places[is_replaced[places]] = GONE  # GONE looks at the last of all, which nothing replaces
    ids, kept = [], []
    for of_old, of_new in zip(old.lists(), new.lists(), strict=True):
        at = places[of_old.ids]
        kept.append(np.flatnonzero(at != GONE))
        ids.append(np.concatenate((at[kept[-1]], delta.positions[of_new.ids])))
    if sum(map(len, ids)) != items:
        _corrupt("its vectors are more or fewer than its items")
    codes = (
        (of_old.codes[stay], of_new.codes)
        for of_old, stay, of_new in zip(old.lists(), kept, new.lists(), strict=True)
    )
    return old.with_lists(ids, codes)


def merged(deltas: Sequence[Delta]) -> Delta:
    """Several, each made on top of those before it, as one; none of them moves an item of the
    other index. Raises Corrupt where they do not fit.
    """
    if len(deltas) == 1:
        return deltas[0]
    files = [inverted_file(each.newer, is_delta=True) for each in deltas]
    owner, of_lists, at, codes = _owner(deltas, files), [], [], []
    for number, (delta, file) in enumerate(zip(deltas, files, strict=True)):
        lists = list(file.lists())
        places = delta.positions[np.concatenate([each.ids for each in lists])]
        stay = np.flatnonzero(owner[places] == number)
        of_lists.append(np.repeat(np.arange(len(lists)), file.sizes)[stay])
        at.append(places[stay])
        codes.append(np.concatenate([each.codes for each in lists])[stay])
    of_list = np.concatenate(of_lists)
    order = np.argsort(of_list, kind="stable")
    ends = np.cumsum(np.bincount(of_list, minlength=len(files[-1].sizes)))[:-1]
    of_each = np.split(np.concatenate(codes)[order], ends)
    ids = np.split(np.arange(len(order)), ends)
    newer = files[-1].with_lists(ids, [(each,) for each in of_each])
    return Delta(deltas[-1].places, newer, np.concatenate(at)[order])


def _owner(deltas: Sequence[Delta], files: Sequence[InvertedFile]) -> Positions:
    """[items]: by place, the number of the newest delta that has a vector there."""
    heads = {each.head_without_count() for each in files}
    if len(heads) > 1:
        _corrupt("deltas have different centres")
    for delta, file in zip(deltas, files, strict=True):
        if delta.positions.shape != (file.items,) or not _all_below(delta.positions, _MOST_ITEMS):
            _corrupt("a delta has more or fewer places than vectors")
    owner = np.full(1 + max(int(each.positions.max(initial=0)) for each in deltas), -1)
    for number, delta in enumerate(deltas):
        owner[delta.positions] = number
    return owner


def vectors_in(file: InvertedFile, *, width: int, room: int = 0) -> npt.NDArray[np.float32]:
    """[items + room, width]: every vector as the index keeps it, at its position, without what it
    is filled up with.
    """
    found = np.empty((file.items + room, width), np.float32)
    of_a_list = np.empty((int(file.sizes.max(initial=0)), width), np.float32)
    for centre, each in zip(file.centres()[:, :width], file.lists(), strict=True):
        own = of_a_list[: len(each.ids)]  # it stays near the processor
        own[...] = each.codes.view(np.float16)[:, :width]
        own += centre
        found[each.ids] = own
    return found


def _all_below(numbers: Positions, bound: int, *, least: int = 0) -> bool:
    return not len(numbers) or (int(numbers.min()) >= least and int(numbers.max()) < bound)


def _corrupt(why: str) -> NoReturn:
    raise Corrupt(f"the item index does not fit the one that it goes on from: {why}")
