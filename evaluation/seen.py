"""Who and what has occurred so far in an evaluation."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from evaluation.clicked import Clicked
from evaluation.diversity import ItemSpace
from evaluation.lists import ClickCounts
from evaluation.metrics import LONG_HISTORY, Groups
from twintide.clock import to_unix_ms
from twintide.keys import NO_KEY, NO_KEYS, Keys, places_of, with_more
from twintide.ragged import Ids

HEAD_ITEMS, MIDDLE_ITEMS = 100, 1000
"""How far down the most clicked items of a day are head, and middle."""


@dataclass
class Seen:
    """Who and what has occurred so far, for the groups of the report."""

    counts: ClickCounts = field(default_factory=ClickCounts)
    _users: Keys = field(default_factory=lambda: NO_KEYS)
    _items: Keys = field(default_factory=lambda: NO_KEYS)
    head: Keys = field(default_factory=lambda: NO_KEYS)
    """The most clicked items of the last 24 hours."""

    _middle: Keys = field(default_factory=lambda: NO_KEYS)
    """The next ones."""

    space: ItemSpace = field(default_factory=ItemSpace)
    """How far items are from each other."""

    def tick(self, now: datetime) -> None:
        self.counts.tick(to_unix_ms(now))
        first = self.counts.popular("popular-24h", now_ms=to_unix_ms(now), k=MIDDLE_ITEMS)
        self.head, self._middle = first[:HEAD_ITEMS], first[HEAD_ITEMS:]

    def groups(self, clicked: Clicked, history: Ids | None) -> Groups:
        anonymous = clicked.users == NO_KEY
        return Groups(
            new_user=~places_of(clicked.users, self._users)[1] & ~anonymous,
            anonymous=anonymous,
            new_item=~places_of(clicked.rows.item_keys, self._items)[1],
            head=np.isin(clicked.rows.item_keys, self.head),
            middle=np.isin(clicked.rows.item_keys, self._middle),
            long_history=_lengths(history, len(anonymous)) >= LONG_HISTORY,
        )

    def learn(self, clicked: Clicked, history: Ids | None) -> None:
        self.counts.add(clicked.rows.item_keys, history, clicked.rows.at_ms)
        self._users = with_more(self._users, clicked.users)
        self._items = with_more(self._items, clicked.rows.item_keys)
        self.space.learn(clicked.rows.item_keys, clicked.people())


def _lengths(history: Ids | None, clicks: int) -> npt.NDArray[np.int64]:
    return np.zeros(clicks, np.int64) if history is None else np.diff(history.offsets)
