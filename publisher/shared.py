"""The rows that a version shares with its checkpoint: the same files, under a second name.

Tables that the query tower reads, users' histories, what users said of themselves, and what finds
their rows. So publishing writes none of them, whatever they weigh, and of what an hour touched a
server maps and hashes the new files alone. What rows learn by stays behind, but for the little that
deltas have of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twintide.arrays import Files
from twintide.derived.histories import CLICKS as LISTS
from twintide.derived.state import history_store
from twintide.derived.told import TOLD, told_store
from twintide.errors import Corrupt
from twintide.model.vocabulary import PAIRS
from twintide.modelspec import ModelSpec
from twintide.rowstore import INDEX, Parts, RowStore
from twintide.storefile import StoreEntry, open_lists, open_store
from twintide.verified import Verified

STAYS_BEHIND = ("keys", "sums", "seen")
"""Columns that only learning reads: a server finds rows by the slots of their keys."""

_FULLEST = 3 / 4
"""Share of the slots of a vocabulary that may be taken: in a full one a search has no end."""


@dataclass(frozen=True)
class Shared:
    """Rows of a checkpoint that lie in a folder, its own or a version's."""

    stores: Mapping[str, StoreEntry]
    files: Files

    @classmethod
    def of(cls, model: ModelSpec, stores: Mapping[str, StoreEntry], files: Files) -> "Shared":
        """What of these a version of that model carries. An older checkpoint has less of it, or
        nothing.
        """
        own = {name: stores[name] for name in _names(model) if name in stores}
        listed = [each for name, entry in own.items() for each in _files_of(name, entry)]
        return cls(own, {each: files[each] for each in listed if each in files})

    def opened(self, folder: Path, *, verified: Verified) -> Parts:
        """The rows, mapped. Raises Corrupt where they are none, or lead elsewhere."""
        columns = {name: each for name, each in self.stores.items() if each.cells is None}
        lists = {name: each for name, each in self.stores.items() if each.cells is not None}
        stores = {
            name: open_store(
                folder, name, entry, self.files, without=STAYS_BEHIND, verified=verified
            )
            for name, entry in columns.items()
        }
        found = Parts(
            stores,
            {},
            {
                name: open_lists(folder, name, entry, self.files, verified=verified)
                for name, entry in lists.items()
            },
        )
        for name in filter(_is_slots, stores):
            _check_slots(name, stores[name], rows=_rows_behind(name, found))
        return found


def _names(model: ModelSpec) -> list[str]:
    tables = [f"table.{name}" for name in model.learning_tables(("query",))]
    histories = [history_store(name) for name in model.memories()]
    told = [told_store(each.name) for each in model.told_by_users()]
    users = [TOLD] if told else []
    slots = [f"{name}{INDEX}" for name in (*tables, *histories, *users)]
    return [*tables, *slots, *(f"{name}{LISTS}" for name in histories), *told]


def _rows_behind(slots: str, parts: Parts) -> int:
    """How many rows there are, at least, of what these slots lead to."""
    of = slots.removesuffix(INDEX)
    behind = [
        len(each)
        for name, each in parts.saved().items()
        if name != slots and f"{name}.".startswith(f"{of}.")
    ]
    return min(behind, default=0)


def _is_slots(name: str) -> bool:
    return name.endswith(INDEX)


def _files_of(name: str, entry: StoreEntry) -> list[str]:
    if entry.cells is not None:  # the keys of a list are what it is of
        return list(entry.files_of(name))
    behind = [f"{name}.{column}." for column in STAYS_BEHIND]
    return [each for each in entry.files_of(name) if not each.startswith(tuple(behind))]


def _check_slots(name: str, slots: RowStore, *, rows: int) -> None:
    """Raises Corrupt where a slot leads to a row that there is not, or too few of them are free.
    What deltas have of the slots is laid over them all: who looks up a key goes through many.
    """
    pairs = slots.columns().get(PAIRS)
    if pairs is None or pairs.dtype != np.uint64 or pairs.shape[1:] != (2,):
        raise Corrupt(f"{name} are no slots of a vocabulary")
    found = pairs[:-1, 1]
    if int(found.max(initial=0)) >= rows:
        raise Corrupt(f"{name} leads to a row that there is not")
    if np.count_nonzero(found) > _FULLEST * len(found):
        raise Corrupt(f"{name} has too few slots that are free")
