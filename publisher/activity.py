"""How active users are, as a version carries it: numbers of each user, as of its last refresh."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.errors import Corrupt
from twintide.features.user_statistics import UserStatistics
from twintide.keys import NO_KEY, Keys, places_of
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Numbers

_PREFIX = "user_statistics"


@dataclass(frozen=True)
class UserNumbers:
    """The numbers of users that have clicked; whoever is not among them is new."""

    spec: UserStatistics
    users: Keys
    """uint64 [U], ascending."""

    values: npt.NDArray[np.float32]
    """[U, spec.count]"""

    def knows(self, users: Keys) -> npt.NDArray[np.bool_]:
        """Which of these users have clicked."""
        found: npt.NDArray[np.bool_] = places_of(users, self.users)[1] & (users != NO_KEY)
        return found

    def of(self, users: Keys) -> Encoded:
        """The feature of each of these users."""
        found = self.spec.of_new(len(users))
        places, is_known = places_of(users, self.users)
        found[is_known] = self.values[places[is_known]]
        return {self.spec.name: Numbers(found)}

    def to_arrays(self) -> Arrays:
        """What `in_version` reads."""
        return {f"{_PREFIX}.users": self.users, f"{_PREFIX}.values": self.values}


def in_checkpoint(arrays: Arrays, model: ModelSpec) -> UserNumbers | None:
    """Those of a checkpoint's users; None where the model asks for none."""
    spec = model.user_statistics()
    if spec is None:
        return None
    users, values = arrays["state.users.keys"], arrays["state.users.statistics"]
    order = np.argsort(users)
    return UserNumbers(spec, users[order].astype(np.uint64), values[order].astype(np.float32))


def in_version(arrays: Arrays, model: ModelSpec) -> UserNumbers | None:
    """The same. Raises Corrupt where they do not fit."""
    spec = model.user_statistics()
    if spec is None:
        return None
    users, values = (arrays.get(f"{_PREFIX}.{part}") for part in ("users", "values"))
    if users is None or values is None:
        raise Corrupt(f"there are no arrays {_PREFIX}")
    if users.dtype != np.uint64 or values.dtype != np.float32:
        raise Corrupt(f"{_PREFIX}: arrays of {users.dtype} and {values.dtype}")
    found = UserNumbers(spec, np.asarray(users, np.uint64), np.asarray(values, np.float32))
    if values.shape != (len(users), spec.count) or not (found.users[1:] > found.users[:-1]).all():
        raise Corrupt(f"{_PREFIX}: users and values do not fit together")
    return found
