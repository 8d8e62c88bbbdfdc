"""A small line for the status page to show: shards, two nights, hours, versions that a gate judged.

`python -m tests.serving.page_line FOLDER` makes the one of the screenshots in docs/operations.md.
"""

import sys
from pathlib import Path

import numpy as np

from publisher.publish import publish
from streaming.content import content_of
from streaming.cutter import PartitionCutter
from streaming.messages import Messages
from streaming.offline import write_shards
from streaming.writer import publish as commit
from tests.console.conftest import hour, stream, write_config
from tests.trainer.conftest import deployment_in
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide import config
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment
from twintide.shards import Ledger

HOURS = 60
PARTITIONS = 4
NOW = hour(HOURS)
BAD = (b'{"user_id": "<b>seven</b>"}', b"no JSON", b'{"item_id": 3}', b"no JSON at all")


def make(folder: Path, *, hours: tuple[float, ...], events_per_hour: int) -> Deployment:
    """Two nightlies and hourlies at those hours of the stream, each published."""
    deployment = deployment_in(folder / "data")
    deployment = config.fill_in(
        deployment,
        {
            "shards": {"max_rejected_ratio": 1.0},
            "publishing": {"gate": {"min_events": 50}},
        },
    )
    events = stream(deployment, hours=HOURS, events_per_hour=events_per_hour)
    write_shards(deployment, events, partitions=PARTITIONS, complete_until=NOW)
    write_config(deployment, folder)
    for at in sorted({*hours, 24.1, 48.1}):
        clock = HeldClock(hour(at))
        (nightly if at in {24.1, 48.1} else hourly)(deployment, clock=clock)
        publish(deployment, clock=clock)
    return deployment


def reject(deployment: Deployment, partition: int, messages: tuple[bytes, ...]) -> None:
    """A shard whose messages are mostly bad, behind the newest one."""
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    before = ledger.take_up(partition)
    first = before.next if before else 0
    cutter = PartitionCutter(partition, deployment.shards, first=first, before=before)
    offsets = np.arange(first, first + len(messages))
    at_ms = np.full(len(messages), to_unix_ms(NOW) - 1)
    rows = Messages(offsets, first + len(messages), at_ms, list(messages), bytes=1_000)
    for _ in cutter.add(rows, NOW):
        raise AssertionError("they are of one minute")
    cut = cutter.flush()
    assert cut is not None
    commit(
        ledger,
        cut,
        content_of(cut, deployment.events),
        partitions=PARTITIONS,
        fingerprint=deployment.events.fingerprint(),
    )


if __name__ == "__main__":
    made = make(
        Path(sys.argv[1]),
        hours=(26, 28, 30, 33, 36, 40, 44, 47, 50, 52, 54, 57, 59.9),
        events_per_hour=2_400,
    )
    reject(made, 2, BAD * 9 + (b"{}",) * 60)
