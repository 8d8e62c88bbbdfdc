"""Update policies that `evaluate` runs side by side, each in virtual time on its own folder.

A policy is a way to keep a list fresh: a model with some cadence, or a baseline. Whatever it is, a
click is scored by what it had live at that moment, which has never learnt that click.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from evaluation.setup import Change
from twintide.errors import Refused

MODEL_NAMES = ("never", "nightly", "hourly", "nightly+hourly")
BASELINE_NAMES = (
    "popular-all-time",
    "popular-24h",
    "popular-3h",
    "popular-1h",
    "popular-10min",
    "popular-decayed",
    "co-visitation",
    "item-knn",
)
DEFAULT_NAMES = (
    "nightly+hourly",
    "nightly",
    "hourly",
    "popular-all-time",
    "popular-24h",
    "popular-1h",
    "popular-decayed",
    "co-visitation",
    "item-knn",
)
ABLATED_NAMES = ("nightly+hourly", *(each for each in DEFAULT_NAMES if each in BASELINE_NAMES))
"""What runs beside its variations."""

DAY_MINUTES = 1440
_CADENCE = re.compile(r"^(nightly\+hourly\+statistics-)?([1-9][0-9]?)min$")


@dataclass(frozen=True)
class Policy:
    """What is done, and when."""

    name: str
    kind: Literal["model", "baseline"]
    nightly: bool = False
    """Retrain at each day's end. `never` does so until scoring begins."""

    stops_before_scoring: bool = False
    passes: bool = False
    """Run an hourly pass at every tick."""

    learns_everything: bool = False
    """Passes train dense weights too: without a nightly nobody else would."""

    cadence_minutes: int = 60
    """How often it may change what is live."""

    learns_every_minutes: int | None = None
    """How often it runs a pass; between, statistics of items alone are made anew. None: always."""

    refresh_minutes: int = 60
    """How old the item statistics of what is live may become, and of what it trains on."""

    ingredient: str | None = None
    """What was taken out of the declaration, or put in, to see what it is worth."""

    change: Change | None = None
    """What it has declared otherwise than the file."""


def beside_each_other(policies: Sequence[Policy]) -> list[Policy]:
    """The policies, with baselines that are made anew as often as the quickest model policy: a
    model must not win because the list beside it was old.
    """
    quickest = min((each.cadence_minutes for each in policies if each.kind == "model"), default=60)
    return [
        replace(each, cadence_minutes=quickest, refresh_minutes=quickest)
        if each.kind == "baseline"
        else each
        for each in policies
    ]


def parse_policy(name: str) -> Policy:
    """The policy of that name. Raises Refused with the names that there are."""
    if name in BASELINE_NAMES:
        return Policy(name, "baseline")
    if name == "never":
        return Policy(
            name, "model", nightly=True, stops_before_scoring=True, refresh_minutes=DAY_MINUTES
        )
    if name == "nightly":
        return Policy(name, "model", nightly=True, refresh_minutes=DAY_MINUTES)
    if name == "hourly":
        return Policy(name, "model", passes=True, learns_everything=True)
    if name == "nightly+hourly":
        return Policy(name, "model", nightly=True, passes=True)
    if (match := _CADENCE.match(name)) and 60 % int(match[2]) == 0:
        minutes = int(match[2])
        return Policy(
            name,
            "model",
            nightly=True,
            passes=True,
            learns_every_minutes=60 if match[1] else None,
            cadence_minutes=minutes,
            refresh_minutes=minutes,
        )
    names = ", ".join((*MODEL_NAMES, *BASELINE_NAMES))
    raise Refused(
        f"there is no policy {name!r}",
        hint=f"there are {names}, and cadences that divide an hour, such as 10min, "
        "and nightly+hourly+statistics-10min",
    )
