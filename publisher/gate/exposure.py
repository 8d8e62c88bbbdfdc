"""Who is shown what: whether one item stands first for everybody, or few items fill all lists.

Each user of the judged clicks is asked once, whoever clicked how often. A flood of clicks on one
item raises it for all, and these clicks are among those that recall is judged on: so recall does
not see it, and the lists do. What many click may stand first for many; but not what hardly anybody
clicks, nor what suddenly takes a large part of all clicks: that is a flood or a hit, which nobody
can tell apart but the operator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from publisher.gate.finding import Finding
from twintide.config import GateConfig
from twintide.keys import Keys

PLACES = 10
"""Of each list the first so many."""

LEAST_USERS = 50
"""Of fewer users the lists say little."""

RAISED = 4.0
"""The odds of a place may rise so many times above what they were."""

ALIKE = 0.05
"""So much more than before is not told from what was: where all lists are alike, odds mean little.
"""

FLOOD = {1: 0.2, PLACES: 0.5}
"""Share of all clicks on so many items from which on they may be a flood."""


@dataclass(frozen=True)
class Crowd:
    """The items that stand in the first `places` places most often, as many as there are places."""

    places: int
    items: Keys
    share: float
    """Of these places, over all users, that they take."""

    @classmethod
    def of(cls, lists: Keys, places: int) -> "Crowd":
        """Of lists [users, k], best first."""
        first = lists[:, :places]
        keys, counts = np.unique(first[first != 0], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:places]
        return cls(places, keys[most], float(counts[most].sum() / max(1, counts.sum())))


def shown(lists: Keys) -> int:
    """How many different items stand in the first `PLACES` places of lists [users, k]."""
    return int((np.unique(lists[:, :PLACES]) != 0).sum())


def crowding(
    draft: Crowd,
    usual: Sequence[float],
    clicked: Sequence[Keys],
    *,
    named: str,
    items: int,
    config: GateConfig,
) -> Finding:
    """Whether a draft shows the same to far more users than was `usual`, the shares of those before
    it, though that is not what was `clicked`: items of the clicks of some hours, each user and item
    once. The catalogue has so many `items`.
    """
    median = float(np.median(usual))
    shares = [_share_of(draft.items, items) for items in clicked]
    tops = [_share_of_most(draft.places, items) for items in clicked]
    is_popular = any(2 * own >= top for own, top in zip(shares, tops, strict=True))
    found = max(shares, default=0.0)
    most = max(config.max_top_share / (1 if is_popular else 2), _raised(median))
    if draft.share <= most or (is_popular and found <= _flood(draft.places, items)):
        return Finding()
    who = f"item {named} stands first"
    if draft.places > 1:
        who = f"{draft.places} items, {named} among them, take the first {draft.places} places"
    shown_to = f"{who} for {draft.share:.0%} of users; {median:.0%} was usual"
    return Finding(
        [f"{shown_to}, {most:.0%} is the most allowed, and {found:.0%} of the clicks are on it"]
    )


def coverage(draft: int, live: int, config: GateConfig) -> Finding:
    """Whether far fewer different items are shown than the live version shows."""
    least = config.min_coverage_ratio * live
    if draft >= least:
        return Finding()
    found = f"the first {PLACES} places of all users show {draft} different items"
    return Finding([f"{found}, those of the live version {live}; {least:.0f} is the least allowed"])


def _flood(places: int, items: int) -> float:
    """As `FLOOD`; of a small catalogue so many items have a large part of the clicks anyway."""
    return max(FLOOD[places], min(1.0, RAISED * places / items))


def _share_of(items: Keys, clicked: Keys) -> float:
    return float(np.isin(clicked, items).mean()) if len(clicked) else 0.0


def _share_of_most(count: int, clicked: Keys) -> float:
    """Of the clicks, those on the `count` items that are clicked most."""
    _, counts = np.unique(clicked, return_counts=True)
    return float(np.sort(counts)[::-1][:count].sum() / max(1, len(clicked)))


def _raised(share: float) -> float:
    """The share whose odds are `RAISED` times those of `share`, or that is `ALIKE` above it."""
    return max(share + ALIKE, RAISED * share / (1 + (RAISED - 1) * share))
