"""Clicks as witnesses: what a user says of an item counts once, and nobody is heard too often.

So whoever clicks one item a thousand times is one click, and a single busy user does not decide.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.keys import NO_KEY, Keys
from twintide.slices import ITEM_KEY, OFFSET, PARTITION, USER_KEY

MAX_PER_USER = 10
"""Of each user the newest so many items are heard."""

_NOBODYS = np.uint64(0xFFFF << 48)
"""From here on keys are of nobody; of 65,536 users one has such a key too."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


def apart(clicks: pa.Table) -> pa.Table:
    """Clicks of a slice; each that names no user is by one of its own, known by partition and
    offset, since who clicked it is not known to have clicked another.
    """
    users = clicks[USER_KEY].to_numpy()
    partitions = clicks[PARTITION].to_numpy().astype(np.uint64)
    places = (partitions << np.uint64(40)) + clicks[OFFSET].to_numpy().astype(np.uint64)
    keys = np.where(users == NO_KEY, places | _NOBODYS, users)
    return clicks.set_column(clicks.column_names.index(USER_KEY), USER_KEY, pa.array(keys))


def is_named(users: Keys) -> npt.NDArray[np.bool_]:
    """[N]: which of these keys are of users, and not what `apart` gave."""
    found: npt.NDArray[np.bool_] = users < _NOBODYS
    return found


def witnesses(clicks: pa.Table, *, limit: int) -> pa.Table:
    """Of clicks, newest last, the newest of each user and item, at most `MAX_PER_USER` of a user,
    and the newest `limit` of these.
    """
    users, items = clicks[USER_KEY].to_numpy(), clicks[ITEM_KEY].to_numpy()
    newest_first = np.arange(len(clicks))[::-1]
    pairs = (users * _MIX ^ items)[newest_first]
    once = newest_first[np.sort(np.unique(pairs, return_index=True)[1])]
    heard = once[_rank_of_each(users[once]) < MAX_PER_USER][:limit]
    return clicks.take(pa.array(heard[::-1]))


def _rank_of_each(users: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """[N]: how many clicks of the same user stand before each."""
    order = np.argsort(users, kind="stable")
    ordered = users[order]
    is_first = np.r_[True, ordered[1:] != ordered[:-1]][: len(users)]
    places = np.arange(len(users))
    ranks = np.empty(len(users), np.int64)
    ranks[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return ranks
