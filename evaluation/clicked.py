"""The clicks of a slice, as they are scored and then learnt."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer.epoch import Rows
from twintide.clock import to_unix_ms
from twintide.config import Deployment
from twintide.keys import NO_KEY, Keys
from twintide.ragged import Encoded, Ids
from twintide.slices import IS_CLICK, USER_KEY, Slice

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Spreads keys over all numbers."""


@dataclass(frozen=True)
class Clicked:
    """The clicks of one slice, to be scored. B of them."""

    rows: Rows
    users: Keys

    def between(self, begin: datetime, end: datetime) -> "Clicked":
        """Those of these moments."""
        at_ms = self.rows.at_ms
        inside = np.flatnonzero((at_ms >= to_unix_ms(begin)) & (at_ms < to_unix_ms(end)))
        return self.take(inside)

    def people(self) -> Keys:
        """uint64 [B]: users, where an anonymous click is of a user of its own."""
        alone = (self.rows.item_keys ^ self.rows.at_ms.astype(np.uint64)) * _ODD
        return np.where(self.users == NO_KEY, alone, self.users)

    def of_sample(self, share: float) -> "Clicked":
        """Those of that share of all users, always of the same ones."""
        drawn = (self.people() * _ODD >> np.uint64(32)) < np.uint64(round(share * 2**32))
        return self.take(np.flatnonzero(drawn))

    def take(self, at: npt.NDArray[np.int64]) -> "Clicked":
        """Those with these numbers."""
        return Clicked(self.rows.take(at), self.users[at])

    @property
    def query(self) -> Encoded:
        return self.rows.query


def clicked_of(slice_: Slice, deployment: Deployment) -> Clicked:
    table: pa.Table = slice_.read()
    table = table.filter(table[IS_CLICK])
    rows = Rows.of(table, deployment.model, name=f"slice {slice_.name}")
    return Clicked(rows, table[USER_KEY].to_numpy())


def history_of(clicked: Clicked, deployment: Deployment) -> Ids | None:
    feature = deployment.model.longest_history()
    found = clicked.query.get(feature.name) if feature else None
    return found if isinstance(found, Ids) else None
