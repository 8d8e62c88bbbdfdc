"""`twintide broker | ingest | replay`: the click stream and the shards that are cut from it."""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.options import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFile,
    daemon_of,
    deployment_of,
)
from streaming.options import UntilCaughtUp
from twintide.clock import SystemClock
from twintide.errors import Refused, Retryable
from twintide.output import progress, say, waiting
from twintide.probeoptions import MetricsHost, MetricsPort

if TYPE_CHECKING:
    from streaming.daemon import IngestProgress, IngestSummary
    from streaming.replay import ReplayProgress

app = typer.Typer()
_PANEL = "Stream"
_LOOK_SECONDS = 5.0


@app.command(
    rich_help_panel=_PANEL, epilog="Example: twintide broker --port 9092 --data kafka-data"
)
def broker(
    *,
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 9092,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Kafka's folder; what is in it is kept.")
    ] = Path("kafka-data"),
) -> None:
    """Run a local Apache Kafka in the foreground, for whoever has none yet.

    Ctrl-C ends it. Needs the extra `local`: pip install "twintide[local]".
    """
    from streaming.client import broker_count
    from streaming.local_kafka import LocalKafka, alone_in

    _check_free(port)
    kafka = LocalKafka(data.resolve(), port=port)
    with alone_in(data), stop_on_signals() as stop:
        with waiting("starting Apache Kafka") as update:
            kafka.start(progress=update)
        say({}, f"Apache Kafka answers at {kafka.bootstrap}; Ctrl-C ends it", as_json=False)
        try:
            while not stop.wait(_LOOK_SECONDS):
                if broker_count(kafka.bootstrap) == 0:
                    raise Retryable("Kafka has ended", hint=f"its log is {kafka.log_path}")
        finally:
            kafka.stop()


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide ingest -c twintide.yaml")
def ingest(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    until_caught_up: UntilCaughtUp = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Read the click stream from Kafka and commit it as minute shards: the consumer daemon.

    Runs until SIGTERM or Ctrl-C. However it ends, every message is in exactly one shard.
    """
    run = _caught_up if until_caught_up else _for_ever
    done = run(config, metrics_port, metrics_host)
    rejected = f", {done.rejected:,} rejected (`twintide events` says why)" if done.rejected else ""
    say(
        done,
        f"{done.rows:,} events in {done.shards:,} shards{rejected} in {done.seconds:.1f} s; "
        f"next: `twintide status -c {config}`",
        as_json=as_json,
    )


def _for_ever(config: Path, metrics_port: int | None, metrics_host: str) -> "IngestSummary":
    """The daemon: its progress is its log."""
    deployment = daemon_of(config)
    from streaming.daemon import run

    return run(
        deployment, clock=SystemClock(), metrics_port=metrics_port, metrics_host=metrics_host
    )


def _caught_up(config: Path, metrics_port: int | None, metrics_host: str) -> "IngestSummary":
    """To the end of the log, with a bar for whoever waits."""
    deployment = deployment_of(config)
    from streaming.daemon import run

    with progress(f"ingesting {deployment.kafka.topic}") as update:
        behind, to_do = 0, 0

        def show(so_far: "IngestProgress") -> None:
            nonlocal behind, to_do
            done = so_far.rows + so_far.rejected + so_far.filtered
            if so_far.lag != behind:  # the lag is asked for now and then, shards come in between
                behind, to_do = so_far.lag, done + so_far.lag
            to_do = max(to_do, done)
            update(done, to_do, f"{done:,} messages, {so_far.shards:,} shards")

        return run(
            deployment,
            clock=SystemClock(),
            until_caught_up=True,
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            on_progress=show,
        )


@app.command(
    rich_help_panel=_PANEL, epilog="Example: twintide replay -c twintide.yaml clicks.parquet"
)
def replay(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A .parquet, .csv or .jsonl file, or a folder of parts."
        ),
    ],
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    speed: Annotated[
        float | None,
        typer.Option(help="1 takes as long as the events took, 60 a sixtieth. Default: at once."),
    ] = None,
    partitions: Annotated[int, typer.Option(min=1, help="Of the topic, where it is new.")] = 3,
    again: Annotated[
        bool, typer.Option("--again", help="Send what the topic holds already once more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Feed a data file into the topic, in event-time order, each message stamped with its time."""
    deployment = deployment_of(config)
    from streaming.replay import replay as run

    with progress(f"sending to {deployment.kafka.topic}") as update, stop_on_signals() as stop:

        def show(so_far: "ReplayProgress") -> None:
            update(so_far.sent, so_far.events, f"{so_far.sent:,} events, now {so_far.at:%F %H:%M}")

        done = run(
            deployment,
            data,
            speed=speed,
            clock=SystemClock(),
            on_progress=show,
            partitions=partitions,
            stop=stop,
            again=again,
        )
    lines = [f"{done.events:,} events are in {deployment.kafka.topic} after {done.seconds:.1f} s; "]
    if done.before:
        lines[0] += f"{done.before:,} were there before; "
    if done.events < done.of:
        lines[0] += f"stopped before the last {done.of - done.events:,}: the same command goes on"
    else:
        lines[0] += f"next: `twintide ingest -c {config}`"
    if done.null_columns:
        lines.append(f"no event has a value of {', '.join(done.null_columns)}")
    say(done, lines, as_json=as_json)


def _check_free(port: int) -> None:
    """A broker that is there already would answer in place of the one that cannot start."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise Refused(
            f"port {port} of 127.0.0.1 cannot be had: {error.strerror}",
            hint="--port names another; or a broker runs there already",
        ) from None


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set while the block runs."""
    stop = threading.Event()
    before = {
        each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
