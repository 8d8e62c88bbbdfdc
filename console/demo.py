"""`twintide demo`: the whole line on this machine, from a Kafka topic to an answer, and back."""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from console.options import AsJson, deployment_of, quiet_logs
from twintide.errors import Refused
from twintide.output import say

app = typer.Typer()
FEWEST_HOURS = 30


@app.command(rich_help_panel="Start here", epilog="Example: twintide demo")
def demo(
    *,
    hours: Annotated[
        int,
        typer.Option(min=FEWEST_HOURS, help="Of the click world; the first 24 are not scored."),
    ] = 33,
    kafka: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="host:port of a Kafka. Default: a local one."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="With --data: what its events are."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Real events instead of the click world's."),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option("--dir", metavar="DIR", help="For all that it makes; replaces an older demo."),
    ] = Path("twintide-demo"),
    as_json: AsJson = False,
) -> None:
    """The whole line on this machine: Kafka, shards, training, versions, answers, a rollback.

    Takes a few minutes on two cores. Feeds a simulated click world, or a data file, through a real
    Kafka, compares update policies hour by hour in virtual time, and leaves a deployment on which
    the other commands can be tried.
    """
    if (config is None) != (data is None):
        raise Refused(
            "--data and -c belong together: the configuration says what the events are",
            hint="twintide demo -c configs/kuairand.yaml --data events.parquet",
        )
    quiet_logs()
    from console.demo_text import text_of
    from demo.play import check_data, events_of, play
    from demo.stage import Stage, make_room

    if config is not None and data is not None:
        check_data(deployment_of(config), data)
    if kafka is not None:
        _check_address(kafka)
    make_room(folder)
    with ExitStack() as stack:
        result = play(Stage(folder, kafka), events_of(hours, data), config, stack)
    say(result, text_of(result), as_json=as_json)


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise Refused(f"{address!r} is no address of a Kafka", hint="such as --kafka 10.0.0.5:9092")
    try:
        socket.getaddrinfo(host, int(port))
    except OSError as error:
        raise Refused(f"there is no host {host}: {error}", hint="--kafka HOST:PORT") from None
