"""What users last said of themselves, as a version has it: in the rows of its checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twintide.derived.attributes import Attribute, attribute_in
from twintide.derived.told import TOLD, said_in, told_store
from twintide.errors import Corrupt
from twintide.keys import Keys
from twintide.model.vocabulary import Vocabulary
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded
from twintide.rowlists import BLOCK
from twintide.rowstore import INDEX, Parts


@dataclass(frozen=True)
class Told:
    """Users that are asked for are read, and no others."""

    _rows: Vocabulary
    _said: Mapping[str, Attribute]

    def knows(self, users: Keys) -> npt.NDArray[np.bool_]:
        """Which of these users ever said anything, or nothing."""
        found: npt.NDArray[np.bool_] = self._rows.rows_of(users) > 0
        return found

    def of_one(self, user: Keys) -> Encoded:
        """Of one user [1], the features of which there is anything to say."""
        rows = self._rows.rows_of(user)
        if not rows[0]:
            return {}
        read = {name: each.read(rows) for name, each in self._said.items()}
        return {name: each for name, each in read.items() if said_in(each)[0]}


def told_in(parts: Parts, model: ModelSpec) -> Told | None:
    """None where no column of users is declared. Raises Corrupt where what is said is not there, or
    lies elsewhere.
    """
    features = model.told_by_users()
    if not features:
        return None
    for name in map(told_store, (each.name for each in features)):
        if name in parts.lists:
            begin, used, _ = parts.lists[name].blocks.columns()[BLOCK].T
            cells = len(parts.lists[name].cells)
            if (begin < 0).any() or (used < 0).any() or (begin + used > cells).any():
                raise Corrupt(f"a list of {name} lies where there are none")
    said = {each.name: attribute_in(parts, told_store(each.name), each) for each in features}
    return Told(Vocabulary(parts.store_of(TOLD + INDEX)), said)
