"""What users last said of themselves, by feature: rows that are changed in place.

Of features that read nothing but the columns of `model.state.user_columns`. An event that leaves a
column out does not make it unknown. A fold costs what the users in it say.
"""

from collections.abc import Mapping

import numpy as np

from twintide.derived import idle
from twintide.derived.attributes import Attribute, attribute_in, attribute_of
from twintide.derived.clicks import Bools
from twintide.features import Feature
from twintide.keyedrows import KEYS, KeyedRows
from twintide.keys import NO_KEY, Keys
from twintide.ragged import Encoded, Ids, Numbers
from twintide.rowstore import Column, Parts, RowStore

TOLD = "state.told"
"""What the rows of these users are called in a checkpoint."""


def told_store(feature: str) -> str:
    """What is said in one feature, by row of its user."""
    return f"{TOLD}.said.{feature}"


def said_in(rows: Ids | Numbers) -> Bools:
    """[B]: which rows say anything, and are not those of a value that is missing."""
    if isinstance(rows, Numbers):
        return np.asarray(rows.values.any(axis=1), np.bool_)
    of_key = rows.row_of_key()[rows.keys != NO_KEY]
    return np.bincount(of_key, minlength=len(rows)) > 0


class ToldByUsers:
    """Users with what their events last said of them; row 0 is nobody's, and says nothing."""

    def __init__(
        self,
        users: KeyedRows,
        said: Mapping[str, Attribute],
        *,
        forget_after_days: int | None = None,
    ) -> None:
        self._users, self._said, self._days = users, said, forget_after_days

    @classmethod
    def empty(
        cls, features: tuple[Feature, ...], *, forget_after_days: int | None = None
    ) -> "ToldByUsers":
        """Nobody has said anything."""
        columns = {KEYS: Column(np.uint64)} | idle.columns(forget_after_days)
        said = {each.name: attribute_of(each) for each in features}
        for attribute in said.values():
            attribute.add(1)
        users = KeyedRows(RowStore.empty(columns))
        return cls(users, said, forget_after_days=forget_after_days)

    def parts(self) -> Parts:
        """As a checkpoint has it; nothing where no column is declared."""
        if not self._said:
            return Parts({}, {})
        found = Parts(idle.stores(self._users, TOLD, days=self._days), {})
        for feature, attribute in self._said.items():
            found = found.and_also(attribute.parts(told_store(feature)))
        return found

    @classmethod
    def from_parts(
        cls, features: tuple[Feature, ...], parts: Parts, *, forget_after_days: int | None = None
    ) -> "ToldByUsers":
        """What `parts` gave: it goes on in these stores. Raises Corrupt where one is missing."""
        if not features:
            return cls.empty((), forget_after_days=forget_after_days)
        said = {each.name: attribute_in(parts, told_store(each.name), each) for each in features}
        users = idle.in_parts(parts, TOLD, days=forget_after_days)
        return cls(users, said, forget_after_days=forget_after_days)

    def of(self, users: Keys) -> Encoded:
        """What each of these users said last."""
        rows = self._users.rows_of(users)
        return {name: attribute.read(rows) for name, attribute in self._said.items()}

    def begin_day(self, day: int) -> None:
        """Forget who did nothing for so long that it is declared."""
        gone = idle.begin_day(self._users, day, days=self._days)
        for attribute in self._said.values():
            attribute.clear(gone)

    def add(self, users: Keys, encoded: Encoded) -> None:
        """Take in what each of these events says, in their order."""
        if not self._said:
            return
        known = np.unique(users[users != NO_KEY])
        before = len(self._users)
        self._users.add(users)
        idle.see(self._users, self._users.rows_of(known))
        for attribute in self._said.values():
            attribute.add(len(self._users) - before)
        for name, attribute in self._said.items():
            says = np.flatnonzero(said_in(encoded[name]) & (users != NO_KEY))
            distinct, from_behind = np.unique(users[says][::-1], return_index=True)
            last = says[len(says) - 1 - from_behind]
            attribute.write(self._users.rows_of(distinct), encoded[name].take(last))
