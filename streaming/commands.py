"""What `python -m streaming` takes."""

from pathlib import Path
from typing import Annotated

import typer

from streaming.daemon import run
from streaming.options import UntilCaughtUp
from twintide.clock import SystemClock
from twintide.config import load
from twintide.probeoptions import MetricsHost, MetricsPort
from twintide.telemetry import configure_logging


def ingest(
    config: Annotated[Path, typer.Option("-c", "--config", help="The deployment, a YAML file.")],
    *,
    until_caught_up: UntilCaughtUp = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Read the click stream from Kafka and commit it as minute shards.

    Example: python -m streaming -c configs/quickstart.yaml --metrics-port 9100
    """
    configure_logging()
    run(
        load(config),
        clock=SystemClock(),
        until_caught_up=until_caught_up,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )


def main() -> None:
    """Run the command that was typed."""
    typer.run(ingest)
