"""Events per second and core of ingest, beside its peers, on a real local Kafka.

    python benchmarks/ingest.py [--events 1000000] [--rounds 3]

Each contestant reads the same topic from its beginning in a process of its own; a round runs all of
them, one after the other, and rounds alternate. CPU time is that of the consuming process (user and
system), so the figures say what a core does, whatever else the machine is busy with.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kafka import KafkaConsumer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from streaming import blocks
from streaming.client import connection, create_topic, producer
from streaming.daemon import run
from streaming.local_kafka import LocalKafka
from twintide import config
from twintide.clock import SystemClock, monotonic_seconds
from twintide.config import Deployment

TOPIC = "benchmark"
PARTITIONS = 6
MINUTES = 5
FIRST_MS = 1_700_049_600_000
BAD_EVERY = 1000


@dataclass(frozen=True)
class Measured:
    """One contestant, one round."""

    events: int
    cpu_seconds: float
    wall_seconds: float


def deployment(bootstrap: str, topic: str, data_dir: Path) -> Deployment:
    """The quickstart's events, and a field that no column asks for."""
    values = config.load(Path(__file__).parents[1] / "configs" / "quickstart.yaml")
    changes = {
        "data_dir": str(data_dir),
        "kafka": {"bootstrap_servers": [bootstrap], "topic": topic},
    }
    return config.fill_in(values, changes)


def load(bootstrap: str, topic: str, events: int, *, bad_every: int | None) -> int:
    """Fill a topic; returns the mean size of a message in bytes."""
    create_topic(bootstrap, topic, partitions=PARTITIONS)
    random = np.random.default_rng(1)
    users = random.integers(0, 1_000_000, events).tolist()
    items = (random.zipf(1.2, events) % 100_000).tolist()
    size = 0
    with producer(config.KafkaConfig(bootstrap_servers=(bootstrap,))) as client:
        for number in range(events):
            at_ms = FIRST_MS + number * MINUTES * 60_000 // events
            value = (
                f'{{"event_id":{number},"user_id":{users[number]},"item_id":{items[number]},'
                f'"event_at":{at_ms},"clicked":true,"watch_seconds":{number % 977 / 7:.3f},'
                f'"liked":false,"category":{number % 40},"topics":[{number % 9},{number % 31}],'
                f'"region":{number % 17},"session":"{number:032x}","agent":"{"m" * 52}"}}'
            ).encode()
            if bad_every and number % bad_every == 0:
                value = value[:-40]
            size += len(value)
            client.send(topic, value, partition=number % PARTITIONS, timestamp_ms=at_ms)
        client.flush()
    return size // events


def ingest(where: Deployment) -> int:
    """Ours: blocks, Arrow, validation, quarantine, exclusive publish with its fsyncs."""
    summary = run(where, clock=SystemClock(), until_caught_up=True)
    return summary.rows + summary.rejected


def json_loads(where: Deployment) -> int:
    """What one writes first: poll, json.loads, from_pylist, Parquet; bad messages are dropped."""
    rows: list[dict[str, Any]] = []
    schema = where.events.arrow_schema()
    times = [name for name, kind in where.events.columns.items() if kind == "timestamp_ms"]
    raw = pa.schema([pa.field(f.name, pa.int64() if f.name in times else f.type) for f in schema])
    where.shards_dir.mkdir(parents=True)
    files = 0

    def take(batch: list[Any]) -> int:
        nonlocal rows, files
        for record in batch:
            try:
                rows.append(json.loads(record.value))
            except ValueError:
                continue
        if len(rows) >= 200_000:  # noqa: PLR2004
            write()
        return len(batch)

    def write() -> None:
        nonlocal rows, files
        path = where.shards_dir / f"{files}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, raw), path, compression="zstd")
        rows, files = [], files + 1

    total = _drained(where, take, in_blocks=False)
    write()
    return total


def block_drain(where: Deployment) -> int:
    """Record blocks, nothing done with them: the ceiling of the block path."""
    return _drained(where, _unpacked, in_blocks=True)


def _unpacked(batch: list[blocks.Block]) -> int:
    return sum(len(each) for block in batch for each in block.messages())


def poll_drain(where: Deployment) -> int:
    """Plain poll, nothing done with the records: the ceiling of every plain consumer."""
    return _drained(where, len, in_blocks=False)


def _drained(where: Deployment, take: Callable[[list[Any]], int], *, in_blocks: bool) -> int:
    consumer = KafkaConsumer(
        **connection(where.kafka),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=32 if in_blocks else 5000,
        metrics_enabled=False,
    )
    if in_blocks:
        blocks.install(consumer)
    partitions = [TopicPartition(where.kafka.topic, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    wanted = sum(consumer.end_offsets(partitions).values())
    total = 0
    while total < wanted:
        for batch in consumer.poll(timeout_ms=1000).values():
            total += take(batch)
    consumer.close()
    return total


CONTESTANTS = {
    "ingest": (ingest, TOPIC),
    "ingest, 0.1 % bad": (ingest, f"{TOPIC}-bad"),
    "poll + json.loads -> Parquet": (json_loads, TOPIC),
    "blocks, drained": (block_drain, TOPIC),
    "poll, drained": (poll_drain, TOPIC),
}


def measure_here(name: str, bootstrap: str) -> None:
    """The child: one contestant, once, on an empty data folder."""
    work, topic = CONTESTANTS[name]
    with tempfile.TemporaryDirectory() as folder:
        where = deployment(bootstrap, topic, Path(folder))
        before, began = resource.getrusage(resource.RUSAGE_SELF), monotonic_seconds()
        events = work(where)
        wall, after = monotonic_seconds() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(json.dumps({"events": events, "cpu_seconds": cpu, "wall_seconds": wall}))


def measured(name: str, bootstrap: str) -> Measured:
    command = [sys.executable, __file__, "--only", name, "--bootstrap", bootstrap]
    done = subprocess.run(  # noqa: S603  ourselves
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def report(rounds: dict[str, list[Measured]], size: int) -> None:
    base = statistics.median(
        each.events / each.cpu_seconds for each in rounds["poll + json.loads -> Parquet"]
    )
    print(f"\nmessages of {size} bytes, lz4, {PARTITIONS} partitions; median [least .. most]")
    print(f"{'':32}{'events/s/core':>28}{'wall events/s':>16}{'ratio':>8}")
    for name, results in rounds.items():
        rates = sorted(each.events / each.cpu_seconds for each in results)
        wall = statistics.median(each.events / each.wall_seconds for each in results)
        middle = statistics.median(rates)
        spread = f"{middle:,.0f} [{rates[0]:,.0f} .. {rates[-1]:,.0f}]"
        print(f"{name:32}{spread:>34}{wall:>12,.0f}{middle / base:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure_here(options.only, options.bootstrap)
        return
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder)) as kafka:
        print(f"loading {options.events:,} events, twice")
        size = load(kafka.bootstrap, TOPIC, options.events, bad_every=None)
        load(kafka.bootstrap, f"{TOPIC}-bad", options.events, bad_every=BAD_EVERY)
        rounds: dict[str, list[Measured]] = {name: [] for name in CONTESTANTS}
        for number in range(options.rounds):
            for name, results in rounds.items():
                results.append(measured(name, kafka.bootstrap))
            print(f"round {number + 1} of {options.rounds} done", flush=True)
        report(rounds, size)


if __name__ == "__main__":
    main()
