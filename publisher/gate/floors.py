"""What any version must find, whatever is live: more than chance, and not far below a plain list.

Both are asked of so few places that chance alone would find at most one click in fifty, also where
the catalogue is small.
"""

from dataclasses import dataclass

import numpy as np

from publisher.gate.difference import Bools, Users, difference
from publisher.gate.finding import Finding
from publisher.gate.power import clicks_needed, fall_to_see
from twintide.config import GateConfig
from twintide.keys import Keys

ITEMS_PER_PLACE = 50
LEAST_GAIN = 1.05
"""Recall over that with another user's answers."""

BETTER_THAN_LIST = 1.2
"""Recall over that of the list from which on a version need not tell users apart."""

_Z = 2.576
"""Standard errors, of 1 in 200: how far below a floor recall must lie."""


@dataclass(frozen=True)
class Floors:
    """What recall within so many places must reach."""

    places: int
    chance: float
    """What a list by lot finds."""

    listed: float | None
    """What the most clicked items of the hour before find; None where nobody clicked then."""

    reach: float = 1.0
    """Share of the clicks whose item is there to be found: no list finds more."""

    @property
    def chance_times(self) -> float:
        """Twice what a lot finds, in a small catalogue a twentieth of what is left."""
        return min(2 * self.chance, self.chance + (self.reach - self.chance) / 20)

    def least(self, config: GateConfig) -> float:
        """The higher of the two floors."""
        return max(self.chance_times, config.min_list_ratio * (self.listed or 0.0))


def places_of(k: int, items: int) -> int:
    """How many places are asked about: k, in a small catalogue fewer."""
    return max(1, min(k, items // ITEMS_PER_PLACE))


def most_clicked(users: Users, items: Keys, *, places: int) -> Keys:
    """The items that most users clicked, each user once."""
    order = np.lexsort((items, users))
    users, items = users[order], items[order]
    is_first = np.r_[True, (users[1:] != users[:-1]) | (items[1:] != items[:-1])][: len(users)]
    keys, counts = np.unique(items[is_first], return_counts=True)
    return keys[np.argsort(-counts, kind="stable")[:places]]


def against_floors(
    hits: Bools, users: Users, floors: Floors, config: GateConfig, *, on: str
) -> Finding:
    """Whether recall within the floors' places, of hits [N], is certainly below the least."""
    recall, least = float(hits.mean()), floors.least(config)
    below = f"recall@{floors.places} is {recall:.4f} on {on}"
    list_says = "" if floors.listed is None else f", the last hour's list finds {floors.listed:.4f}"
    beside = f"chance finds {floors.chance:.4f}{list_says}; {least:.4f} is the least allowed"
    if recall < least and _is_below(hits, users, least):
        return Finding([f"{below}; {beside}"])
    if floors.listed is not None and recall < floors.listed:
        return Finding(notes=[f"{below}: the last hour's list finds {floors.listed:.4f}"])
    return Finding()


def against_others_answers(
    own: Bools, control: Bools, users: Users, floors: Floors, config: GateConfig, *, on: str
) -> Finding:
    """Whether recall within the floors' places is what it were with another user's answers, and
    hardly more than the list's: such a version tells nobody apart. `control` are hits [N] of those.
    """
    beside = difference(own, control, users)
    is_better = floors.listed is None or own.mean() >= BETTER_THAN_LIST * floors.listed
    if is_better or own.mean() >= LEAST_GAIN * control.mean():
        return Finding()
    needed = clicks_needed(
        float(control.mean()),
        changed=beside.changed,
        crowding=beside.crowding,
        fall=fall_to_see(config.max_recall_drop_ratio),
        allowed=config.max_recall_drop_ratio,
    )
    if len(own) < needed:
        return Finding()
    found = f"recall@{floors.places} is {own.mean():.4f} on {on}"
    return Finding(
        [f"{found}, and {control.mean():.4f} with answers to other users: it tells nobody apart"]
    )


def _is_below(hits: Bools, users: Users, least: float) -> bool:
    """Whether so few hits are no chance, were recall at `least`: clicks of a user go together."""
    _, who = np.unique(users, return_inverse=True)
    beside = np.bincount(who, hits - hits.mean())
    varies = float(hits.var()) * len(hits)
    crowding = max(1.0, float((beside**2).sum()) / varies) if varies else 1.0
    error = float(np.sqrt(least * (1 - least) * crowding / len(hits)))
    return bool(hits.mean() < least - _Z * error)
