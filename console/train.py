"""`twintide train hourly | nightly | schedule` and `twintide rewind`: the two lines of training."""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import re
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.options import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFile,
    Now,
    clock_at,
    daemon_of,
    deployment_of,
    parse_instant,
)
from streaming.items import read_items
from twintide.clock import Clock, SystemClock, from_unix_ms
from twintide.errors import Refused, TwintideError
from twintide.output import Update, instant, number, progress, say
from twintide.probeoptions import MetricsHost, MetricsPort

if TYPE_CHECKING:
    from publisher.publish import Published
    from streaming.history import Taken
    from trainer.run import OnStep, Outcome
    from twintide.checkpoints import CheckpointManifest
    from twintide.config import Deployment
    from twintide.leftout import LeftOut
    from twintide.verified import Verified

app = typer.Typer()
train = typer.Typer(no_args_is_help=True)
app.add_typer(
    train,
    name="train",
    rich_help_panel="Training",
    help="Learn from new shards: one hourly or nightly run now, or the daemon that rings both.",
    epilog="Example: twintide train hourly -c twintide.yaml",
)


@train.command(epilog="Example: twintide train hourly -c twintide.yaml")
def hourly(
    *, config: ConfigFile = DEFAULT_CONFIG, now: Now = None, as_json: AsJson = False
) -> None:
    """One hourly pass now: everything sealed and not yet learnt, in order, ID tables only."""
    deployment = deployment_of(config)
    from trainer.curves import Curves
    from trainer.hourly import hourly as run

    clock = clock_at(now)
    read_items(deployment, clock)
    with progress("hourly pass") as update, Curves(deployment) as curves:
        curves.begin("hourly", clock.now())
        outcome = run(deployment, clock=clock, on_step=curves.drawn(showing(update)))
    _say_outcomes([outcome], config, as_json=as_json)


@train.command(epilog="Example: twintide train nightly -c twintide.yaml --date 2026-01-05")
def nightly(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Up to this day. Default: yesterday."),
    ] = None,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """One nightly retrain now, fit for cron: make up every missed day up to yesterday.

    A day that is learnt already is left alone, so running it twice does nothing wrong.
    """
    deployment = deployment_of(config)
    from trainer.curves import Curves
    from trainer.nightly import nightly as run

    clock = clock_at(now)
    read_items(deployment, clock)
    with progress("nightly retrain") as update, Curves(deployment) as curves:
        outcomes = run(
            deployment,
            clock=clock,
            day=date.date() if date else None,
            on_step=curves.drawn(showing(update)),
            on_day=lambda day: curves.begin("nightly", day),
        )
    _say_outcomes(outcomes, config, as_json=as_json)


@train.command(
    epilog="Example: twintide train backfill -c twintide.yaml --from 2026-01-05 --files history/"
)
def backfill(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    first: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], help="The first day that is learnt."),
    ],
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="The last one. Default: yesterday."),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Make shards of this data file, or folder of such, first: of what happened by the "
            "end of the last day, and before all that came from Kafka.",
        ),
    ] = None,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Learn weeks of history, each day as a nightly retrain; killed, it goes on where it was.

    What lies before the first day makes histories and statistics and is never learnt. The days are
    shards, from Kafka or, with --files, of files that never were in Kafka.
    """
    deployment = deployment_of(config)
    from trainer.backfill import backfill as run
    from trainer.backfill import check_days
    from trainer.curves import Curves

    clock = clock_at(now)
    check_days(first.date(), last.date() if last else None)
    taken = None
    if files is not None:
        taken = _history_of(deployment, files, last.date() if last else None, clock=clock)
    read_items(deployment, clock)
    with progress("backfill") as update, Curves(deployment) as curves:
        days = Days(update)

        def on_day(day: date) -> None:
            curves.begin("nightly", day)
            days.begin(day)

        outcomes = run(
            deployment,
            clock=clock,
            first=first.date(),
            last=last.date() if last else None,
            on_step=curves.drawn(days.step),
            on_day=on_day,
            on_days=days.come,
        )
    _say_outcomes(outcomes, config, as_json=as_json, taken=taken)


@train.command(epilog="Example: twintide train schedule -c twintide.yaml --metrics-port 9101")
def schedule(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """The daemon: rings hourly and nightly runs, publishes after each, and cleans up.

    With publishing.statistics_every_minutes it also refreshes what is live in between.

    What is due is read off the files, so a late or doubled ring does nothing wrong. SIGTERM ends it
    after the run at work.
    """
    deployment = daemon_of(config)
    from trainer.schedule import run
    from twintide.verified import Verified

    clock, verified = SystemClock(), Verified()
    is_refreshed = deployment.publishing.statistics_every_minutes is not None
    run(
        deployment,
        clock=clock,
        publish=lambda: publish_and_tidy(deployment, clock=clock, verified=verified),
        read_items=lambda: read_items(deployment, clock),
        refresh=(lambda: refresh_and_tidy(deployment, clock=clock, verified=verified))
        if is_refreshed
        else None,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )


@app.command(
    rich_help_panel="Training",
    epilog="Example: twintide rewind -c twintide.yaml --to nightly-000012",
)
def rewind(
    *,
    to: Annotated[
        str, typer.Option(metavar="CHECKPOINT", help="`twintide checkpoints` lists them.")
    ],
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="Do not learn it again: minutes FROM..TO as they were stored, or offsets "
            "PARTITION:FROM-TO. May be given several times.",
        ),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make training go on from an older checkpoint. Nothing is removed; clicks are learnt again.

    What is left out is never learnt again, by either line, nor is a version judged by it; histories
    and statistics still know of it, since they are what the log says.
    """
    deployment = deployment_of(config)
    from trainer.rewind import rewind as run

    made = run(deployment, to, leave_out=[left_out(each) for each in leave_out or ()])
    without = f", without {', '.join(map(str, made.left_out))}" if made.left_out else ""
    say(
        made,
        f"{made.name} is {to} anew, and the next run goes on from it{without}; "
        f"next: `twintide publish -c {config}`",
        as_json=as_json,
    )


