"""`twintide status`: one screen that says how far everything has come, and what is wrong.

It reads shards, slices, checkpoints and versions, and asks no program: so it works while all of
them are down. `gather` looks, `problems` judges what was seen, the rest prints.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, Now, clock_at, deployment_of
from console.output import command, heading, instant, plain, say, table
from twintide.clock import Clock
from twintide.errors import Corrupt

if TYPE_CHECKING:
    from rich.console import RenderableType

    from publisher.overview import VersionRow
    from twintide.checkpoints import CheckpointManifest
    from twintide.config import Deployment
    from twintide.shards import Ledger

app = typer.Typer()

QUIET_MINUTES = 10
"""A partition of which nothing was heard for longer has probably lost its daemon."""

LATE_CADENCES = 2
"""Hourly runs that may be missing before somebody should look."""

_SHOWN_VERSIONS = 5


@dataclass(frozen=True)
class Partition:
    """How far ingest has come in one partition."""

    partition: int
    next: int
    """The offset that is read next."""

    newest_shard_at: datetime | None
    """Start of the newest shard's minute."""

    complete_until: datetime | None
    """Everything that the broker had stored by then is in shards."""

    lag_minutes: float | None
    """How long ago that was."""


@dataclass(frozen=True)
class CheckpointRow:
    """The newest checkpoint of a line."""

    name: str
    day: date | None
    newest_event_at: datetime | None
    rows: int


@dataclass(frozen=True)
class Hop:
    """One hop of a click on its way to an answer: the newest one that has come so far."""

    to: str
    newest_event_at: datetime | None
    age_minutes: float | None


@dataclass(frozen=True)
class Problem:
    """What is wrong, and the command that mends it."""

    what: str
    command: str


