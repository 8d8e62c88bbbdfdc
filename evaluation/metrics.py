"""How good lists are: recall, precision, position, coverage, diversity, for whom.

Each positive has one right item, so recall@k is the share of positives whose item is in the first
k, and precision@k is that divided by k.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from twintide.clock import iso
from twintide.keys import Keys

KS = (10, 50, 100)
DEPTH = max(KS)
MISSED = np.iinfo(np.int64).max


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

    def named(self) -> dict[str, npt.NDArray[np.bool_]]:
        return {
            "new_users": self.new_user,
            "known_users": ~self.new_user & ~self.anonymous,
            "anonymous_users": self.anonymous,
            "new_items": self.new_item,
            "head": self.head,
            "tail": ~self.head,
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
        return {f"recall@{k}": _ratio(self.hits[k], self.positives) for k in KS}

    def summary(self) -> dict[str, Any]:
        precision = {f"precision@{k}": _ratio(self.hits[k], self.positives * k) for k in KS}
        return {
            "positives": self.positives,
            **self.recall(),
            **precision,
            "mean_position": _ratio(self.found_positions, self.hits[DEPTH]),
        }


@dataclass
class Scoreboard:
    """All that is measured of one policy."""

    overall: Tally = field(default_factory=Tally)
    hours: dict[datetime, Tally] = field(default_factory=lambda: defaultdict(Tally))
    groups: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    distance_sum: float = 0.0
    distances: int = 0
    shown: set[int] = field(default_factory=set)
    """Keys of items that were in the first ten of any list."""

    def add(self, hour_at: datetime, targets: Keys, lists: Keys, groups: Groups) -> None:
        positions = positions_of(targets, lists)
        self.overall.add(positions)
        self.hours[hour_at].add(positions)
        for name, inside in groups.named().items():
            self.groups[name].add(positions[inside])
        self.shown.update(int(key) for key in np.unique(lists[:, :10]) if key)

    def add_distances(self, distances: npt.NDArray[np.float32]) -> None:
        """Of some lists' first ten items; nan where a list had fewer than two."""
        known = distances[~np.isnan(distances)]
        self.distance_sum += float(known.sum())
        self.distances += len(known)

    def report(self, *, items: int) -> dict[str, Any]:
        """The policy's part of report.json. `items` is the number of items in the data."""
        return {
            **self.overall.summary(),
            "coverage@10": _ratio(len(self.shown), items),
            "intra_list_distance@10": round(self.distance_sum / self.distances, 6)
            if self.distances
            else None,
            "groups": {name: tally.summary() for name, tally in sorted(self.groups.items())},
            "hours": [
                {"start_at": iso(hour_at), "positives": tally.positives, **tally.recall()}
                for hour_at, tally in sorted(self.hours.items())
            ],
        }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
