"""The line of a soak at work: brokers, stream, ingest, learner, server; each a real process."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psutil
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from streaming.local_kafka import LocalKafka
from tests.soak.fast_clock import FastClock
from tests.soak.stream import EVENTS, Stream
from twintide import config
from twintide.clock import SystemClock, monotonic_seconds
from twintide.config import Deployment

PARTITIONS = 4
TOPIC = "soak"
_PROGRAMS = Path(__file__).with_name("programs.py")


@dataclass(frozen=True)
class Ended:
    """How a program ended that was asked to."""

    code: int | None
    """Its exit code; None where it still runs."""

    seconds: float
    """Since it was asked."""

    starved_seconds: float
    """For which it was ready to go on meanwhile, and others had the processors."""


def _waited_for_a_processor(pid: int) -> float:
    """Seconds in which its main thread could have run and did not; 0 where Linux does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


class Supervised:
    """A program that is started again whenever it ends, as a supervisor would."""

    def __init__(self, name: str, config_file: Path, clock_file: Path, log: Path) -> None:
        self.name = name
        self.starts = 0
        self.crashes = 0
        """Ends that nobody asked for."""

        self._command = [sys.executable, str(_PROGRAMS), name, str(config_file), str(clock_file)]
        self._log = log
        self._expected = False
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._written_before = 0
        self._lock = threading.Lock()
        self._process = self._start()
        self._watcher = threading.Thread(target=self._watch, name=name, daemon=True)
        self._watcher.start()

    @property
    def memory_bytes(self) -> int:
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(self._process.pid).memory_info().rss)
        return 0

    def has_said(self, words: str) -> bool:
        """Whether these words are in what it has written since it was last started."""
        with self._log.open("rb") as log:
            log.seek(self._written_before)
            return words.encode() in log.read()

    def kill(self) -> None:
        with self._lock:
            self._expected = True
            self._process.kill()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> "Ended":
        """SIGTERM, and how it ended."""
        self._stopping.set()
        self._process.send_signal(signal.SIGCONT)
        waited_before = waited = _waited_for_a_processor(self._process.pid)
        began = monotonic_seconds()
        self._process.terminate()
        while self._process.poll() is None and monotonic_seconds() - began < 60:
            waited = max(waited, _waited_for_a_processor(self._process.pid))
            self._stopped.wait(0.01)
        seconds = monotonic_seconds() - began
        self._watcher.join(10)
        return Ended(self._process.returncode, seconds, waited - waited_before)

    def _start(self) -> "subprocess.Popen[bytes]":
        self.starts += 1
        self._written_before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log)

    def _watch(self) -> None:
        while True:
            self._process.wait()
            if self._stopping.is_set():
                return
            with self._lock:
                self.crashes += not self._expected
                self._expected = False
                self._process = self._start()
            self._stopping.wait(0.2)


