"""How good lists are: recall, precision, position, for whom.

Each positive has one right item, so recall@k is the share of positives whose item is in the first
k, and precision@k is that divided by k.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from twintide.keys import Keys

KS = (10, 50, 100)
DEPTH = max(KS)
SHOWN = 10
"""Items of a list that are looked at: for coverage, distances and the share of the head."""

MISSED = np.iinfo(np.int64).max
LONG_HISTORY = 5
"""Clicks before, from which on a history is called long."""


def positions_of(targets: Keys, lists: Keys) -> npt.NDArray[np.int64]:
    """int64 [B]: place of each target in its list [B, k], from 0; MISSED where it is not in it."""
    hits = lists == targets[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1), MISSED).astype(np.int64)


@dataclass(frozen=True)
class Groups:
    """Which positives belong to which kind of user and item, as of the tick before them. Booleans
    [B]. A click is of a new, a known or an anonymous user.
    """

    new_user: npt.NDArray[np.bool_]
    anonymous: npt.NDArray[np.bool_]
    """The event names no user: neither new nor known, though others of the kind came before."""

    new_item: npt.NDArray[np.bool_]
    head: npt.NDArray[np.bool_]
    """The item is among the 100 most clicked of the last 24 hours."""

    middle: npt.NDArray[np.bool_]
    """Among the next 900."""

    long_history: npt.NDArray[np.bool_]
    """The request knows of five clicks before, or more."""

    def named(self) -> dict[str, npt.NDArray[np.bool_]]:
        return {
            "new_users": self.new_user,
            "known_users": ~self.new_user & ~self.anonymous,
            "anonymous_users": self.anonymous,
            "new_items": self.new_item,
            "head": self.head,
            "middle": self.middle,
            "tail": ~self.head & ~self.middle,
            "long_histories": self.long_history,
            "short_histories": ~self.long_history,
        }


@dataclass
class Tally:
    """Hits of one set of positives."""

    positives: int = 0
    hits: dict[int, int] = field(default_factory=lambda: dict.fromkeys(KS, 0))
    found_positions: int = 0
    """Sum of the positions (from 1) of the items that were in the list."""

    def add(self, positions: npt.NDArray[np.int64]) -> None:
        self.positives += len(positions)
        for k in KS:
            self.hits[k] += int((positions < k).sum())
        found = positions[positions < DEPTH]
        self.found_positions += int(found.sum()) + len(found)

    def recall(self) -> dict[str, float | None]:
        return {f"recall@{k}": ratio(self.hits[k], self.positives) for k in KS}

    def summary(self) -> dict[str, Any]:
        precision = {f"precision@{k}": ratio(self.hits[k], self.positives * k) for k in KS}
        return {
            "positives": self.positives,
            **self.recall(),
            **precision,
            "mean_position": ratio(self.found_positions, self.hits[DEPTH]),
        }


def ratio(part: float, whole: float) -> float | None:
    """Rounded, as a report has it; None of nothing."""
    return round(part / whole, 6) if whole else None
