"""Users' histories as a version carries them: the last items of each user, oldest first."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.errors import Corrupt
from twintide.keys import Keys
from twintide.ragged import Ids


@dataclass(frozen=True)
class VersionHistories:
    """User i of `users` clicked items[offsets[i]:offsets[i + 1]], the newest one last."""

    users: Keys
    """uint64 [U], ascending."""

    offsets: npt.NDArray[np.int64]
    """int64 [U + 1]."""

    items: Keys

    @classmethod
    def empty(cls) -> "VersionHistories":
        """Nobody has clicked anything yet."""
        return cls(np.zeros(0, np.uint64), np.zeros(1, np.int64), np.zeros(0, np.uint64))

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, prefix: str) -> "VersionHistories":
        """`<prefix>.users`, `.offsets` and `.items`. Raises Corrupt where they do not fit."""
        try:
            users, offsets, items = (
                arrays[f"{prefix}.{part}"] for part in ("users", "offsets", "items")
            )
        except KeyError as error:
            raise Corrupt(f"there is no array {error.args[0]}") from error
        for array, kind in ((users, np.uint64), (offsets, np.int64), (items, np.uint64)):
            if array.dtype != kind or array.ndim != 1:
                raise Corrupt(f"{prefix}: an array of {array.dtype} where {kind.__name__} belongs")
        found = cls(users.astype(np.uint64), offsets.astype(np.int64), items.astype(np.uint64))
        found._check(prefix)
        return found

    def to_arrays(self, *, prefix: str) -> Arrays:
        """What `from_arrays` reads."""
        return {
            f"{prefix}.users": self.users,
            f"{prefix}.offsets": self.offsets,
            f"{prefix}.items": self.items,
        }

    def knows(self, users: Keys) -> npt.NDArray[np.bool_]:
        """Which of these users have a history."""
        return self._places(users)[1]

    def of(self, users: Keys, *, length: int) -> Ids:
        """The newest `length` items of each of these users; none for an unknown user."""
        if not len(self.users):
            return Ids(self.items, np.zeros(len(users) + 1, np.int64))
        places, is_known = self._places(users)
        ends = np.where(is_known, self.offsets[places + 1], 0)
        starts = np.maximum(np.where(is_known, self.offsets[places], 0), ends - length)
        return Ids.of_ranges(self.items, starts, ends)

    def _places(self, users: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where each user stands, and whether it does; any place for one who does not."""
        places = np.minimum(np.searchsorted(self.users, users), len(self.users) - 1)
        known: npt.NDArray[np.bool_] = np.zeros(len(users), np.bool_)
        if len(self.users):
            known = self.users[places] == users
        return places, known

    def _check(self, name: str) -> None:
        fits = (
            len(self.offsets) == len(self.users) + 1
            and self.offsets[0] == 0
            and self.offsets[-1] == len(self.items)
            and bool((np.diff(self.offsets) >= 0).all())
            and bool((self.users[1:] > self.users[:-1]).all())
        )
        if not fits:
            raise Corrupt(f"{name}: users, offsets and items do not fit together")
