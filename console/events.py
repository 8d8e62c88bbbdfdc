"""`twintide events`: what has come of late, column by column, and why messages were rejected."""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, Now, clock_at, deployment_of
from twintide.clock import Clock
from twintide.output import heading, instant, say, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from twintide.config import Deployment
    from twintide.overview.recent import Recent
    from twintide.overview.rejected import Reason

app = typer.Typer()


@dataclass
class Events:
    """What the newest shards hold."""

    recent: "Recent"
    reasons: "list[Reason]" = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """The quarantine files that were read."""


@app.command(rich_help_panel="Stream", epilog="Example: twintide events -c twintide.yaml")
def events(
    *, config: ConfigFile = DEFAULT_CONFIG, now: Now = None, as_json: AsJson = False
) -> None:
    """What has come of late: events, empty columns, and why messages were rejected.

    Reads the newest shards, a few hundred at most, and the quarantine files that they name.
    """
    deployment = deployment_of(config)
    found = gather(deployment, clock=clock_at(now))
    say(found, _screen(deployment, found), as_json=as_json)


def gather(deployment: "Deployment", *, clock: Clock) -> Events:
    """Look at the newest shards. Raises Corrupt where one cannot be read."""
    from twintide.behind import newest_minute
    from twintide.overview.recent import Recent, facts, look, newest_shards
    from twintide.overview.rejected import known_reasons, quarantine_files, reasons
    from twintide.shards import Ledger

    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    minutes = [newest_minute(ledger, each, clock=clock) for each in ledger.partitions()]
    until = max((each for each in minutes if each), default=None)
    if until is None:
        return Events(Recent())
    known = facts()
    recent = look(deployment, until=until, known=known)
    files = quarantine_files(ledger, newest_shards(deployment, until=until, known=known))
    return Events(recent, reasons(files, known=known_reasons()), files)


def _screen(deployment: "Deployment", found: Events) -> "Iterator[RenderableType]":
    recent = found.recent
    if not recent.shards:
        yield f"no shard of topic {deployment.kafka.topic!r} is there yet"
        return
    yield (
        f"newest {recent.shards:,} shards of {deployment.kafka.topic}, since "
        f"{instant(recent.since)} UTC: {recent.rows:,} events, {recent.rejected:,} rejected, "
        f"{recent.filtered:,} without a value, {recent.clock_ahead:,} ahead of the clock, "
        f"{recent.clock_nonsense:,} without a time"
    )
    yield heading("Columns")
    rows, paths = max(recent.rows, 1), deployment.events.paths
    yield table(
        "",
        ("column", "type", "#null or empty"),
        [
            (
                name,
                f"{kind} at {paths[name]}" if name in paths else kind,
                f"{recent.nulls.get(name, 0) / rows:.1%}",
            )
            for name, kind in deployment.events.columns.items()
        ],
    )
    for each in found.reasons:
        yield heading(f"Rejected: {each.reason}", f"{each.messages:,} messages, such as")
        yield f"  partition {each.partition}, offset {each.offset}: {each.message}"
    if found.reasons:
        yield "\nmend the producer, or `events` of the configuration"
