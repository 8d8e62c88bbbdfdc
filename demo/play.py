"""The demo, step by step: Kafka, events, shards, an evaluation, and a deployment that lives.

A real Apache Kafka, the real ingest daemon, the real learner, gate and answers; only the click
world is simulated, and time is virtual so that days pass in minutes. What it made stays in its
folder, with a configuration that every other command takes.
"""

import resource
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from configs import shipped
from demo import live
from demo.stage import Stage
from demo.stream import Events, FileEvents, WorldEvents, check_ingested, ingest_in_child
from evaluation.facts import data_facts
from evaluation.lanes import Scoring
from evaluation.policies import DEFAULT_NAMES, beside_each_other, parse_policy
from evaluation.progressive import progressive
from evaluation.report import write_report
from evaluation.span import span_of
from evaluation.watch import Watch, ticking
from evaluation.workfolder import work_folder
from streaming.client import broker_count
from streaming.local_kafka import LocalKafka, alone_in
from twintide import yaml12
from twintide.config import Deployment, load, values_in
from twintide.datafile import read_data
from twintide.errors import Retryable
from twintide.output import progress, waiting


def play(stage: Stage, events: Events, config: Path | None, stack: ExitStack) -> dict[str, Any]:
    with stage.step("kafka") as said:
        bootstrap = _kafka(stage, stack)
        said(f"Apache Kafka answers at {bootstrap}")
    deployment = _write_config(stage, config, bootstrap)
    ingested, sent = _stream(stage, deployment, events)
    report, paths = _evaluate(stage, deployment, sent, name=events.name)
    lived = _live(stage, deployment, sent, world=getattr(events, "world", None))
    return {
        "config": stage.config,
        "data_dir": deployment.data_dir,
        "kafka": {"local": stage.kafka is None, "address": bootstrap},
        "ingest": ingested,
        "report": report,
        "paths": paths,
        **lived,
        "seconds": stage.seconds,
        "total_seconds": round(sum(stage.seconds.values()), 1),
        "peak_memory_bytes": {
            "demo": _peak_bytes(resource.RUSAGE_SELF),
            "ingest": _peak_bytes(resource.RUSAGE_CHILDREN),
        },
    }


def _kafka(stage: Stage, stack: ExitStack) -> str:
    """The address of a Kafka that answers; a local one ends with the stack."""
    if stage.kafka is not None:
        if broker_count(stage.kafka) == 0:
            raise Retryable(
                f"no Kafka answers at {stage.kafka}",
                hint="without --kafka the demo starts one of its own",
            )
        return stage.kafka
    stack.enter_context(alone_in(stage.folder / "kafka"))
    local = LocalKafka((stage.folder / "kafka").resolve())
    with waiting("looking for Apache Kafka") as update:
        local.start(progress=update)
    stack.callback(local.stop)
    return local.bootstrap


def _write_config(stage: Stage, config: Path | None, bootstrap: str) -> Deployment:
    """The demo's own configuration: the given one, or the quickstart, on this Kafka and folder."""
    values = values_in(config) if config else yaml12.parse(shipped("quickstart"), name="quickstart")
    own_topic = "clicks" if stage.kafka is None else f"twintide-demo-{uuid4().hex[:8]}"
    values.pop("folders", None)
    values |= {
        "data_dir": "data",
        "kafka": {"bootstrap_servers": [bootstrap], "topic": own_topic},
    }
    head = "# Written by `twintide demo`. Try: twintide status -c THIS FILE\n\n"
    stage.config.write_text(head + yaml12.dump(values), encoding="utf-8")
    return load(stage.config)


def _stream(stage: Stage, deployment: Deployment, events: Events) -> tuple[Any, Any]:
    """Events into the topic, the topic into shards; what was ingested, and the events."""
    topic = deployment.kafka.topic
    with stage.step("produce") as said, progress(f"sending {events.name} to {topic}") as update:
        sent = events.send(deployment, update)
        said(f"{len(sent):,} events of {events.name} are in topic {topic}")
    with stage.step("ingest") as said:
        with progress("the ingest daemon cuts minute shards") as update:
            ingest_in_child(
                stage.config,
                deployment,
                messages=len(sent),
                log_path=stage.folder / "ingest.log",
                update=update,
            )
        found = check_ingested(deployment)
        said(
            f"{found.messages:,} messages = {found.rows:,} rows in {found.shards:,} shards "
            f"+ {found.rejected:,} rejected; every offset once"
        )
    return found, sent


def _evaluate(
    stage: Stage, deployment: Deployment, sent: Any, *, name: str
) -> tuple[dict[str, Any], list[Path]]:
    """Every policy side by side over the shards that came through Kafka."""
    out = stage.folder / "evaluation"
    facts = data_facts(deployment, sent, path=Path(name))
    span = span_of(sent, deployment, score_from=None, score_until=None)
    policies = beside_each_other([parse_policy(each) for each in DEFAULT_NAMES])
    scoring = Scoring(span, seeds=(deployment.training.seed,))
    watch = Watch(scoring)
    with stage.step("evaluate") as said:
        with work_folder(out, keep=False) as work, progress("virtual time") as update:
            on_tick = ticking(update, watch)
            progressive(deployment, policies, scoring, folder=work, processes=None, on_tick=on_tick)
        report = watch.report(facts)
        paths = write_report(report, out, zone=deployment.training.time_zone)
        said(f"{len(policies)} policies side by side, click by click")
    return report, paths


def _live(stage: Stage, deployment: Deployment, sent: Any, *, world: Any) -> dict[str, Any]:
    """A deployment in the demo's folder: retrained, published, rolled back, released, asked."""
    time = sent[deployment.events.time]
    with stage.step("live") as said:
        whens = live.instants(deployment, time[0].as_py(), time[-1].as_py())
        with progress("training and publishing") as update:
            live.go_live(deployment, whens[:-1], update)
        back = live.go_back(deployment, whens[-1])
        rows = live.newest_first(deployment)
        answered = live.answer(deployment, sent, whens[-1], world=world)
        said(f"{len(rows)} versions through the gate, one rollback, one release")
    return {"versions": rows, "rollback": back, "answer": answered}


def events_of(hours: int, data: Path | None) -> Events:

    return FileEvents(data) if data else WorldEvents(hours)


def check_data(deployment: Deployment, data: Path) -> None:
    """Raises Refused, before anything is made, where the demo could not go through with it."""
    events = read_data(deployment, data)
    data_facts(deployment, events, path=data)
    span = span_of(events, deployment, score_from=None, score_until=None)
    live.instants(deployment, span.first_at, span.last_at)


def _peak_bytes(who: int) -> int:
    """The largest resident size of this process, or of any child; Linux counts in KiB."""
    return resource.getrusage(who).ru_maxrss * 1024
