"""The commands of `python -m trainer`."""

# ruff: noqa: PLC0415  torch loads for seconds; --help must not wait

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from twintide.clock import SystemClock
from twintide.config import load
from twintide.probeoptions import MetricsHost, MetricsPort
from twintide.telemetry import configure_logging

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="The deployment, a YAML file.")]
app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def hourly(config: ConfigFile) -> None:
    """One ordered pass over everything that is sealed and not yet learnt.

    Example: python -m trainer hourly -c configs/quickstart.yaml
    """
    from trainer.hourly import hourly as run

    typer.echo(run(load(config), clock=SystemClock()).why)


@app.command()
def count(config: ConfigFile) -> None:
    """Count what is new beyond the live version's checkpoint; nothing is learnt.

    Example: python -m trainer count -c configs/quickstart.yaml
    """
    from trainer.counting import count as run

    typer.echo(run(load(config), clock=SystemClock()).why)


@app.command()
def nightly(
    config: ConfigFile,
    date: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
) -> None:
    """Make up every complete day up to yesterday, or up to --date.

    Example: python -m trainer nightly -c configs/quickstart.yaml --date 2026-01-05
    """
    from trainer.nightly import nightly as run

    for outcome in run(load(config), clock=SystemClock(), day=date.date() if date else None):
        typer.echo(outcome.why)


@app.command()
def backfill(
    config: ConfigFile,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"])],
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"])] = None,
) -> None:
    """Learn weeks of history, day after day, up to yesterday or --to.

    Example: python -m trainer backfill -c configs/quickstart.yaml --from 2026-01-05
    """
    from trainer.backfill import backfill as run

    for outcome in run(
        load(config),
        clock=SystemClock(),
        first=first.date(),
        last=last.date() if last else None,
        on_days=lambda days: typer.echo(f"{len(days)} days to learn"),
        on_day=lambda day: typer.echo(f"day {day}"),
    ):
        typer.echo(outcome.why)


@app.command()
def schedule(
    config: ConfigFile, metrics_port: MetricsPort = None, metrics_host: MetricsHost = "127.0.0.1"
) -> None:
    """Ring hourly and nightly runs until SIGTERM; `twintide train schedule` publishes as well.

    Example: python -m trainer schedule -c configs/quickstart.yaml
    """
    from trainer.schedule import run

    run(
        load(config),
        clock=SystemClock(),
        publish=None,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )


def main() -> None:
    """Run the command that was typed."""
    configure_logging()
    app()
