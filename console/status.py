"""`twintide status`: one screen that says how far everything has come, and what is wrong.

`twintide.overview` looks and judges, this prints.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, Now, clock_at, deployment_of
from twintide.errors import TwintideError
from twintide.output import command, heading, instant, plain, say, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from twintide.config import Deployment
    from twintide.overview.seen import LogEnds
    from twintide.overview.status import ItemsRow, Status
    from twintide.overview.wrong import Problem

app = typer.Typer()
_SHOWN_VERSIONS = 5


@app.command(rich_help_panel="Operation", epilog="Example: twintide status -c twintide.yaml")
def status(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 where something is wrong: for a probe.")
    ] = False,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """One screen: lag, positions, checkpoints, versions, freshness, and what is wrong.

    Works while every program is down. Kafka is asked how many messages wait, unless --now is given.
    """
    deployment = deployment_of(config)
    from twintide.overview.known import Known
    from twintide.overview.seen import LogEnds, gather
    from twintide.overview.wrong import notes, problems

    ends = ends_of(deployment) if now is None else LogEnds()
    seen = gather(deployment, config, clock=clock_at(now), ends=ends, known=Known())
    wrong, worth = problems(seen), notes(seen)
    say(
        plain(seen) | {"problems": plain(wrong), "notes": worth},
        _screen(seen, wrong, worth),
        as_json=as_json,
    )
    if check and wrong:
        raise typer.Exit(1)


def ends_of(deployment: "Deployment") -> "LogEnds":
    """Ask Kafka once and briefly."""
    from streaming.ends import log_ends
    from twintide.overview.seen import LogEnds

    try:
        return LogEnds(log_ends(deployment.kafka), "answers")
    except TwintideError as error:
        return LogEnds(kafka=error.message)


def _screen(seen: "Status", wrong: "list[Problem]", worth: list[str]) -> "Iterator[RenderableType]":
    yield f"{seen.config} at {instant(seen.at)} UTC, artifacts in {seen.data_dir}"
    if seen.is_empty:
        yield f"\nNothing has come in yet: no shard of topic {seen.topic!r}, nothing trained."
    else:
        yield from _tables(seen)
    yield heading("What is wrong") if wrong else heading("Nothing is wrong.", style="bold green")
    for each in wrong:
        yield f"  {each.what}"
        yield command(f"    {each.command}")
    if worth:
        yield heading("Worth knowing")
        yield from (f"  {note}" for note in worth)


def _tables(seen: "Status") -> "Iterator[RenderableType]":
    from console.versions import versions_table
    from twintide.overview.wrong import long

    yield heading("Stream", f"topic {seen.topic}, Kafka {_kafka(seen.kafka)}")
    yield table(
        "",
        ("partition", "#next offset", "#waiting", "newest shard", "complete until", "#lag"),
        [
            (
                each.partition,
                f"{each.next:,}",
                "–" if each.waiting is None else f"{each.waiting:,}",
                instant(each.newest_shard_at),
                instant(each.complete_until),
                long(each.lag_minutes),
            )
            for each in seen.partitions
        ],
    )
    if seen.history:
        more = f" and {seen.history.files - 1:,} more" if seen.history.files > 1 else ""
        yield (
            f"  history of files: {seen.history.events:,} events of {seen.history.first}{more}, "
            f"to {instant(seen.history.newest_event_at)}"
        )
    recent = seen.recent
    if recent.shards:
        yield (
            f"  newest {recent.shards:,} shards, since {instant(recent.since)}: {recent.rows:,} "
            f"events, {recent.rejected:,} rejected, {recent.filtered:,} without a value"
        )
    yield heading("Training", f"{seen.slices} slices")
    yield table(
        "",
        ("line", "newest checkpoint", "nightly day", "newest click", "#clicks learnt"),
        [
            (
                kind,
                each.name if each else "none yet",
                each.day if each else None,
                instant(each.newest_event_at if each else None),
                f"{each.rows:,}" if each else None,
            )
            for kind, each in (("nightly", seen.nightly), ("hourly", seen.hourly))
        ],
    )
    if seen.tables:
        yield table(
            "",
            ("table", "#rows", "#at most", "#more a day", "full at"),
            [
                (
                    each.name,
                    f"{each.rows:,}",
                    "–" if each.max_rows is None else f"{each.max_rows:,}",
                    "–" if each.rows_a_day is None else f"{each.rows_a_day:,.0f}",
                    instant(each.full_at),
                )
                for each in seen.tables
            ],
        )
    if seen.remembered:
        yield table(
            "",
            ("remembered", "#rows", "#more a day", "#forgotten after"),
            [
                (
                    each.what,
                    f"{each.rows:,}",
                    "–" if each.rows_a_day is None else f"{each.rows_a_day:,.0f}",
                    "–" if each.forget_after_days is None else f"{each.forget_after_days} days",
                )
                for each in seen.remembered
            ],
        )
    if seen.items:
        yield heading("Items", _items(seen.items))
    hold = f"; on hold: {seen.hold}" if seen.hold else ""
    yield heading("Versions", f"{len(seen.versions)}, live: {seen.live or 'none'}{hold}")
    if seen.versions:
        yield versions_table(seen.versions[-_SHOWN_VERSIONS:])
    yield heading("Freshness", "the newest click that has come as far as, in UTC")
    yield table(
        "",
        ("", "newest click", "#age"),
        [(hop.to, instant(hop.newest_event_at), long(hop.age_minutes)) for hop in seen.freshness],
    )


def _items(items: "ItemsRow") -> str:
    if items.listing is None:
        return "not read yet"
    return (
        f"{items.listed:,} listed, {items.unavailable:,} of them not available, "
        f"as of {instant(items.read_at)} ({items.listing})"
        + (f"; {items.unread:,} messages could not be read" if items.unread else "")
    )


def _kafka(words: str) -> str:
    return words if words in {"answers", "not asked"} else "does not answer"
