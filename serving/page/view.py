"""What the templates show, in words: a snapshot and what this server serves become rows of text."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serving.follower import Standing
from serving.page.drawing import Lines, RecallChart, lines, recall_chart
from serving.page.snapshot import Snapshot
from twintide.overview.rejected import Reason
from twintide.overview.status import Status
from twintide.overview.versions import VersionRow
from twintide.overview.wrong import LATE_CADENCES, QUIET_MINUTES, is_quiet, long, unlearnt_minutes
from twintide.versions import Change

SHOWN_PARTITIONS = 24
SHOWN_ROWS = 12
SHOWN_CHANGES = 8
FULL_BAR_MINUTES = 2 * QUIET_MINUTES
"""Lag at which the bar of a partition is full."""


@dataclass(frozen=True)
class HopView:
    """One station of a click on its way to an answer."""

    name: str
    age: str
    at: str
    delay: str
    """Behind the station before; empty for the first one."""

    is_late: bool
    what: str


@dataclass(frozen=True)
class PartitionView:
    """How far one partition is behind."""

    number: int
    lag: str
    percent: int
    is_quiet: bool
    complete_until: str
    next: str
    trouble: str


@dataclass(frozen=True)
class ReasonView:
    """Why messages were rejected."""

    words: str
    messages: str
    percent: int
    where: str


@dataclass(frozen=True)
class View:
    """All that the page says."""

    snapshot: Snapshot
    standing: Standing
    hops: list[HopView]
    partitions: list[PartitionView]
    more_partitions: int
    lines: Lines
    recall: RecallChart | None
    versions: list[VersionRow]
    once_live: frozenset[str]
    """Versions that were live at some time."""

    changes: list[Change]
    reasons: list[ReasonView]

    @property
    def seen(self) -> Status:
        return self.snapshot.seen

    @property
    def live(self) -> VersionRow | None:
        """The live version, as its manifest says."""
        return next((row for row in self.seen.versions if row.name == self.seen.live), None)

    @property
    def live_age(self) -> str:
        """Of its newest click."""
        newest = self.live.newest_event_at if self.live else None
        return age(newest, self.seen.at)


def view_of(snapshot: Snapshot, standing: Standing) -> View:
    seen = snapshot.seen
    most_behind = sorted(seen.partitions, key=lambda each: -(each.lag_minutes or 0.0))
    shown = sorted(most_behind[:SHOWN_PARTITIONS], key=lambda each: each.partition)
    troubles = {each.partition: each.what for each in seen.troubles}
    once_live = frozenset(each.current for each in snapshot.state.history if each.current)
    return View(
        snapshot=snapshot,
        standing=standing,
        hops=hops(seen, standing),
        partitions=[
            PartitionView(
                each.partition,
                long(each.lag_minutes),
                percent(each.lag_minutes or 0.0, FULL_BAR_MINUTES),
                is_quiet(each) or each.partition in troubles,
                instant(each.complete_until),
                f"{each.next:,}",
                troubles.pop(each.partition, ""),
            )
            for each in shown
        ]
        + [
            PartitionView(number, "–", 0, True, "–", "–", what)  # noqa: FBT003
            for number, what in sorted(troubles.items())
        ],
        more_partitions=len(most_behind) - len(shown),
        lines=lines(snapshot.checkpoints, seen.versions, once_live),
        recall=recall_chart(seen.versions),
        versions=seen.versions[::-1][:SHOWN_ROWS],
        once_live=once_live,
        changes=list(snapshot.state.history[::-1][:SHOWN_CHANGES]),
        reasons=reason_views(snapshot.reasons),
    )


def hops(seen: Status, standing: Standing) -> list[HopView]:
    """Event, shard, learnt, published, served: how old the newest click is at each."""
    at = {hop.to: hop.newest_event_at for hop in seen.freshness}
    manifest = standing.retriever.version.manifest if standing.retriever else None
    stations = (
        ("In shards", at.get("shards"), _is_sharding_late(seen), "read from Kafka"),
        ("Learnt", at.get("checkpoint"), _is_learning_late(seen), seen.head or "no checkpoint"),
        ("Published", at.get("live version"), False, seen.live or "nothing is live"),
        (
            "Served here",
            manifest.newest_event_at if manifest else None,
            standing.problem is not None,
            manifest.name if manifest else "nothing yet",
        ),
    )
    counted = (
        (("Counted here", manifest.newest_counted_at, False, "statistics and histories"),)
        if manifest and manifest.counted
        else ()
    )
    found = [HopView("Clicked", "now", instant(seen.at), "", is_late=False, what=seen.topic)]
    before: datetime | None = seen.at
    for name, newest, is_late, what in (*stations, *counted):
        delay = _delay(before, newest)
        found.append(HopView(name, age(newest, seen.at), instant(newest), delay, is_late, what))
        before = newest
    return found


def _is_sharding_late(seen: Status) -> bool:
    return any(map(is_quiet, seen.partitions)) or bool(seen.troubles)


def _is_learning_late(seen: Status) -> bool:
    behind = unlearnt_minutes(seen)
    return behind is not None and behind > LATE_CADENCES * seen.every_minutes


def _delay(before: datetime | None, newest: datetime | None) -> str:
    if before is None or newest is None:
        return ""
    minutes = (before - newest).total_seconds() / 60
    return f"+{long(minutes)}" if minutes > 0 else "+0 min"


def changes_of(version: str, history: Sequence[Change]) -> list[Change]:
    """Those that made it live, while it was, and that which ended it; oldest first."""
    before = [None, *(each.current for each in history)]
    return [
        each for each, live in zip(history, before, strict=False) if version in {each.current, live}
    ]


def reason_views(found: Sequence[Reason]) -> list[ReasonView]:
    """Without the messages themselves: those may hold what is nobody's business."""
    most = max((each.messages for each in found), default=1)
    return [
        ReasonView(
            each.reason,
            f"{each.messages:,}",
            percent(each.messages, most),
            f"partition {each.partition}, offset {each.offset:,}",
        )
        for each in found
    ]


def percent(value: float, of: float) -> int:
    """0 to 100; at least 1 for what is more than nothing."""
    share = min(max(value / of, 0.0), 1.0)
    return max(round(100 * share), 1) if share else 0


def instant(at: datetime | None) -> str:
    """2026-01-05 04:00, or a dash."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M}"


def age(newest: datetime | None, now: datetime) -> str:
    """34 min, or a dash."""
    return "–" if newest is None else long(max((now - newest).total_seconds() / 60, 0.0))


def gate_rows(gate: dict[str, Any]) -> list[tuple[str, str]]:
    """All that a gate has found, whatever it measures: a new figure is a new row."""
    return [
        (key.replace("_", " ").replace("recall", f"recall@{gate['k']}"), _figure(value))
        for key, value in gate.items()
        if value is not None and value != [] and key not in {"passed", "reasons", "notes", "k"}
    ]


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
