"""The clicks of a slice, as they are scored and then learnt."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from trainer.epoch import Rows
from twintide.clock import to_unix_ms
from twintide.config import Deployment
from twintide.keys import Keys
from twintide.ragged import Encoded, Ids
from twintide.slices import IS_CLICK, USER_KEY, Slice


@dataclass(frozen=True)
class Clicked:
    """The clicks of one slice, to be scored. B of them."""

    rows: Rows
    users: Keys

    def between(self, begin: datetime, end: datetime) -> "Clicked":
        """Those of these moments."""
        at_ms = self.rows.at_ms
        inside = np.flatnonzero((at_ms >= to_unix_ms(begin)) & (at_ms < to_unix_ms(end)))
        return Clicked(self.rows.take(inside), self.users[inside])

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
