"""What `python -m serving` takes."""

from pathlib import Path
from typing import Annotated

import typer

from twintide.clock import SystemClock
from twintide.config import load
from twintide.telemetry import configure_logging


def server(
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")],
) -> None:
    """Serve the live version over HTTP. Example: python -m serving -c configs/quickstart.yaml."""
    configure_logging()
    deployment = load(config)
    from serving.server import serve  # noqa: PLC0415  torch loads for seconds

    serve(deployment, config, clock=SystemClock())


def main() -> None:
    """Run the command that was typed."""
    typer.run(server)
