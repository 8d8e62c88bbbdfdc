"""The first half of the demo: events into Kafka, and the real ingest daemon making shards of them.

Events come from the click world, whose truth is known, or from a data file. What went in is then
compared with what the shards hold, offset by offset.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from clickworld import ClickWorld, WorldConfig
from streaming.client import create_topic
from streaming.ends import log_ends
from streaming.produce import sending
from streaming.replay import ReplayProgress, replay
from twintide.clock import SystemClock
from twintide.config import Deployment
from twintide.datafile import read_data
from twintide.errors import Refused, Retryable, TwintideError
from twintide.events import OFFSET_COLUMN
from twintide.output import Update
from twintide.shards import Ledger, read_shard

PARTITIONS = 2
WORLD_STARTS_AT = datetime(2026, 1, 5, 4, tzinfo=UTC)
"""A Monday, at the hour in which the quickstart's days begin."""

IMPRESSIONS_PER_HOUR = 6_000.0
"""As many as two cores evaluate a day and more of within minutes."""

_LOOK_SECONDS = 0.5


class Events(Protocol):
    """Where the demo's events come from."""

    @property
    def name(self) -> str:
        """As reports and progress name it."""

    def send(self, deployment: Deployment, update: Update) -> pa.Table:
        """Put all events into the topic, and return them."""


@dataclass
class WorldEvents:
    """Hours of a simulated click world."""

    hours: int
    name: str = "a simulated click world"
    world: ClickWorld = field(
        default_factory=lambda: ClickWorld(WorldConfig(impressions_per_hour=IMPRESSIONS_PER_HOUR))
    )

    def send(self, deployment: Deployment, update: Update) -> pa.Table:
        """Hour by hour, as the world makes them."""
        kafka, schema = deployment.kafka, deployment.events
        create_topic(kafka, kafka.topic, partitions=PARTITIONS)
        sent: list[pa.Table] = []
        with sending(kafka, kafka.topic, schema=schema) as send:
            for events in self.world.hours(WORLD_STARTS_AT, self.hours):
                send(events)
                sent.append(events.select(list(schema.columns)))
                count = sum(map(len, sent))
                update(len(sent), self.hours, f"{count:,} events of {len(sent)} hours")
        return pa.concat_tables(sent).combine_chunks()


@dataclass(frozen=True)
class FileEvents:
    """A data file."""

    path: Path

    @property
    def name(self) -> str:
        """As a report names it."""
        return str(self.path)

    def send(self, deployment: Deployment, update: Update) -> pa.Table:
        """In event-time order, as fast as Kafka takes them."""

        def show(so_far: ReplayProgress) -> None:
            update(so_far.sent, so_far.events, f"{so_far.sent:,} events")

        replay(
            deployment,
            self.path,
            speed=None,
            clock=SystemClock(),
            on_progress=show,
            partitions=PARTITIONS,
        )
        return read_data(deployment, self.path)


@dataclass(frozen=True)
class Ingested:
    """What went in, and what the shards hold. messages = rows + rejected + filtered."""

    messages: int
    rows: int
    rejected: int
    filtered: int
    shards: int
    partitions: int


def ingest_in_child(
    config: Path, deployment: Deployment, *, messages: int, log_path: Path, update: Update
) -> None:
    """Run the ingest daemon as a process of its own until it has caught up.

    Raises what the daemon says where it fails.
    """
    command = [sys.executable, "-m", "streaming", "-c", str(config), "--until-caught-up"]
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    pause = Event()
    with log_path.open("wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603  our own program
        try:
            while child.poll() is None:
                _show_taken(ledger, messages, update)
                pause.wait(_LOOK_SECONDS)
            _show_taken(ledger, messages, update)
        finally:
            child.terminate()
            child.wait()
    if child.returncode != 0:
        raise _as_said(log_path, child.returncode)


def check_ingested(deployment: Deployment) -> Ingested:
    """Compare the topic with the shards. Raises Refused where they disagree."""
    topic = deployment.kafka.topic
    ends = log_ends(deployment.kafka)
    ledger = Ledger(deployment.shards_dir, topic)
    breaches = ledger.check()
    footers = [name.footer() for name in ledger.names()]
    for partition, end in ends.items():
        offsets = _offsets(ledger, partition)
        own = [footer for footer in footers if footer.partition == partition]
        taken = sum(footer.rows + footer.rejected + footer.filtered for footer in own)
        if taken != end or len(np.unique(offsets)) != sum(footer.rows for footer in own):
            breaches.append(f"partition {partition} has {end} messages, its shards hold {taken}")
    if breaches:
        raise Refused(f"the shards are not the topic {topic}: {breaches[0]}", hint="this is a bug")
    return Ingested(
        messages=sum(ends.values()),
        rows=sum(footer.rows for footer in footers),
        rejected=sum(footer.rejected for footer in footers),
        filtered=sum(footer.filtered for footer in footers),
        shards=len(footers),
        partitions=len(ends),
    )


def _show_taken(ledger: Ledger, messages: int, update: Update) -> None:
    """How many messages are in shards by now."""
    newest = [ledger.newest(partition) for partition in range(PARTITIONS)]
    done = sum(footer.next for footer in newest if footer)
    update(done, messages, f"{done:,} of {messages:,} messages are in shards")


def _offsets(ledger: Ledger, partition: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Every offset of a partition that stands in a shard."""
    tables = [
        read_shard(name.path, [OFFSET_COLUMN])
        for name in ledger.names()
        if name.partition == partition
    ]
    return np.concatenate(
        [np.zeros(0, np.int64), *(table[OFFSET_COLUMN].to_numpy() for table in tables)]
    )


def _as_said(log_path: Path, exit_code: int) -> TwintideError:
    """The error that the daemon ended with, in its own words."""
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    message = _last(lines, "error: ") or f"the ingest daemon ended with {exit_code}"
    kind = Refused if exit_code == Refused.exit_code else Retryable
    return kind(message, hint=_last(lines, "hint: ") or f"its log is {log_path}")


def _last(lines: Sequence[str], prefix: str) -> str:
    found = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    return found[-1].strip() if found else ""
