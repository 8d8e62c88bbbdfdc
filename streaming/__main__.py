"""`python -m streaming -c FILE`: the ingest daemon as a program of its own."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from streaming.daemon import run
from twintide.clock import SystemClock
from twintide.config import load
from twintide.errors import TwintideError
from twintide.telemetry import configure_logging


def ingest(
    config: Annotated[Path, typer.Option("-c", "--config", help="The deployment, a YAML file.")],
    *,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Read to the end of the log, then end.")
    ] = False,
    metrics_port: Annotated[
        int | None, typer.Option(help="Answer /metrics, /livez and /readyz on 127.0.0.1 here.")
    ] = None,
) -> None:
    """Read the click stream from Kafka and commit it as minute shards.

    Example: python -m streaming -c configs/quickstart.yaml --metrics-port 9100
    """
    configure_logging()
    try:
        run(
            load(config),
            clock=SystemClock(),
            until_caught_up=until_caught_up,
            metrics_port=metrics_port,
        )
    except TwintideError as error:
        typer.echo(f"error: {error.message}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    typer.run(ingest)
