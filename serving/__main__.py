"""`python -m serving -c FILE`: the HTTP server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from twintide.clock import SystemClock
from twintide.config import load
from twintide.errors import TwintideError
from twintide.telemetry import configure_logging


def main(
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")],
) -> None:
    """Serve the live version over HTTP. Example: python -m serving -c configs/quickstart.yaml."""
    configure_logging()
    try:
        deployment = load(config)
        from serving.server import serve  # noqa: PLC0415  torch loads for seconds

        serve(deployment, clock=SystemClock())
    except TwintideError as error:
        typer.echo(f"{error.message}\n{error.hint}".strip(), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    typer.run(main)
