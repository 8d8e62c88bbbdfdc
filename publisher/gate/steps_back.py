"""What a draft may not lose against the live version: items known, items to be answered, time."""

import math
from datetime import datetime

from publisher.build import Draft
from twintide.config import GateConfig
from twintide.versions import VersionManifest


def knows_fewer(
    draft: Draft, live: VersionManifest, config: GateConfig, *, rewound_to: str | None
) -> tuple[list[str], list[str]]:
    """Why it knows far fewer clicked items than the live version does, and what of that was meant:
    of what is rewound the items go too, and those that a new rule forgets.
    """
    known, live_known = draft.catalogue_items, live.catalogue_items or live.items
    least = math.ceil(config.min_items_ratio * live_known)
    if known >= least:
        return [], []
    found = f"it has {known} items, the live version {live_known}"
    if rewound_to is not None:
        return [], [f"{found}: training was rewound to {rewound_to}"]
    days = draft.checkpoint.model.state.forget_items_after_days
    if days != live.model.state.forget_items_after_days:
        return [], [f"{found}: items are forgotten after {days} days now"]
    return [f"{found}; {least} is the least allowed"], []


def leaves_fewer(draft: Draft, live: VersionManifest, config: GateConfig) -> list[str]:
    """Whether the source of items lets far fewer be answered, where both know what it says. What
    is idle it lets be answered.
    """
    least = math.ceil(config.min_items_ratio * (live.items + live.idle_items))
    left = draft.index.items + len(draft.items.idle)
    if not draft.listing or not live.listing or left >= least:
        return []
    found = (
        f"the source of items leaves {left} items, the live version has "
        f"{live.items + live.idle_items}; {least} is the least allowed: is "
        f"{draft.listing.ref.name} whole? `twintide publish --checkpoint {draft.checkpoint.name} "
        "--no-gate` says that it is"
    )
    return [found]


def is_older(
    draft: Draft, live: VersionManifest, *, latest: datetime | None, rewound_to: str | None
) -> tuple[list[str], list[str]]:
    """Why the draft's clicks are too old, and what could not be judged or was meant."""
    newest, live_newest = draft.checkpoint.newest_event_at, live.newest_event_at
    if live_newest is None or (newest is not None and newest >= live_newest):
        return [], []
    found = f"its newest click is of {newest}, that of the live version of {live_newest}"
    if latest is not None and live_newest > latest:
        return [], [f"{found}, which lies in the future: the two were not compared"]
    if rewound_to is not None:
        return [], [f"{found}: training was rewound to {rewound_to}"]
    return [found], []
