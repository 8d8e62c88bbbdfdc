"""The clicks that were scored, and what each policy's lists were worth for them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.clicked import Clicked
from evaluation.diversity import ItemSpace
from evaluation.metrics import DEPTH, MISSED, SHOWN, Groups, Tally, positions_of
from twintide.keys import Keys

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_NOT_FOUND = 255


@dataclass(frozen=True)
class Clicks:
    """N clicks that were scored."""

    at_ms: Ints
    items: Keys
    users: Keys
    """An anonymous click is of a user of its own."""

    ticks_ms: Ints
    """When the lists were made that they were scored by."""

    groups: dict[str, Bools]

    @classmethod
    def of(cls, clicked: Clicked, groups: Groups, *, tick_ms: int) -> "Clicks":
        at_ms, items = clicked.rows.at_ms, clicked.rows.item_keys
        ticks_ms = np.full(len(items), tick_ms, np.int64)
        return cls(at_ms, items, clicked.people(), ticks_ms, groups.named())

    @classmethod
    def all_of(cls, parts: "list[Clicks]") -> "Clicks":
        """One after the other."""
        names = parts[0].groups if parts else {}
        return cls(
            _joined([each.at_ms for each in parts], np.int64),
            _joined([each.items for each in parts], np.uint64),
            _joined([each.users for each in parts], np.uint64),
            _joined([each.ticks_ms for each in parts], np.int64),
            {name: _joined([each.groups[name] for each in parts], np.bool_) for name in names},
        )

    def take(self, at: Ints) -> "Clicks":
        """Those with these numbers, in this order."""
        groups = {name: inside[at] for name, inside in self.groups.items()}
        return Clicks(self.at_ms[at], self.items[at], self.users[at], self.ticks_ms[at], groups)

    def order(self) -> Ints:
        """The same for the same clicks, whatever the slices that they came in."""
        return np.lexsort((self.items, self.users, self.at_ms))


@dataclass(frozen=True)
class Answering:
    """What answered some clicks in a row; zeros for a list, and before there is a model."""

    learnt_ms: int = 0
    """The newest click that it had learnt."""

    refreshed_ms: int = 0
    """When its statistics were as new as could be."""

    auc_sum: float = 0.0
    """Of `auc_clicks` clicks: the share of all items that scored below the one that was clicked."""

    auc_clicks: int = 0


@dataclass(frozen=True)
class Marks:
    """What a policy's lists were worth for N clicks in a row."""

    positions: npt.NDArray[np.uint8]
    """[N]: where the item stood in the list, from 0; 255 for nowhere."""

    shown: Keys
    """Items that stood among the first ten of any of the lists."""

    places: int
    head_places: int
    """How many places of first tens were filled, and how many of them with an item of the head."""

    distance_sum: float
    """Of `distances` lists: the mean distance of their first ten from each other."""

    distances: int
    answering: Answering

    @classmethod
    def of(
        cls,
        targets: Keys,
        lists: Keys,
        head: Keys,
        *,
        space: ItemSpace,
        answering: Answering,
    ) -> "Marks":
        """Of lists [N, DEPTH] against the items that were clicked."""
        first = lists[:, :SHOWN]
        apart = space.distances(first)
        return cls(
            np.minimum(positions_of(targets, lists), _NOT_FOUND).astype(np.uint8),
            np.setdiff1d(first, np.zeros(1, np.uint64)),
            int((first != 0).sum()),
            int(np.isin(first, head).sum()),
            float(np.nansum(apart)),
            int((~np.isnan(apart)).sum()),
            answering,
        )


@dataclass
class Scoreboard:
    """All that is measured of one policy."""

    clicks: list[Clicks] = field(default_factory=list)
    """Those that were scored, which policies of one pace share."""

    overall: Tally = field(default_factory=Tally)
    """So far."""

    marks: list[Marks] = field(default_factory=list)

    def add(self, marks: Marks) -> None:
        """Of clicks after all that were added before."""
        found = marks.positions.astype(np.int64)
        self.overall.add(np.where(found < DEPTH, found, MISSED))
        self.marks.append(marks)

    def positions(self) -> npt.NDArray[np.uint8]:
        """[N], of all clicks in the order in which they were scored."""
        return _joined([each.positions for each in self.marks], np.uint8)

    def instants(self, name: str) -> Ints:
        """int64 [N]: `learnt_ms` or `refreshed_ms` of what answered each click."""
        lengths = [len(each.positions) for each in self.marks]
        return np.repeat(
            np.array([getattr(each.answering, name) for each in self.marks], np.int64),
            np.array(lengths, np.int64),
        )


def _joined(parts: list[npt.NDArray[Any]], kind: type) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *parts])
