"""Whose clicks these are: of users that a draft knows, or of strangers."""

import numpy as np
import pyarrow as pa

from publisher.build import Draft
from publisher.gate.difference import Bools
from publisher.index.searched import Positions
from publisher.witnesses import MAX_PER_USER
from twintide.features.columns import from_columns
from twintide.keys import Keys
from twintide.ragged import Ids


def known_to(draft: Draft, clicks: pa.Table) -> Bools:
    """[clicks]: whether the model sees who asks: by a history as of then, or the user's row."""
    spec, user = draft.model.spec, draft.checkpoint.events.user
    is_known = np.zeros(len(clicks), np.bool_)
    for memory in spec.memories().values():
        for rows in from_columns(clicks, memory.features, "query").values():
            if isinstance(rows, Ids):
                is_known |= np.diff(rows.offsets) > 0
    for feature in spec.lookups("query"):
        rows = from_columns(clicks, [feature], "query")[feature.name]
        if feature.is_id(user) and isinstance(rows, Ids):
            is_known |= draft.model.looked_up(feature.table).rows_of(rows.keys) != 0
    return is_known


def another_of_each(users: Keys) -> Positions:
    """[N]: for each click one of another user, half of all clicks away or a few more; nobody has
    more than `MAX_PER_USER`.
    """
    others = np.roll(np.arange(len(users)), len(users) // 2)
    for _ in range(MAX_PER_USER):
        others = (others + (users[others] == users)) % len(users)
    return others