class SoakLine:
    """Everything that runs, and what a fault may take hold of. A context manager."""

    def __init__(self, root: Path, *, seed: int, minutes: float, stream_minutes: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.transactions = 0
        self.answers = 0
        self.failed_answers: list[str] = []
        self.memory: list[tuple[float, dict[str, int]]] = []
        self.kafka = LocalKafka(root.parent / "kafka", brokers=3)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        began_at = SystemClock().now() - timedelta(minutes=stream_minutes + 60)
        factor = stream_minutes / minutes
        self.clock = FastClock.started(root.parent / "clock", at=began_at, factor=factor)
        self._seed = seed
        self._asking = threading.Event()
        self.rivals: list[Supervised] = []

    def __enter__(self) -> Self:
        self.kafka.start()
        self._make_topic()
        self.config_file = self._write_config("twintide.yaml", minutes=1)
        self.deployment: Deployment = config.load(self.config_file)
        self.stream = Stream(
            self.kafka.bootstrap,
            TOPIC,
            self.clock,
            partitions=PARTITIONS,
            per_minute=16,
            seed=self._seed,
        )
        self.stream.start()
        self.ingest = self._program("ingest")
        self.learner = self._program("learner")
        self.server = self._program("server")
        self._asker = threading.Thread(target=self._ask, name="asker", daemon=True)
        self._asker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._asking.set()
        for program in (self.ingest, self.learner, self.server):
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.end()
        self.kafka.stop()

    def rival(self) -> Supervised:
        """Another ingest daemon on the same topic and folder, configured a little differently."""
        path = self._write_config("rival.yaml", minutes=5)
        rival = Supervised(
            "ingest", path, self.root.parent / "clock", self.root.parent / "rival.log"
        )
        self.rivals.append(rival)
        return rival

    def log_of(self, partition: int) -> Path:
        """The segment file that the partition's only copy is written to."""
        found = self.kafka.data_dir.glob(f"broker-*/data/{TOPIC}-{partition}/*.log")
        return max(found, key=lambda path: path.name)

    def transaction(self, count: int) -> Any:
        self.transactions += 1
        partition = self.random.randrange(PARTITIONS)
        return self.stream.transaction(partition, count, name=f"soak-{self.transactions}")

    def sample(self) -> None:
        """Note what each program holds in memory."""
        programs = (self.ingest, self.learner, self.server)
        held = {program.name: program.memory_bytes for program in programs}
        self.memory.append((monotonic_seconds(), held))

    @staticmethod
    def wait_until(holds: Callable[[], bool], *, seconds: float) -> bool:
        pause = threading.Event()
        deadline = monotonic_seconds() + seconds
        while not holds():
            if monotonic_seconds() > deadline:
                return False
            pause.wait(0.05)
        return True

    def _program(self, name: str) -> Supervised:
        log = self.root.parent / f"{name}.log"
        return Supervised(name, self.config_file, self.root.parent / "clock", log)

    def _make_topic(self) -> None:
        client = KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        homes = {partition: [partition % 3 + 1] for partition in range(PARTITIONS)}
        settings = {"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"}
        topic = {TOPIC: {"assignments": homes, "configs": settings}}

        def is_made() -> bool:
            try:
                client.create_topics(topic, wait_for_metadata=True)
            except kafka_errors.InvalidReplicationAssignmentError:
                return False  # a broker answers a little before it may hold anything
            return True

        try:
            self.wait_until(is_made, seconds=30)
        finally:
            client.close()

    def _write_config(self, name: str, *, minutes: int) -> Path:
        values = {
            "data_dir": str(self.root / "data"),
            "kafka": {
                "bootstrap_servers": [f"127.0.0.1:{port}" for port in self._ports()],
                "topic": TOPIC,
                "assignment": "all",
            },
            "events": EVENTS,
            "shards": {"minutes": minutes},
            "model": {
                "embedding_width": 8,
                "tower": {"kind": "dnn", "hidden": [16]},
                "output_width": 8,
                "query": [
                    {"kind": "sparse", "name": "user", "column": "user", "table": "user"},
                    {"kind": "history", "name": "history", "table": "item", "length": 5},
                ],
                "candidate": [
                    {"kind": "sparse", "name": "item", "column": "item", "table": "item"},
                    {"kind": "item_statistics", "name": "statistics"},
                ],
            },
            "training": {
                "threads": 1,
                "hourly": {
                    "learns": "everything",
                    "batch_rows": 128,
                    "holdback_minutes": max(2, minutes),
                },
            },
            "serving": {"port": self.port},
        }
        path = self.root.parent / name
        path.write_text(json.dumps(values))
        return path

    def _ports(self) -> Iterator[int]:
        return (broker.port for broker in self.kafka._brokers)

    def _ask(self) -> None:
        """One client that behaves, all the time."""
        from tests.serving.conftest import Client  # noqa: PLC0415

        user = 0
        while not self._asking.wait(0.02):
            user = (user + 1) % 220
            try:
                with Client(self.port) as client:
                    status, answer = client.recommend(user_id=f"u{user}", k=10)
            except OSError as error:
                if self.answers:
                    self.failed_answers.append(repr(error))
                continue
            if status == 200:
                self.answers += 1
            elif self.answers:  # before the first version it says so
                self.failed_answers.append(f"{status} {answer}")


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A disk of its own for `folder`, where this machine lets us; whether it did."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    is_own = (
        os.geteuid() == 0
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield is_own
    finally:
        if is_own:
            subprocess.run(["umount", "-l", str(folder)], check=False)
