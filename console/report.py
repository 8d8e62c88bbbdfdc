"""`twintide evaluate`: a data set through the real pipeline in virtual time, policy beside policy.

The events become real shards in a work folder, `console.evaluate` goes through them hour by hour,
and what was found is written as report.json and a plot. Only Kafka is left out.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, deployment_of, parse_instant
from console.output import Update, number, progress, say, table
from twintide.clock import iso, monotonic_seconds
from twintide.errors import Refused

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from console.evaluate import OnTick, Runner, Span
    from twintide.config import Deployment

app = typer.Typer()
REPORT = "report.json"
PLOT = "recall.png"


@app.command(
    rich_help_panel="Quality",
    epilog="Example: twintide evaluate -c configs/kuairand.yaml events.parquet "
    "--policy nightly --policy nightly+hourly",
)
def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A .parquet, .csv or .jsonl file.")],
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Repeatable: never, nightly, hourly, nightly+hourly, "
            "10min, popular-1h, popular-24h, popular-all-time, co-visitation.",
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
    catalogue. Without --policy, all but `never` and the cadences run side by side.
    """
    deployment = deployment_of(config)
    from console.policies import DEFAULT_NAMES, parse_policy
    from twintide.datafile import read_data

    policies = [parse_policy(name) for name in dict.fromkeys(policy or DEFAULT_NAMES)]
    began = monotonic_seconds()
    events = read_data(deployment, data)
    facts = data_facts(deployment, events, path=data)
    span = span_of(events, deployment, score_from=score_from, score_until=score_until)
    with work_folder(out, keep=keep) as folder, progress("evaluating") as update:
        own = write_all(deployment, events, folder)
        from console.evaluate import progressive
        from console.evaluate import report as report_of

        runners = progressive(
            own, policies, span, folder=folder, history=history, on_tick=ticking(span, update)
        )
        report = report_of(runners, data=facts) | {"seconds": round(monotonic_seconds() - began, 1)}
    paths = write_report(report, out, zone=deployment.training.time_zone)
    say(
        report,
        [policies_table(report), *(f"wrote {path}" for path in paths)],
        as_json=as_json,
    )


def data_facts(deployment: "Deployment", events: "pa.Table", *, path: Path) -> dict[str, Any]:
    """What report.json says of the data. Raises Refused where there is no click in it."""
    import pyarrow.compute as pc

    schema = deployment.events
    positives = pc.sum(schema.is_click(events)).as_py() or 0
    if not positives:
        raise Refused(
            f"{path} holds {len(events):,} events, but no click"
            + (f": none has {schema.positive}" if schema.positive else ""),
            hint="`events.positive` says which events are clicks",
        )
    times = pc.min_max(events[schema.time]).as_py()
    return {
        "path": str(path),
        "events": len(events),
        "positives": positives,
        "users": pc.count_distinct(events[schema.user]).as_py(),
        "items": pc.count_distinct(events[schema.item]).as_py(),
        "first_at": iso(times["min"]),
        "last_at": iso(times["max"]),
    }


def span_of(
    events: "pa.Table",
    deployment: "Deployment",
    *,
    score_from: datetime | None,
    score_until: datetime | None,
) -> "Span":
    """What is gone through and scored. Raises Refused where nothing would be scored."""
    import pyarrow.compute as pc

    from console.evaluate import default_span

    times = pc.min_max(events[deployment.events.time]).as_py()
    usual = default_span(times["min"], times["max"])
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
    """A folder of its own below `out` for shards and all that is made of them."""
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="work-", dir=out)).resolve()
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def write_all(deployment: "Deployment", events: "pa.Table", folder: Path) -> "Deployment":
    """The events as shards below `folder`; the deployment that has them."""
    from streaming.offline import write_shards
    from twintide.config import fill_in

    own = fill_in(deployment, {"data_dir": str(folder), "folders": _NO_FOLDERS})
    write_shards(own, events)
    return own


_NO_FOLDERS = {"shards": None, "slices": None, "checkpoints": None, "versions": None}


def ticking(span: "Span", update: Update) -> "OnTick":
    """Progress of an evaluation: the virtual time, and the recall so far."""
    end_at = min(span.last_at, span.score_until)
    total_seconds = round((end_at - span.first_at).total_seconds())

    def on_tick(now: datetime, runners: "Sequence[Runner]") -> None:
        models = [each for each in runners if each.policy.kind == "model"] or runners
        found = [(each.policy.name, each.board.overall.recall()["recall@10"]) for each in models]
        words = ", ".join(f"{name} {recall:.3f}" for name, recall in found if recall is not None)
        done_seconds = round((now - span.first_at).total_seconds())
        update(
            max(done_seconds, 0),
            total_seconds,
            f"{now:%F %H:%M} recall@10: {words}" if words else f"{now:%F %H:%M} not scored yet",
        )

    return on_tick


def write_report(report: dict[str, Any], out: Path, *, zone: str) -> list[Path]:
    """report.json and the plot beside it; returns the two paths."""
    from console.plots import recall_by_hour

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / REPORT, out / PLOT]
    paths[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    recall_by_hour(report, paths[1], zone=zone)
    return paths


def policies_table(report: dict[str, Any]) -> "Table":
    """Policy beside policy, as they stand in a report."""
    data = report["data"]
    columns = "policy #scored #recall@10 #@50 #@100 #new_users@10 #coverage #train_s"
    return table(
        f"{data['positives']:,} clicks of {data['users']:,} users on {data['items']:,} items, "
        f"{data['first_at']} to {data['last_at']}",
        columns.split(),
        [
            (
                each["name"],
                f"{each['positives']:,}",
                *(number(each[f"recall@{k}"]) for k in (10, 50, 100)),
                number(each["groups"].get("new_users", {}).get("recall@10")),
                number(each["coverage@10"]),
                f"{each['train_seconds']:.1f}" if each["kind"] == "model" else "–",
            )
            for each in report["policies"]
        ],
    )
