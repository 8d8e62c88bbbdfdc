"""How many of the newest minutes an hourly pass leaves to the next one, for the gate to judge on.

How many it takes is said by the gate: it knows how much two versions differ, and how many clicks an
hour brings. Where no version says so yet, it is as few as by default.
"""

import math
from contextlib import suppress
from pathlib import Path

from twintide.config import ShardsConfig
from twintide.config.training import HourlyConfig
from twintide.errors import Corrupt, Refused
from twintide.versions import read_version_manifest, version_names

LEAST_MINUTES = 2
ASKED = 24
"""Of the newest versions, one that says it is looked for among so many."""


def minutes_held_back(hourly: HourlyConfig, shards: ShardsConfig, said: int | None) -> int:
    """The declared minutes; with `auto` what the gate `said`, as far as freshness allows."""
    if hourly.holdback_minutes != "auto":
        return hourly.holdback_minutes
    most = max(LEAST_MINUTES, hourly.every_minutes // 2)
    wanted = min(max(LEAST_MINUTES, said or 0), most)
    return math.ceil(wanted / shards.minutes) * shards.minutes


def said_by_the_gate(versions_dir: Path) -> int | None:
    """What the newest version says that was judged beside another; None where none does."""
    for name in version_names(versions_dir)[: -ASKED - 1 : -1]:
        with suppress(Corrupt, Refused):  # gc may take one away
            said = read_version_manifest(versions_dir, name).gate.holdback_minutes
            if said is not None:
                return said
    return None
