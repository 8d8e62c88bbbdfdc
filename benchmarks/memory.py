"""How much memory ingest takes over a backlog, on a real local Kafka.

    python benchmarks/memory.py [--bootstrap HOST:PORT]

Each workload is read by a process of its own: what counts is by how much its resident set grows at
its peak, over what it was with everything imported. Beside it stands `shards.max_bytes`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from kafka import KafkaProducer

from streaming.client import create_topic
from streaming.daemon import run
from streaming.local_kafka import LocalKafka
from twintide import config
from twintide.clock import SystemClock

FIRST_MS = 1_700_049_600_000
MIB = 1024 * 1024


@dataclass(frozen=True)
class Workload:
    """Messages of one minute, and the bound that ingest is given."""

    what: str
    messages: int
    filler_bytes: int
    """What each message holds besides its columns."""

    batch_bytes: int
    partitions: int
    max_bytes: int


WORKLOADS = {
    "nothing": Workload("no message at all", 0, 0, 16_384, 1, 256 * MIB),
    "one commit": Workload(
        "480,000 events of 480 bytes in one minute of one partition",
        *(480_000, 300, 256 * 1024, 1, 256 * MIB),
    ),
    "partitions": Workload(
        "the same over 12 partitions", *(480_000, 300, 256 * 1024, 12, 64 * MIB)
    ),
    "expanding": Workload(
        "20 batches of some KB that expand to 60 MB each",
        *(20 * 600, 100_000, 60_000_000, 2, 32 * MIB),
    ),
}


def load(bootstrap: str, topic: str, work: Workload) -> None:
    create_topic(bootstrap, topic, partitions=work.partitions)
    client = KafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type="lz4",
        batch_size=work.batch_bytes,
        linger_ms=2000,
        max_request_size=128 * MIB,
        max_in_flight_requests_per_connection=1,
    )
    filler = "m" * work.filler_bytes
    for number in range(work.messages):
        at_ms = FIRST_MS + number * 50_000 // work.messages
        value = (
            f'{{"event_id":{number},"user_id":{number % 99_991},"item_id":{number % 9973},'
            f'"event_at":{at_ms},"clicked":true,"watch_seconds":{number % 977 / 7:.3f},'
            f'"liked":false,"category":{number % 40},"topics":[{number % 9},{number % 31}],'
            f'"region":{number % 17},"agent":"{filler}"}}'
        ).encode()
        partition = number // 1000 % work.partitions
        client.send(topic, value, partition=partition, timestamp_ms=at_ms)
    client.flush()
    client.close()


def measure_here(bootstrap: str, topic: str, max_bytes: int) -> None:
    """The child: one workload, once, into an empty folder."""
    values = config.load(Path(__file__).parents[1] / "configs" / "quickstart.yaml")
    with tempfile.TemporaryDirectory() as folder:
        changes = {
            "data_dir": folder,
            "kafka": {"bootstrap_servers": [bootstrap], "topic": topic},
            "shards": {"max_bytes": max_bytes},
        }
        before = _resident()
        done = run(config.fill_in(values, changes), clock=SystemClock(), until_caught_up=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"events": done.rows + done.rejected, "shards": done.shards, "growth": peak - before}
    print(json.dumps(found))


def _resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measured(bootstrap: str, topic: str, max_bytes: int) -> dict[str, int]:
    command = [sys.executable, __file__, "--bootstrap", bootstrap]
    command += ["--topic", topic, "--max-bytes", str(max_bytes)]
    done = subprocess.run(  # noqa: S603  ourselves
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap")
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    parser.add_argument("--max-bytes", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.topic:
        measure_here(options.bootstrap, options.topic, options.max_bytes)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bootstrap = options.bootstrap
        if bootstrap is None:
            bootstrap = stack.enter_context(LocalKafka(folder)).bootstrap
        print(f"{'':14}{'growth':>12}{'max_bytes':>12}{'shards':>9}")
        for name, work in WORKLOADS.items():
            topic = f"memory-{uuid4().hex[:8]}"
            load(bootstrap, topic, work)
            found = measured(bootstrap, topic, work.max_bytes)
            peak, bound = found["growth"] / MIB, work.max_bytes / MIB
            print(f"{name:14}{peak:8.0f} MiB{bound:8.0f} MiB{found['shards']:>9}  {work.what}")


if __name__ == "__main__":
    main()
