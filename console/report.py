"""`twintide evaluate`: a data set through the real pipeline in virtual time, policy beside policy.

The events become real shards in a work folder, `console.evaluate` goes through them hour by hour,
and what was found is written as report.json and a plot. Only Kafka is left out.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, deployment_of, parse_instant
from console.output import Update, progress, say
from twintide.clock import from_unix_ms, iso, monotonic_seconds
from twintide.errors import Refused, Retryable
from twintide.files import exclusive_lock
from twintide.program import Interrupted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from console.evaluate import OnTick, Span, Tick
    from twintide.config import Deployment

app = typer.Typer()
REPORT = "report.json"
PLOT = "recall.png"
_PASSING = ".work-"
_LOCK = ".lock"


@app.command(
    rich_help_panel="Quality",
    epilog="Example: twintide evaluate -c configs/kuairand.yaml events.parquet "
    "--policy nightly --policy nightly+hourly",
)
def evaluate(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A .parquet, .csv or .jsonl file, or a folder.")
    ],
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Repeatable: never, nightly, hourly, nightly+hourly, 10min; the lists "
            "popular-all-time, -24h, -3h, -1h, -10min and -decayed, co-visitation, item-knn, "
            "which are made anew as often as the quickest of these.",
        ),
    ] = None,
    score_from: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="Default: after 24 hours."),
    ] = None,
    score_until: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="Default: the end."),
    ] = None,
    history: Annotated[
        Literal["as-requested", "as-of-version"],
        typer.Option(help="The user's history up to the click, or as the version knew it."),
    ] = "as-requested",
    out: Annotated[Path, typer.Option(metavar="DIR", help="For report.json and the plot.")] = Path(
        "evaluation"
    ),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep shards, slices, checkpoints and versions.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a data set through the real pipeline with several update policies, and report.

    Each click is scored by what was live at its moment, which has never learnt it, against the full
    catalogue. A source of items tells what each is, and takes none away. Without --policy, all but
    `never` and the cadences run side by side.
    """
    deployment = deployment_of(config)
    from console.policies import DEFAULT_NAMES, beside_each_other, parse_policy
    from twintide.datafile import read_data

    named = [parse_policy(name) for name in dict.fromkeys(policy or DEFAULT_NAMES)]
    policies = beside_each_other(named)
    watch = Watch()
    with work_folder(out, keep=keep) as folder, progress("evaluating") as update:
        events = read_data(deployment, data)
        facts = data_facts(deployment, events, path=data)
        span = span_of(events, deployment, score_from=score_from, score_until=score_until)
        own = write_all(deployment, events, folder)
        from console.evaluate import progressive

        on_tick = ticking(update, watch)
        try:
            progressive(own, policies, span, folder=folder, history=history, on_tick=on_tick)
        except Interrupted:
            if watch.tick is not None:
                _say_report(watch.report(facts), deployment, out, as_json=as_json)
            raise
    _say_report(watch.report(facts), deployment, out, as_json=as_json)


@dataclass
class Watch:
    """How far an evaluation has come: what is reported where it is interrupted."""

    tick: "Tick | None" = None
    began: float = field(default_factory=monotonic_seconds)

    def report(self, facts: dict[str, Any]) -> dict[str, Any]:
        """report.json; where the way is not gone to its end, it says how far."""
        from console.evaluate import report

        tick = self.tick
        found = report(tick.runners if tick else [], data=facts)
        if tick is not None and tick.done < tick.ticks:
            ratio = round(tick.done / tick.ticks, 3)
            found["partial"] = {"at": iso(tick.at), "done_ratio": ratio}
        return found | {"seconds": round(monotonic_seconds() - self.began, 1)}


def _say_report(
    report: dict[str, Any], deployment: "Deployment", out: Path, *, as_json: bool
) -> None:
    from console.verdict import story

    paths = write_report(report, out, zone=deployment.training.time_zone)
    empty = report["data"].get("null_columns")
    note = [f"no event has a value of {', '.join(empty)}"] if empty else []
    say(report, [*story(report), *note, *(f"wrote {path}" for path in paths)], as_json=as_json)


