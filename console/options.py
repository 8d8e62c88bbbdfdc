"""What the commands of `twintide` have in common: their options, and how instants are typed.

Everything heavy (Arrow, torch, Faiss, Kafka) is imported inside the commands that need it, here and
in all of console/, so that `twintide --help` and a rollback are quick.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twintide.clock import Clock, HeldClock, SystemClock

if TYPE_CHECKING:
    from twintide.config import Deployment

DEFAULT_CONFIG = Path("twintide.yaml")


def parse_instant(text: str) -> datetime:
    """An instant as a person types it: 2026-01-05T04:00Z. Without a time zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant, such as 2026-01-05T04:00Z") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The deployment, a YAML file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Kept in the history.")]
Now = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_instant,
        metavar="INSTANT",
        help="For replays: take it to be this instant, such as 2026-01-05T04:00Z.",
    ),
]


def clock_at(now: datetime | None) -> Clock:
    """The machine's clock, or one that stands still at `now`."""
    return SystemClock() if now is None else HeldClock(now)


def deployment_of(config: Path) -> "Deployment":
    """The deployment that a command is about; what it logs on the way is for later commands to say.

    Raises Refused where the file is missing or wrong.
    """
    from twintide.config import load

    quiet_logs()
    check_exists(config)
    return load(config)


def check_exists(config: Path) -> None:
    """Raises Refused, with how to get one, where there is no such file."""
    from twintide.errors import Refused

    if not config.exists():
        raise Refused(
            f"there is no file {config}",
            hint="-c FILE names the configuration; "
            "`twintide config show > twintide.yaml` writes one to start from",
        )


def daemon_of(config: Path) -> "Deployment":
    """The deployment of a long-running program, which logs every decision."""
    from twintide.telemetry import configure_logging

    deployment = deployment_of(config)
    configure_logging()
    return deployment


def quiet_logs() -> None:
    """A command that a person waits for says what it did itself; only warnings are logged."""
    from twintide.telemetry import configure_logging

    configure_logging(as_json=False, level=logging.WARNING)
