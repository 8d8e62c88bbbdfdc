"""What is asked of a server and what it answers, as values.

A key that a newer server adds to an answer is passed over, so that an older client goes on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from typing import Any, Required, Self, TypedDict

Id = int | str
Value = int | str | bool


@dataclass(frozen=True)
class RecentItem:
    """An item that the user did something with, and when, in Unix milliseconds."""

    item_id: Id
    at: int


@dataclass(frozen=True)
class Part:
    """What one objective gives to a score: its two add up."""

    similarity: float
    bias: float


@dataclass(frozen=True)
class Pull:
    """An item of the history, and how much it pulled."""

    item_id: Id | None
    score: float


@dataclass(frozen=True)
class Explanation:
    """Why an item is in an answer."""

    parts: Mapping[str, Part]
    """By objective."""

    history: tuple[Pull, ...]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        parts = {
            name: Part(each["similarity"], each["bias"]) for name, each in said["parts"].items()
        }
        return cls(parts, tuple(Pull(each["item_id"], each["score"]) for each in said["history"]))


@dataclass(frozen=True)
class ScoredItem:
    """An item of an answer."""

    item_id: Id
    score: float
    """Comparable within a version."""

    explain: Explanation | None = None
    """Where it was asked for."""

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        explain = Explanation.read(said["explain"]) if "explain" in said else None
        return cls(said["item_id"], said["score"], explain)


@dataclass(frozen=True)
class Answer:
    """What was recommended, best first."""

    version: str | None
    """The version that answered; None where nothing is live yet."""

    known_user: bool
    """False: the version has learnt nothing of this user, who was answered as an anonymous one."""

    items: tuple[ScoredItem, ...]
    answered_from: str = "model"
    """model; model and popularity, for a user of whom nothing is known; or popularity, where
    nothing is live yet: what everybody clicked of late.
    """

    remembered: tuple[str, ...] | None = None
    """Where it was explained: columns of which the user's last events said."""

    @property
    def item_ids(self) -> list[Id]:
        """Of the items, best first."""
        return [item.item_id for item in self.items]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        items = tuple(map(ScoredItem.read, said["items"]))
        remembered = tuple(said["remembered"]) if "remembered" in said else None
        answered_from = said.get("answered_from", "model")  # an older server does not say it
        return cls(said["version"], said["known_user"], items, answered_from, remembered)


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

    newest_counted_at: datetime | None = None
    """The same of the newest click that its statistics and histories know of, learnt or not."""

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        return cls(
            said["version"],
            said["checkpoint"],
            said["kind"],
            said["items"],
            _instant(said["newest_event_at"]),
            said["problem"],
            _instant(said.get("newest_counted_at")),  # an older server does not say it
        )


def _instant(said: str | None) -> datetime | None:
    return datetime.fromisoformat(said) if said else None


class Asked(TypedDict, total=False):
    """What a request may say beside the user; docs/http.md has the words of each."""

    k: int
    features: Mapping[str, Any]
    recent: Sequence[Id | RecentItem]
    histories: Mapping[str, Sequence[Id | RecentItem]]
    objectives: Mapping[str, float]
    filters: Mapping[str, Value | Sequence[Value]]
    seen: bool
    exact: bool
    explain: bool
    exclude: Sequence[Id]


class AskedOfMany(Asked):
    """A request of a batch."""

    user_id: Required[Id | None]


@dataclass(frozen=True)
class Question:
    """What is asked, as HTTP has it."""

    method: str
    path: str
    body: bytes | None = None
    takes_long: bool = False
    """The server has it wait for its turn, and works on it though nobody waits any more."""


VERSION = Question("GET", "/v1/version")


def batch_of(requests: Sequence[AskedOfMany]) -> Question:
    """A batch."""
    body = _json_of({"requests": requests})
    return Question("POST", "/v1/recommend/batch", body, takes_long=True)


def request_of(user_id: Id | None, said: Mapping[str, Any]) -> Question:
    """One request."""
    takes_long = bool(said.get("exact") or said.get("explain"))
    body = _json_of({"user_id": user_id, **said})
    return Question("POST", "/v1/recommend", body, takes_long=takes_long)


def _json_of(asked: Mapping[str, Any]) -> bytes:
    return json.dumps(asked, default=_plain, allow_nan=False).encode()


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a request")