def data_facts(deployment: "Deployment", events: "pa.Table", *, path: Path) -> dict[str, Any]:
    """What report.json says of the data. Raises Refused where there is no click in it."""
    import pyarrow.compute as pc

    from console.ticks import gap_facts, gaps_in
    from twintide.datafile import null_columns

    schema = deployment.events
    positives = pc.sum(schema.is_click(events)).as_py() or 0
    if not positives:
        raise Refused(
            f"{path} holds {len(events):,} events, but no click"
            + (f": none has {schema.positive}" if schema.positive else ""),
            hint="`events.positive` says which events are clicks",
        )
    at_ms = _sorted_ms(events, deployment)
    return {
        "path": str(path),
        "events": len(events),
        "positives": positives,
        "users": pc.count_distinct(events[schema.user]).as_py(),
        "items": pc.count_distinct(events[schema.item]).as_py(),
        "first_at": iso(from_unix_ms(int(at_ms[0]))),
        "last_at": iso(from_unix_ms(int(at_ms[-1]))),
        "gaps": gap_facts(gaps_in(at_ms)),
        "null_columns": null_columns(events),
    }


def _sorted_ms(events: "pa.Table", deployment: "Deployment") -> "npt.NDArray[np.int64]":
    import numpy as np
    import pyarrow as pa

    times = events[deployment.events.time].combine_chunks().cast(pa.int64())
    return np.sort(np.asarray(times, np.int64))


def span_of(
    events: "pa.Table",
    deployment: "Deployment",
    *,
    score_from: datetime | None,
    score_until: datetime | None,
) -> "Span":
    """What is gone through and scored. Raises Refused where nothing would be scored."""
    from console.evaluate import default_span

    usual = default_span(_sorted_ms(events, deployment))
    span = dataclasses.replace(
        usual,
        score_from=score_from or usual.score_from,
        score_until=score_until or usual.score_until,
    )
    if span.score_from >= min(span.last_at, span.score_until):
        raise Refused(
            f"nothing would be scored: the events reach from {iso(span.first_at)} to "
            f"{iso(span.last_at)}, scoring from {iso(span.score_from)} to {iso(span.score_until)}",
            hint="the first 24 hours are learnt and not scored, unless --score-from says otherwise",
        )
    return span


@contextmanager
def work_folder(out: Path, *, keep: bool) -> Iterator[Path]:
    """A folder of its own below `out` for shards and all that is made of them.

    However the block ends, it goes; those that killed evaluations left behind go first.
    """
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    folder = Path(tempfile.mkdtemp(prefix="work-" if keep else _PASSING, dir=out)).resolve()
    try:
        with exclusive_lock(folder / _LOCK, who="this evaluation"):
            yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _sweep(out: Path) -> None:
    for left in out.glob(f"{_PASSING}*"):
        with suppress(Retryable), exclusive_lock(left / _LOCK, who="sweeping"):
            shutil.rmtree(left, ignore_errors=True)


def write_all(deployment: "Deployment", events: "pa.Table", folder: Path) -> "Deployment":
    """The events as shards below `folder`; the deployment that has them."""
    from streaming.offline import write_shards
    from twintide.config import fill_in

    own = fill_in(deployment, {"data_dir": str(folder), "folders": _NO_FOLDERS})
    write_shards(own, events)
    return own


_NO_FOLDERS = {"shards": None, "slices": None, "checkpoints": None, "versions": None}


def ticking(update: Update, watch: Watch) -> "OnTick":
    """Progress of an evaluation: the virtual time, and the recall so far."""

    def on_tick(tick: "Tick") -> None:
        watch.tick = tick
        models = [each for each in tick.runners if each.policy.kind == "model"] or tick.runners
        found = [(each.policy.name, each.board.overall.recall()["recall@10"]) for each in models]
        words = ", ".join(f"{name} {recall:.3f}" for name, recall in found if recall is not None)
        words = f"recall@10: {words}" if words else "not scored yet"
        update(tick.done, tick.ticks, f"{tick.at:%F %H:%M} {words}")

    return on_tick


def write_report(report: dict[str, Any], out: Path, *, zone: str) -> list[Path]:
    """report.json and the plot beside it; returns the two paths."""
    from console.plots import recall_by_hour

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / REPORT, out / PLOT]
    paths[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    recall_by_hour(report, paths[1], zone=zone)
    return paths
