"""`twintide evaluate`: a data set through the real pipeline in virtual time, policy beside policy.

The events become real shards in a work folder, `evaluation` goes through them hour by hour, and
what was found is written as report.json and a page. Only Kafka is left out.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, deployment_of, parse_instant
from twintide.output import progress, say
from twintide.program import Interrupted

if TYPE_CHECKING:
    from twintide.config import Deployment

app = typer.Typer()


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
            help="Repeatable: never, nightly, hourly, nightly+hourly, 10min, "
            "nightly+hourly+statistics-10min; behind one that learns by the hour +shuffled, "
            "+ordered, +everything, +id_tables; the lists popular-all-time, -24h, -3h, -1h, "
            "-10min and -decayed, co-visitation, item-knn, as fresh as the quickest of these.",
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
    out: Annotated[Path, typer.Option(metavar="DIR", help="For report.json and the page.")] = Path(
        "twintide-evaluation"
    ),
    sample: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0.001,
            max=1.0,
            help="Score the clicks of so many of the users only, to be quick: .1 costs intervals "
            "three times as wide.",
        ),
    ] = 1.0,
    seeds: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=100, help="Train each model policy so many times, side by side."
        ),
    ] = 1,
    ablate: Annotated[
        bool,
        typer.Option(
            "--ablate",
            help="What is each ingredient of the model worth? The one model policy that is named "
            "(nightly+hourly) also runs without each, and with each that it has not.",
        ),
    ] = False,
    ingredient: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Repeatable, an ablation of these ingredients alone."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Search exactly too: how much recall does the index cost?"),
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=256,
            help="At once, of one core each. Default: one a core, where there is enough to do.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep shards, slices, checkpoints and versions.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a data set through the real pipeline with several update policies, and report.

    Each click is scored by what was live at its moment, which has never learnt it, against the full
    catalogue. A source of items tells what each is, and takes none away. Without --policy, all but
    `never` and the cadences run side by side. What was stopped goes on where the same is asked
    again with the same --out.
    """
    deployment = deployment_of(config)
    from evaluation.ablation import Ablation, ablation_of
    from evaluation.exact import beside_exact
    from evaluation.facts import data_facts
    from evaluation.lanes import Scoring
    from evaluation.policies import ABLATED_NAMES, DEFAULT_NAMES, beside_each_other, parse_policy
    from evaluation.progressive import progressive
    from evaluation.question import question
    from evaluation.setup import Setup
    from evaluation.span import sorted_ms, span_of
    from evaluation.watch import Watch, ticking
    from evaluation.workfolder import work_folder, write_all
    from twintide.datafile import read_data

    is_ablated = ablate or ingredient is not None
    default = ABLATED_NAMES if is_ablated else DEFAULT_NAMES
    named = [parse_policy(name) for name in dict.fromkeys(policy or default)]
    paced = beside_each_other(named)
    setup = Setup(deployment, history)
    tried = ablation_of(setup, paced, only=ingredient or ()) if is_ablated else Ablation()
    policies = [*(beside_exact(paced) if exact else paced), *tried.policies]
    with work_folder(out, keep=keep) as folder, progress("evaluating") as update:
        events = read_data(deployment, data)
        facts = data_facts(deployment, events, path=data)
        span = span_of(events, deployment, score_from=score_from, score_until=score_until)
        first = deployment.training.seed
        scoring = Scoring(
            span,
            history,
            sample,
            tuple(range(first, first + seeds)),
            sorted_ms(events.filter(deployment.events.is_click(events)), deployment),
        )
        asked = question(deployment, policies, scoring, data)
        own = write_all(deployment, events, folder, asked=asked)
        watch = Watch(scoring, tried.left_out)
        on_tick = ticking(update, watch)
        try:
            progressive(own, policies, scoring, folder=folder, processes=processes, on_tick=on_tick)
        except Interrupted:
            if watch.tick is not None:
                _say_report(watch.report(facts), deployment, out, as_json=as_json)
            raise
    _say_report(watch.report(facts), deployment, out, as_json=as_json)


def _say_report(
    report: dict[str, Any], deployment: "Deployment", out: Path, *, as_json: bool
) -> None:
    from console.policies_table import story
    from evaluation.report import write_report

    paths = write_report(report, out, zone=deployment.training.time_zone)
    empty = report["data"].get("null_columns")
    note = [f"no event has a value of {', '.join(empty)}"] if empty else []
    say(report, [*story(report), *note, *(f"wrote {path}" for path in paths)], as_json=as_json)
