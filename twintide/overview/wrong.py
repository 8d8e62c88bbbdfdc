"""What `twintide status` calls wrong, most basic first, and the command that says more or mends it.

Pure: judged from what was seen. Whatever stops a click on its way to an answer is in here; what is
only worth knowing is a note.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twintide.overview.status import Partition, Status, TroubleRow

QUIET_MINUTES = 10
"""A partition of which nothing was heard for longer has probably lost its daemon."""

MOST_NAMED = 8
"""Partitions in one line."""

LATE_CADENCES = 2
"""Hourly runs that may be missing before somebody should look."""

FORESEEN = timedelta(days=14)
"""How long before a table is full it is said."""

MANY = 0.01
"""Share of the newest messages that may be bad before somebody should look."""

ENOUGH_ROWS = 100
"""Fewer rows say nothing about a column."""

Wrong = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Problem:
    """What is wrong, and the command that mends it or says more."""

    what: str
    command: str


def problems(seen: Status) -> list[Problem]:
    """What a person should look at, most basic first."""
    return [Problem(what, f"twintide {verb} -c {seen.config}") for what, verb in _wrong(seen)]


def notes(seen: Status) -> list[str]:
    """What is worth knowing, and stops nothing."""
    return list(_worth_knowing(seen))


def _wrong(seen: Status) -> Wrong:
    for fault in seen.faults:
        yield fault.what, fault.verb
    if not seen.only_serves:
        yield from _wrong_in_stream(seen)
    yield from _wrong_in_events(seen)
    yield from _wrong_in_training(seen)
    yield from _wrong_in_items(seen)
    yield from _wrong_in_versions(seen)


def _wrong_in_stream(seen: Status) -> Wrong:
    if seen.kafka not in {"answers", "not asked"}:
        yield f"Kafka does not answer: {seen.kafka}", "ingest --until-caught-up"
    for trouble in seen.troubles:
        yield _in_trouble(trouble, seen.at), "ingest --until-caught-up"
    if seen.history and not seen.history.is_whole:
        waits = "is not whole, and training waits for it: the same command goes on"
        yield f"the history of {seen.history.first} {waits}", "train backfill --files"
    named = {trouble.partition for trouble in seen.troubles}
    read = [each for each in seen.partitions if each.complete_until is not None]
    if not (read or named or seen.history):
        waits = f", and {seen.waiting:,} messages wait there" if seen.waiting else ""
        yield f"no shard of topic {seen.topic!r} is there yet{waits}", "ingest"
        return
    heard_of = named | {each.partition for each in seen.partitions}
    missing = seen.partitions_of_topic - len(heard_of)
    if missing > 0:
        yield f"{missing} of {seen.partitions_of_topic} partitions were never read", "ingest"
    for each in seen.partitions:
        if each.complete_until is None and each.partition not in named:
            waits = f"{each.waiting:,} messages of partition {each.partition} wait"
            yield f"{waits}, and none was ever read: does the ingest daemon read it?", "ingest"
    quiet = [each for each in seen.partitions if is_quiet(each) and each.partition not in named]
    if quiet:
        yield f"{_quiet(quiet)}: is the ingest daemon running?", "ingest"


def is_quiet(partition: Partition) -> bool:
    """Whether nothing was heard of it for too long."""
    return partition.lag_minutes is not None and partition.lag_minutes > QUIET_MINUTES


def _in_trouble(trouble: TroubleRow, at: datetime) -> str:
    """What, since when, what to do; and whether anybody has looked since."""
    words = (
        f"partition {trouble.partition} is in trouble since {trouble.since:%Y-%m-%d %H:%M} UTC: "
        f"{trouble.what}"
    )
    if trouble.hint:
        words += f" ({trouble.hint})"
    silent = (at - trouble.told_at).total_seconds() / 60
    if silent > QUIET_MINUTES:
        words += f"; nobody has tried again for {long(silent)}: is the ingest daemon running?"
    return words


def _quiet(partitions: Sequence[Partition]) -> str:
    """One line, however many; of those that were heard of last."""
    waiting = sum(each.waiting or 0 for each in partitions)
    waits = f", and {waiting:,} messages wait" if waiting else ""
    numbers = [str(each.partition) for each in partitions]
    shown = ", ".join(numbers[:MOST_NAMED]) + (", …" if len(numbers) > MOST_NAMED else "")
    several = "partition" if len(numbers) == 1 else f"{len(numbers)} partitions"
    shortest = min(each.lag_minutes or 0.0 for each in partitions)
    heard = f"for {long(shortest)}" if len(numbers) == 1 else f"for {long(shortest)} or more"
    which = f" {shown}" if len(numbers) == 1 else f" ({shown})"
    return f"nothing was heard of {several}{which} {heard}{waits}"


def _wrong_in_events(seen: Status) -> Wrong:
    recent = seen.recent
    if recent.messages and recent.rejected / recent.messages > MANY:
        rejected = f"{recent.rejected:,} of the newest {recent.messages:,} messages were rejected"
        yield rejected, "events"
    if recent.rows < ENOUGH_ROWS:
        return
    for column in seen.read_columns:
        if recent.nulls.get(column, 0) >= recent.rows:
            yield f"column {column!r} is null in all of the newest {recent.rows:,} events", "events"


def _wrong_in_training(seen: Status) -> Wrong:
    if seen.due_day is not None:
        yield f"day {seen.due_day} is complete and not yet learnt by a nightly run", "train nightly"
    behind = unlearnt_minutes(seen)
    if behind is not None and behind > LATE_CADENCES * seen.every_minutes:
        yield f"clicks of the last {long(behind)} are in shards and not learnt", "train hourly"


def unlearnt_minutes(seen: Status) -> float | None:
    """How much of the stream is in shards and not learnt; None where either is not known."""
    newest = {hop.to: hop.newest_event_at for hop in seen.freshness}
    sharded, learnt = newest.get("shards"), newest.get("checkpoint")
    return (sharded - learnt).total_seconds() / 60 if sharded and learnt else None


def _wrong_in_items(seen: Status) -> Wrong:
    if seen.items and seen.items.trouble and seen.items.since:
        since = f"{seen.items.since:%Y-%m-%d %H:%M} UTC"
        what = f"the source of items cannot be used since {since}: {seen.items.trouble}"
        yield f"{what}; what it said before goes on counting", "config check"


def _wrong_in_versions(seen: Status) -> Wrong:
    for each in seen.versions:
        if each.state == "damaged":
            yield f"version {each.name} is damaged", f"verify {each.name}"
    if seen.doubt is not None:
        yield f"the live version, {seen.live}, should not be: {seen.doubt}", f"show {seen.live}"
    if seen.hold is not None:
        yield f"promotion is on hold: {seen.hold}", "release"
    if seen.versions and seen.versions[-1].state == "refused":
        name = seen.versions[-1].name
        yield f"the gate refused the newest version, {name}", f"show {name}"
    elif seen.live is None and seen.head is not None:
        yield "no version is live", "publish"
    if seen.head is not None and seen.head not in {each.checkpoint for each in seen.versions}:
        yield f"checkpoint {seen.head} is not published", "publish"


def _worth_knowing(seen: Status) -> Iterator[str]:
    recent = seen.recent
    if seen.only_serves:
        yield "the shards are on another machine: `twintide status` there tells of the stream"
    if seen.partitions and seen.head is None and seen.due_day is None and seen.first_day_ends_at:
        yield (
            f"the first day is not over: the first nightly can run after "
            f"{seen.first_day_ends_at:%Y-%m-%d %H:%M} UTC; for a model before that, "
            "training.hourly.learns: everything (docs/operations.md, The first day)"
        )
    if recent.clock_ahead:
        yield (
            f"{recent.clock_ahead:,} of the newest {recent.messages:,} messages carry a time ahead "
            "of this machine's clock; it was not believed"
        )
    if recent.clock_nonsense:
        yield (
            f"{recent.clock_nonsense:,} of the newest {recent.messages:,} messages carry no time, "
            "or one before 2000: seconds in place of milliseconds?"
        )
    if recent.rejected and recent.rejected / recent.messages <= MANY:
        yield f"{recent.rejected:,} of the newest {recent.messages:,} messages were rejected"
    for each in seen.tables:
        if each.full_at is not None and each.full_at - seen.at < FORESEEN:
            when = "" if each.rows >= (each.max_rows or 0) else f" by {each.full_at:%Y-%m-%d}"
            yield (
                f"table {each.name} is full{when}: {each.rows:,} of {each.max_rows:,} rows; new "
                "ids are its default row then, until others leave (max_rows, evict_after_days)"
            )
    without = recent.nulls.get(seen.user_column, 0)
    if 0 < without < recent.rows:
        yield f"{without:,} of the newest {recent.rows:,} events have no user"


def long(minutes: float | None) -> str:
    """3 min, 5.2 h, 12 days."""
    if minutes is None:
        return "–"
    if minutes < 120:  # noqa: PLR2004  up to two hours, minutes are easier to read
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"