@dataclass(frozen=True)
class Status:
    """What was seen."""

    config: Path
    data_dir: Path
    at: datetime
    topic: str
    partitions: list[Partition] = field(default_factory=list)
    partitions_of_topic: int = 0
    slices: int = 0
    nightly: CheckpointRow | None = None
    hourly: CheckpointRow | None = None
    due_day: date | None = None
    versions: "list[VersionRow]" = field(default_factory=list)
    live: str | None = None
    hold: str | None = None
    head: str | None = None
    """The newest checkpoint: what the next publish makes live."""

    freshness: list[Hop] = field(default_factory=list)
    every_minutes: int = 60
    damages: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come in yet."""
        return not (self.partitions or self.slices or self.head or self.versions or self.damages)


@app.command(rich_help_panel="Operation", epilog="Example: twintide status -c twintide.yaml")
def status(
    *, config: ConfigFile = DEFAULT_CONFIG, now: Now = None, as_json: AsJson = False
) -> None:
    """One screen: lag, positions, checkpoints, versions, freshness, and what is wrong."""
    deployment = deployment_of(config)
    seen = gather(deployment, config, clock=clock_at(now))
    wrong = problems(seen)
    say(plain(seen) | {"problems": plain(wrong)}, _screen(seen, wrong), as_json=as_json)


def gather(deployment: "Deployment", config: Path, *, clock: Clock) -> Status:
    """Look at everything once. What is damaged is noted, and hides nothing else."""
    damages: list[str] = []
    at = clock.now()
    stream = _noted(damages, lambda: _stream(deployment, at)) or {}
    training = _noted(damages, lambda: _training(deployment, clock)) or {}
    versions = _noted(damages, lambda: _versions(deployment)) or {}
    newest = {
        "shards": stream.pop("newest_event_at", None),
        "slices": training.pop("sliced_at", None),
        "checkpoint": training.pop("learnt_at", None),
        "live version": versions.pop("live_at", None),
    }
    return Status(
        config=config,
        data_dir=deployment.data_dir,
        at=at,
        topic=deployment.kafka.topic,
        every_minutes=deployment.training.hourly.every_minutes,
        freshness=[Hop(to, when, _minutes(at, when)) for to, when in newest.items()],
        damages=damages,
        **stream,
        **training,
        **versions,
    )


def problems(seen: Status) -> list[Problem]:
    """What a person should look at, most basic first."""
    return [Problem(what, f"twintide {verb} -c {seen.config}") for what, verb in _wrong(seen)]


def _wrong(seen: Status) -> Iterator[tuple[str, str]]:
    for damage in seen.damages:
        yield damage, "verify"
    yield from _wrong_in_stream(seen)
    yield from _wrong_in_training(seen)
    yield from _wrong_in_versions(seen)


def _wrong_in_stream(seen: Status) -> Iterator[tuple[str, str]]:
    if not seen.partitions:
        yield f"no shard of topic {seen.topic!r} is there yet", "ingest"
    missing = seen.partitions_of_topic - len(seen.partitions)
    if seen.partitions and missing > 0:
        yield f"{missing} of {seen.partitions_of_topic} partitions were never read", "ingest"
    for each in seen.partitions:
        if each.lag_minutes is not None and each.lag_minutes > QUIET_MINUTES:
            quiet = f"nothing was heard of partition {each.partition} for {_long(each.lag_minutes)}"
            yield f"{quiet}: is the ingest daemon running?", "ingest"


def _wrong_in_training(seen: Status) -> Iterator[tuple[str, str]]:
    if seen.due_day is not None:
        yield f"day {seen.due_day} is complete and not yet learnt by a nightly run", "train nightly"
    elif seen.partitions and seen.nightly is None and seen.hourly is None:
        yield "no day is complete yet, so nothing could be trained", "train schedule"
    newest = {hop.to: hop.newest_event_at for hop in seen.freshness}
    sharded, learnt = newest.get("shards"), newest.get("checkpoint")
    late = timedelta(minutes=LATE_CADENCES * seen.every_minutes)
    if sharded and learnt and sharded - learnt > late:
        behind = (sharded - learnt).total_seconds() / 60
        yield f"clicks of the last {_long(behind)} are in shards and not learnt", "train hourly"


def _wrong_in_versions(seen: Status) -> Iterator[tuple[str, str]]:
    for each in seen.versions:
        if each.state == "damaged":
            yield f"version {each.name} is damaged", f"verify {each.name}"
    if seen.hold is not None:
        yield f"promotion is on hold: {seen.hold}", "release"
    if seen.versions and seen.versions[-1].state == "refused":
        name = seen.versions[-1].name
        yield f"the gate refused the newest version, {name}", f"show {name}"
    elif seen.live is None and seen.head is not None:
        yield "no version is live", "publish"
    if seen.head is not None and seen.head not in {each.checkpoint for each in seen.versions}:
        yield f"checkpoint {seen.head} is not published", "publish"


def _stream(deployment: "Deployment", at: datetime) -> dict[str, Any]:
    from twintide.shards import Ledger

    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    marks = ledger.watermarks()
    found: dict[int, Partition] = {}
    newest_events: list[datetime] = []
    of_topic = max((mark.partitions for mark in marks.values()), default=0)
    for partition in range(of_topic or _partitions_seen(ledger)):
        newest, mark = ledger.newest(partition), marks.get(partition)
        if newest is None and mark is None:
            continue
        minute_at = newest.minute_at if newest else None
        complete = max(filter(None, (minute_at, mark.complete_until if mark else None)))
        found[partition] = Partition(
            partition=partition,
            next=newest.next if newest else 0,
            newest_shard_at=minute_at,
            complete_until=complete,
            lag_minutes=_minutes(at, complete),
        )
        newest_events += _newest_event(deployment, ledger, partition)
    return {
        "partitions": list(found.values()),
        "partitions_of_topic": of_topic,
        "newest_event_at": max(newest_events, default=None),
    }


def _partitions_seen(ledger: "Ledger") -> int:
    """Without any watermark, the newest shard says how many partitions there are."""
    names = list(ledger.names())
    return max((name.partition for name in names), default=-1) + 1


def _newest_event(deployment: "Deployment", ledger: "Ledger", partition: int) -> list[datetime]:
    """Event time of the newest event in the partition's newest shard."""
    import pyarrow.compute as pc

    from twintide.shards import read_shard, shard_path

    newest = ledger.newest(partition)
    if newest is None or newest.rows == 0:
        return []
    path = shard_path(
        ledger.root,
        topic=newest.topic,
        partition=newest.partition,
        first=newest.first,
        minute_at=newest.minute_at,
    )
    time = deployment.events.time
    return [pc.max(read_shard(path, [time])[time]).as_py()]


