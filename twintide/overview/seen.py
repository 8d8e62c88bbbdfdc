"""Look at everything once: shards, slices, checkpoints and versions, as their folders say.

No program of ours is asked, so it works while all of them are down. Where the log ends, only Kafka
knows: whoever has asked it says so. What is damaged or refused is noted, and hides nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from twintide.behind import newest_minute
from twintide.checkpoints import CheckpointManifest, list_checkpoints
from twintide.clock import Clock, from_unix_ms, has_come, to_unix_ms
from twintide.columns import read_events
from twintide.config import Deployment
from twintide.days import Calendar
from twintide.due import due_after
from twintide.errors import Corrupt, Refused
from twintide.events import BROKER_TIME_COLUMN
from twintide.history import PARTITION as HISTORY
from twintide.line import check_by_the_hour, check_goes_on
from twintide.listings import listing_names, read_ref, trouble
from twintide.overview.capacity import state_rows, table_rows
from twintide.overview.known import Known
from twintide.overview.recent import look
from twintide.overview.status import (
    CheckpointRow,
    Fault,
    HistoryRow,
    Hop,
    ItemsRow,
    Partition,
    Status,
    TroubleRow,
)
from twintide.overview.versions import list_versions
from twintide.shards import Ledger, ShardFooter, shard_path
from twintide.slices import chain_dir, columns_read, read_tail
from twintide.vectorstore import widths_of
from twintide.versions import ServingState, judged_live, read_state


@dataclass(frozen=True)
class LogEnds:
    """Where the log of each partition ends, by Kafka's own word."""

    of: Mapping[int, int] = field(default_factory=dict)
    kafka: str = "not asked"
    """"answers", "not asked", or why it does not answer."""


def gather(
    deployment: Deployment, config: Path, *, clock: Clock, ends: LogEnds, known: Known
) -> Status:
    """What is there now. `config` is the file of the deployment, as commands name it."""
    faults: list[Fault] = []
    at = clock.now()
    stream = _noted(faults, lambda: _stream(deployment, clock, ends.of)) or {}
    troubles = _noted(faults, lambda: _troubles(deployment), verb="ingest") or {}
    until = stream.pop("newest_minute_at", None)
    recent = _noted(faults, lambda: _recent(deployment, until, known)) or {}
    training = _noted(faults, lambda: _training(deployment, clock, known)) or {}
    items = _noted(faults, lambda: _items(deployment), verb="config check") or {}
    versions = _noted(faults, lambda: _versions(deployment, known)) or {}
    _noted(faults, lambda: _fits(deployment, known))
    shards = stream.pop("newest_shards", [])
    came = _noted(faults, lambda: _newest_event(deployment, shards, clock), verb="ingest") or {}
    counted_at = versions.pop("counted_at", None)
    newest = {
        "shards": came.get("newest_event_at"),
        "slices": training.pop("sliced_at", None),
        "checkpoint": training.pop("learnt_at", None),
        "live version": versions.pop("live_at", None),
        **({"its statistics": counted_at} if counted_at else {}),
    }
    return Status(
        config=config,
        data_dir=deployment.data_dir,
        at=at,
        topic=deployment.kafka.topic,
        kafka=ends.kafka,
        every_minutes=deployment.training.hourly.every_minutes,
        read_columns=_read_columns(deployment),
        user_column=deployment.events.user,
        freshness=[Hop(to, _until(at, when), _minutes(at, when)) for to, when in newest.items()],
        faults=faults,
        **stream,
        **troubles,
        **recent,
        **training,
        **items,
        **versions,
    )


def _recent(deployment: Deployment, until: datetime | None, known: Known) -> dict[str, Any]:
    return {"recent": look(deployment, until=until, known=known.shards)} if until else {}


def _stream(deployment: Deployment, clock: Clock, ends: Mapping[int, int]) -> dict[str, Any]:
    at = clock.now()
    minutes: list[datetime] = []
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    marks = ledger.watermarks()
    found: dict[int, Partition] = {}
    shards: list[ShardFooter] = []
    of_topic = max((mark.partitions for mark in marks.values()), default=0)
    of_topic = max(of_topic or _partitions_seen(ledger), len(ends))
    for partition in range(of_topic):
        newest, mark = ledger.newest(partition), marks.get(partition)
        if newest is None and mark is None and not ends.get(partition):
            continue
        minute_at = newest_minute(ledger, partition, clock=clock)
        passed = [minute_at, mark.complete_until if mark else None]
        come = [each for each in passed if each is not None and has_come(each, clock)]
        complete = _until(at, max(come, default=None))
        minutes += [minute_at] if minute_at else []
        next_ = newest.next if newest else 0
        read = max(next_, mark.next if mark else 0)
        found[partition] = Partition(
            partition=partition,
            next=next_,
            waiting=max(ends[partition] - read, 0) if partition in ends else None,
            newest_shard_at=_until(at, minute_at),
            complete_until=complete,
            lag_minutes=_minutes(at, complete),
        )
        if newest is not None:
            shards.append(newest)
    return {
        "history": _history(ledger),
        "partitions": list(found.values()),
        "partitions_of_topic": of_topic,
        "is_stream_here": ledger.root.exists() or ledger.folder.exists(),
        "newest_shards": shards,
        "newest_minute_at": max(minutes, default=None),
    }


def _history(ledger: Ledger) -> HistoryRow | None:
    found = ledger.history()
    if found is None:
        return None
    newest = from_unix_ms(found.last_ms)
    return HistoryRow(len(found.files), found.files[0].name, found.rows, newest, found.is_whole)


