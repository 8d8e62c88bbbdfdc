"""What is asked of a server and what it answers, as values.

A key that a newer server adds to an answer is passed over, so that an older client goes on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from typing import Any, Self, TypedDict

Id = int | str


@dataclass(frozen=True)
class RecentItem:
    """An item that the user did something with, and when, in Unix milliseconds."""

    item_id: Id
    at: int


@dataclass(frozen=True)
class ScoredItem:
    """An item of an answer."""

    item_id: Id
    score: float
    """Comparable within a version."""


@dataclass(frozen=True)
class Answer:
    """What was recommended, best first."""

    version: str
    """The version that answered."""

    known_user: bool
    """False: the version has learnt nothing of this user, who was answered as an anonymous one."""

    items: tuple[ScoredItem, ...]

    @property
    def item_ids(self) -> list[Id]:
        """Of the items, best first."""
        return [item.item_id for item in self.items]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        items = tuple(ScoredItem(each["item_id"], each["score"]) for each in said["items"])
        return cls(said["version"], said["known_user"], items)


@dataclass(frozen=True)
class Served:
    """What a server serves."""

    version: str
    checkpoint: str
    kind: str
    """nightly or hourly: the line of the checkpoint."""

    items: int
    newest_event_at: datetime | None
    """Event time of the newest click in it."""

    problem: str | None
    """Why the server does not serve what is live; None where it does."""

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        newest = said["newest_event_at"]
        return cls(
            said["version"],
            said["checkpoint"],
            said["kind"],
            said["items"],
            datetime.fromisoformat(newest) if newest else None,
            said["problem"],
        )


class Asked(TypedDict, total=False):
    """What a request may say beside the user; docs/http.md has the words of each."""

    k: int
    features: Mapping[str, Any]
    recent: Sequence[Id | RecentItem]
    histories: Mapping[str, Sequence[Id | RecentItem]]
    objectives: Mapping[str, float]
    exclude: Sequence[Id]


def request_body(user_id: Id | None, said: Mapping[str, Any]) -> bytes:
    """JSON of a request."""
    return json.dumps({"user_id": user_id, **said}, default=_plain, allow_nan=False).encode()


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a request")
