"""Who was idle for too long is forgotten: rows of users, or of items, that are given back.

A row knows on which day its owner was seen last, by the log: the UTC day of the unit that a slice
stores an event in. The first slice of a day takes away who was not seen for more days than are
declared, before any of its events is told anything. So who is known to an event follows from the
log, and so does who has which row, however much of a day is taken in at once.
"""

import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt
from twintide.keyedrows import FREE, KEYS, KeyedRows
from twintide.keys import NO_KEY
from twintide.rowstore import INDEX, Column, Parts, RowNumbers, Stores

SEEN = "seen"
"""int32: the day since 1970 on which a row's owner was seen last; in row 0 the newest day."""

_TOP = np.zeros(1, np.int64)
_NOBODY = np.zeros(0, np.int64)


def columns(days: int | None) -> dict[str, Column]:
    """What rows know beside what they are for, if owners are forgotten after so many days."""
    return {} if days is None else {SEEN: Column(np.int32)}


def begin_day(rows: KeyedRows, day: int, *, days: int | None) -> RowNumbers:
    """Once a day: take the rows of those who were not seen for more than so many days; returns
    these rows. It looks at one number of each row; all other days cost nothing.
    """
    if days is None or day <= _newest_day(rows):
        return _NOBODY
    rows.store.touch(_TOP)[SEEN][0] = day
    found = rows.store.columns()
    idle: RowNumbers = np.flatnonzero(found[SEEN] < day - days)
    idle = idle[found[KEYS][idle] != NO_KEY]
    rows.remove(idle)
    return idle


def see(rows: KeyedRows, numbers: RowNumbers) -> None:
    """The owners of these rows are seen on the newest day, where it is counted."""
    if SEEN not in rows.store.names:
        return
    day = _newest_day(rows)
    earlier = numbers[rows.store.at(numbers)[SEEN][numbers] != day]
    rows.store.touch(earlier)[SEEN][earlier] = day


def active(rows: KeyedRows, *, within_days: int) -> npt.NDArray[np.bool_]:
    """[rows]: whose owner was seen within so many days of the newest; all where none is counted."""
    found = rows.store.columns()
    if SEEN not in found:
        return np.ones(len(rows), np.bool_)
    is_active: npt.NDArray[np.bool_] = found[SEEN] >= _newest_day(rows) - within_days
    return is_active


def stores(rows: KeyedRows, name: str, *, days: int | None) -> Stores:
    """Rows as a checkpoint has them."""
    found = {name: rows.store, name + INDEX: rows.index}
    return found if days is None else found | {name + FREE: rows.free}


def in_parts(parts: Parts, name: str, *, days: int | None) -> KeyedRows:
    """What `stores` gave: they go on there. Raises Corrupt where they are not such."""
    rows = KeyedRows.in_parts(parts, name)
    if (SEEN in rows.store.names) != (days is not None):
        raise Corrupt(f"{name} and the declaration do not agree on whether idle rows are forgotten")
    return rows


def _newest_day(rows: KeyedRows) -> int:
    return int(rows.store.at(_TOP)[SEEN][0])