def _training(deployment: "Deployment", clock: Clock) -> dict[str, Any]:
    from trainer.due import nightly_due
    from twintide.checkpoints import list_checkpoints
    from twintide.slices import read_chain

    chain = read_chain(deployment.slices_dir)
    made = list_checkpoints(deployment.checkpoints_dir)
    of_kind = {kind: [one for one in made if one.kind == kind] for kind in ("nightly", "hourly")}
    sliced = [one.footer.newest_event_at for one in chain if one.footer.newest_event_at]
    return {
        "slices": len(chain),
        "nightly": _row(of_kind["nightly"]),
        "hourly": _row(of_kind["hourly"]),
        "head": made[-1].name if made else None,
        "due_day": nightly_due(deployment, clock=clock).day,
        "sliced_at": max(sliced, default=None),
        "learnt_at": made[-1].newest_event_at if made else None,
    }


def _row(made: "list[CheckpointManifest]") -> CheckpointRow | None:
    if not made:
        return None
    newest = made[-1]
    return CheckpointRow(newest.name, newest.day, newest.newest_event_at, newest.rows)


def _versions(deployment: "Deployment") -> dict[str, Any]:
    from publisher.overview import list_versions
    from twintide.versions import read_state

    rows = list_versions(deployment)
    state = read_state(deployment.versions_dir)
    live = [row.newest_event_at for row in rows if row.name == state.current]
    return {
        "versions": rows,
        "live": state.current,
        "hold": state.hold.reason if state.hold else None,
        "live_at": live[0] if live else None,
    }


def _noted(damages: list[str], look: Any) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = look()
    except Corrupt as error:
        damages.append(error.message)
        return None
    return found


def _screen(seen: Status, wrong: list[Problem]) -> "Iterator[RenderableType]":
    yield f"{seen.config} at {instant(seen.at)} UTC, artifacts in {seen.data_dir}"
    if seen.is_empty:
        yield f"\nNothing has come in yet: no shard of topic {seen.topic!r}, nothing trained."
    else:
        yield from _tables(seen)
    yield heading("What is wrong") if wrong else heading("Nothing is wrong.", style="bold green")
    for each in wrong:
        yield f"  {each.what}"
        yield command(f"    {each.command}")


def _tables(seen: Status) -> "Iterator[RenderableType]":
    from console.versions import versions_table

    yield heading("Stream", f"topic {seen.topic}")
    yield table(
        "",
        ("partition", "#next offset", "newest shard (UTC)", "complete until (UTC)", "#lag"),
        [
            (
                each.partition,
                f"{each.next:,}",
                instant(each.newest_shard_at),
                instant(each.complete_until),
                _long(each.lag_minutes),
            )
            for each in seen.partitions
        ],
    )
    yield heading("Training", f"{seen.slices} slices")
    yield table(
        "",
        ("line", "newest checkpoint", "nightly day", "newest click (UTC)", "#clicks learnt"),
        [
            (
                kind,
                each.name if each else "none yet",
                each.day if each else None,
                instant(each.newest_event_at if each else None),
                f"{each.rows:,}" if each else None,
            )
            for kind, each in (("nightly", seen.nightly), ("hourly", seen.hourly))
        ],
    )
    hold = f"; on hold: {seen.hold}" if seen.hold else ""
    yield heading("Versions", f"{len(seen.versions)}, live: {seen.live or 'none'}{hold}")
    if seen.versions:
        yield versions_table(seen.versions[-_SHOWN_VERSIONS:])
    yield heading("Freshness", "the newest click that has come as far as")
    yield table(
        "",
        ("", "newest click (UTC)", "#age"),
        [(hop.to, instant(hop.newest_event_at), _long(hop.age_minutes)) for hop in seen.freshness],
    )


def _minutes(at: datetime, since: datetime | None) -> float | None:
    return None if since is None else round((at - since).total_seconds() / 60, 1)


def _long(minutes: float | None) -> str:
    """3 min, 5.2 h, 12 days."""
    if minutes is None:
        return "–"
    if minutes < 120:  # noqa: PLR2004  up to two hours, minutes are easier to read
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"
