"""Update policies that `evaluate` runs side by side, each in virtual time on its own folder.

A policy is a way to keep a list fresh: a model with some cadence, or a baseline. Whatever it is, a
click is scored by what it had live at that moment, which has never learnt that click.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

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
_WAYS = {"ordered": "order", "shuffled": "order", "everything": "learns", "id_tables": "learns"}
"""What may be said of a policy's passes, and what of them it says."""

_WAY = re.compile(rf"\+(?={'|'.join(_WAYS)})")
_CADENCE = re.compile(r"^(nightly\+hourly\+statistics-)?([1-9][0-9]?)min$")


Learns = Literal["everything", "id_tables"]
Order = Literal["ordered", "shuffled"]
Variation = Literal["without", "with"]


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

    learns: Learns | None = None
    """What passes train; None: as the configuration says. Without a nightly it is everything, since
    nobody else would train dense weights.
    """

    order: Order | None = None
    """How a pass goes over its clicks; None: as the configuration says."""

    cadence_minutes: int = 60
    """How often it may change what is live."""

    learns_every_minutes: int | None = None
    """How often it runs a pass; between, statistics of items alone are made anew. None: always."""

    refresh_minutes: int = 60
    """How old the item statistics of what is live may become, and of what it trains on."""

    exact_of: str | None = None
    """The policy whose lists these are, were there no index."""

    ingredient: str | None = None
    """What was taken out of the declaration, or put in, to see what it is worth."""

    variation: Variation | None = None
    """Whether it is without that, or with it."""

    @property
    def is_told_of(self) -> bool:
        """Whether it stands in a report for itself, and not to compare another one with."""
        return self.exact_of is None and self.ingredient is None


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
    base, *ways = _WAY.split(name)
    policy = _plain(base)
    said: dict[str, Any] = {_WAYS[way]: way for way in ways}
    is_twice = len(said) < len(ways)
    if policy is None or is_twice or not _has_passes(policy, said):
        names = ", ".join((*MODEL_NAMES, *BASELINE_NAMES))
        raise Refused(
            f"there is no policy {name!r}",
            hint=f"there are {names}, cadences that divide an hour, such as 10min, and "
            "nightly+hourly+statistics-10min; behind those that learn by the hour or oftener "
            f"{', '.join(f'+{way}' for way in _WAYS)}",
        )
    return replace(policy, name=name, **said)


def _has_passes(policy: Policy, said: dict[str, Any]) -> bool:
    """Whether there are passes of which this can be said."""
    return not said or (policy.passes and not (policy.learns and "learns" in said))


def _plain(name: str) -> Policy | None:
    """The one whose passes are as the configuration says."""
    if name in BASELINE_NAMES:
        return Policy(name, "baseline")
    if name in _MODELS:
        return replace(_MODELS[name], name=name)
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
    return None


_NIGHTLY = Policy("", "model", nightly=True, refresh_minutes=DAY_MINUTES)
_MODELS = {
    "never": replace(_NIGHTLY, stops_before_scoring=True),
    "nightly": _NIGHTLY,
    "hourly": Policy("", "model", passes=True, learns="everything"),
    "nightly+hourly": Policy("", "model", nightly=True, passes=True),
}