_OFFSETS = re.compile(r"([0-9]{1,9}):([0-9]{1,18})-([0-9]{1,18})")


def left_out(text: str) -> "LeftOut":
    """What a person means by FROM..TO or PARTITION:FROM-TO; the end is not of it."""
    from pydantic import ValidationError

    from twintide.leftout import Interval, Offsets

    since, _, until = text.partition("..")
    found = _OFFSETS.fullmatch(text)
    try:
        if found:
            partition, first, next_ = map(int, found.groups())
            return Offsets(partition=partition, first=first, next=next_)
        return Interval(since=parse_instant(since), until=parse_instant(until))
    except (ValidationError, typer.BadParameter):
        raise Refused(
            f"{text!r} is nothing that can be left out",
            hint="minutes as 2026-01-05T04:00Z..2026-01-05T06:00Z, or offsets of a partition as "
            "0:1200-1300; the first comes before the end, which is learnt again",
        ) from None


def _history_of(
    deployment: "Deployment", files: Path, last: date | None, *, clock: Clock
) -> "Taken":
    """Shards of data files, up to the end of a day."""
    from streaming.history import take_history
    from twintide.days import Calendar

    until = Calendar.of(deployment.training).end_of(last) if last else None
    # A history keeps its end: one that is a mistake must not become it.
    if until is not None and until > clock.now():
        raise Refused(
            f"day {last} is not over", hint="give --to the last day that is over, or leave it out"
        )
    with progress("history") as update:
        return take_history(deployment, files, until=until, clock=clock, on_progress=update)


def publish_and_tidy(
    deployment: "Deployment", *, clock: Clock, verified: "Verified | None" = None
) -> "Published":
    """Publish the newest checkpoint, then remove what nothing needs any more. Files that are among
    `verified` are not hashed again.
    """
    from publisher import gc
    from publisher.publish import publish

    try:
        published = publish(deployment, clock=clock, verified=verified)
    except (TwintideError, OSError):
        gc.run(deployment)  # a disk that is full would stay so
        raise
    gc.run(deployment)
    return published


def refresh_and_tidy(
    deployment: "Deployment", *, clock: Clock, verified: "Verified | None" = None
) -> "Published":
    """Refresh what is live with the newest count, then remove what nothing needs any more."""
    from publisher import gc
    from publisher.refresh import refresh

    try:
        return refresh(deployment, clock=clock, verified=verified)
    finally:
        gc.run(deployment)


class Days:
    """Progress over many days."""

    def __init__(self, update: Update) -> None:
        self._update = update
        self._days = list[date]()
        self._before = 0

    def come(self, days: list[date]) -> None:
        """These are to be learnt, in order."""
        self._days = days

    def begin(self, day: date) -> None:
        """One of them is learnt now."""
        self._before = self._days.index(day)

    def step(self, learnt: int, to_learn: int, loss: float) -> None:
        """So much of it is learnt."""
        count, day = len(self._days), self._days[self._before]
        done = 1000 * self._before + 1000 * learnt // max(to_learn, 1)
        what = f"day {day}, {self._before + 1} of {count}"
        self._update(done, 1000 * count, f"{what}: {learnt:,} of {to_learn:,}, loss {loss:.3f}")


def showing(update: Update) -> "OnStep":
    """What a run calls after each step, as progress with a smoothed loss."""
    smooth: list[float] = []

    def step(learnt: int, to_learn: int, loss: float) -> None:
        smooth[:] = [loss if not smooth else 0.9 * smooth[0] + 0.1 * loss]
        update(learnt, to_learn, f"{learnt:,} of {to_learn:,} clicks, loss {smooth[0]:.3f}")

    return step


def _say_outcomes(
    outcomes: "list[Outcome]", config: Path, *, as_json: bool, taken: "Taken | None" = None
) -> None:
    lines = [] if taken is None else [_line_of(taken)]
    lines += [
        _line(outcome.checkpoint) if outcome.checkpoint else f"nothing learnt: {outcome.why}"
        for outcome in outcomes
    ]
    if any(outcome.checkpoint for outcome in outcomes):
        lines.append(f"next: `twintide publish -c {config}`")
    result = outcomes if taken is None else {"history": taken, "nights": outcomes}
    say(result, lines, as_json=as_json)


def _line_of(taken: "Taken") -> str:
    own = taken.history
    begin, end = from_unix_ms(own.first_ms), from_unix_ms(own.last_ms)
    words = (
        f"history: {own.rows:,} events of {len(own.files)} files are in shards, "
        f"{instant(begin)} to {instant(end)} UTC"
    )
    if taken.before:
        words += f"; {taken.before:,} of them were before"
    if own.beyond:
        words += f"; {own.beyond:,} that came later are left out"
    if own.until is None:
        words += "; its last day waits for what the topic brings, or for --to that day"
    return words


def _line(made: "CheckpointManifest") -> str:
    return (
        f"{made.name}: learnt {made.rows:,} clicks, the newest of {instant(made.newest_event_at)} "
        f"UTC, on {made.parent or 'fresh weights'}; mean loss {number(made.loss)}"
    )