def _troubles(deployment: Deployment) -> dict[str, Any]:
    """What the ingest daemon has written down for whoever asks."""
    said = Ledger(deployment.shards_dir, deployment.kafka.topic).troubles()
    return {"troubles": [TroubleRow(**each.model_dump(exclude={"topic"})) for each in said]}


def _partitions_seen(ledger: Ledger) -> int:
    """Without any watermark, what was taken up says how many partitions there are."""
    return max({*ledger.partitions()} - {HISTORY}, default=-1) + 1


def _newest_event(
    deployment: Deployment, shards: list[ShardFooter], clock: Clock
) -> dict[str, Any]:
    """Event time of the newest event in the partitions' newest shards: none is newer than its
    arrival, whatever a producer's clock says. Raises Refused where a shard holds other columns.
    """
    newest_ms = [0]
    for footer in shards:
        path = shard_path(
            deployment.shards_dir,
            topic=footer.topic,
            partition=footer.partition,
            first=footer.first,
            minute_at=footer.minute_at,
        )
        events = read_events(path, deployment.events)
        happened, stored = (
            events[name].to_numpy().astype("datetime64[ms]").astype(np.int64)
            for name in (deployment.events.time, BROKER_TIME_COLUMN)
        )
        at_ms = np.minimum(happened, stored)
        newest_ms += at_ms[at_ms <= to_unix_ms(clock.latest())].tolist()
    newest = max(newest_ms)
    return {"newest_event_at": from_unix_ms(newest) if newest else None}


def _training(deployment: Deployment, clock: Clock, known: Known) -> dict[str, Any]:
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    made, model = _checkpoints(deployment, known), deployment.model
    of_kind = {kind: [one for one in made if one.kind == kind] for kind in ("nightly", "hourly")}
    head = made[-1:]
    tail = read_tail(root, head[0].position if head else {})
    newest = [one.newest_event_at for one in head]
    newest += [each.footer.newest_event_at for each in tail.slices]
    calendar = Calendar.of(deployment.training)
    return {
        "slices": tail.in_all,
        "nightly": _row(of_kind["nightly"]),
        "hourly": _row(of_kind["hourly"]),
        "tables": table_rows(
            made,
            {name: model.table_rule(name).max_rows for name in model.learning_tables()},
        ),
        "remembered": state_rows(made, model),
        "head": made[-1].name if made else None,
        "due_day": due_after(made, deployment, clock=clock).day,
        "first_day_ends_at": None
        if made or deployment.training.hourly.learns == "everything"
        else calendar.end_of(calendar.day_of(clock.now())),
        "sliced_at": max(filter(None, newest), default=None) if tail.in_all else None,
        "learnt_at": made[-1].newest_event_at if made else None,
    }


def _checkpoints(deployment: Deployment, known: Known) -> list[CheckpointManifest]:
    return list_checkpoints(deployment.checkpoints_dir, read=known.checkpoint)


def _row(made: list[CheckpointManifest]) -> CheckpointRow | None:
    if not made:
        return None
    newest = made[-1]
    return CheckpointRow(newest.name, newest.day, newest.newest_event_at, newest.rows)


def _items(deployment: Deployment) -> dict[str, Any]:
    if not deployment.items.is_declared:
        return {}
    root = deployment.items_dir
    names, why = listing_names(root), trouble(root)
    newest = read_ref(root, names[-1]) if names else None
    row = ItemsRow(
        listing=newest.name if newest else None,
        read_at=newest.read_at if newest else None,
        listed=newest.listed if newest else 0,
        unavailable=newest.unavailable if newest else 0,
        unread=newest.unread if newest else 0,
        trouble=f"{why.what} ({why.hint})" if why else None,
        since=why.since if why else None,
    )
    return {"items": row}


def _versions(deployment: Deployment, known: Known) -> dict[str, Any]:
    rows = list_versions(deployment, read=known.version)
    state = read_state(deployment.versions_dir)
    live = next((row for row in rows if row.name == state.current), None)
    return {
        "versions": rows,
        "live": state.current,
        "hold": state.hold.reason if state.hold else None,
        "doubt": _doubt(state),
        "live_at": live.newest_event_at if live else None,
        "counted_at": live.newest_counted_at if live else None,
    }


def _doubt(state: ServingState) -> str | None:
    looked = state.second_look
    if looked is None or looked.version not in {state.current, judged_live(state)}:
        return None
    return None if looked.passed else looked.words


def _fits(deployment: Deployment, known: Known) -> dict[str, Any]:
    """Raises Refused where the declaration is refused by what is there already, at every run, or
    waits for a night.
    """
    for newest in _checkpoints(deployment, known)[-1:]:
        check_goes_on(deployment, newest)
        check_by_the_hour(
            deployment, newest, deployment.model.with_widths(widths_of(newest.vectors))
        )
    return {}


def _read_columns(deployment: Deployment) -> tuple[str, ...]:
    return tuple(columns_read(deployment.events, deployment.model))


def _noted(
    faults: list[Fault], look: Callable[[], dict[str, Any]], *, verb: str = "train hourly"
) -> dict[str, Any] | None:
    """`verb` is refused for the same reason, and says what to do."""
    try:
        return look()
    except Corrupt as error:
        faults.append(Fault(error.message, "verify"))
    except Refused as error:
        faults.append(Fault(error.message, verb))
    except OSError as error:
        where = error.filename or "what lies on the disk"
        faults.append(Fault(f"{where} cannot be read: {error.strerror or error}", "verify"))
    return None


def _until(at: datetime, when: datetime | None) -> datetime | None:
    """Nothing has come from the future, whoever's clock says so."""
    return None if when is None else min(when, at)


def _minutes(at: datetime, since: datetime | None) -> float | None:
    return None if since is None else round(max(at - since, timedelta(0)).total_seconds() / 60, 1)
