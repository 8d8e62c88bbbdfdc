"""`twintide demo`: the whole line on this machine, from a Kafka topic to an answer, and back.

A real Apache Kafka, the real ingest daemon, the real learner, gate and answers; only the click
world is simulated, and time is virtual so that days pass in minutes. What it made stays in its
folder, with a configuration that every other command takes.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from rich.text import Text

from console.options import AsJson, deployment_of, quiet_logs
from console.output import progress, say, stderr, waiting
from twintide.clock import monotonic_seconds
from twintide.errors import Refused, Retryable

if TYPE_CHECKING:
    from console.demo_stream import Events
    from twintide.config import Deployment

app = typer.Typer()
FEWEST_HOURS = 30
MARK = ".twintide-demo"
"""Lies in a folder that a demo made, and that the next demo may therefore remove."""

_STEPS = 5


@app.command(rich_help_panel="Start here", epilog="Example: twintide demo")
def demo(
    *,
    hours: Annotated[
        int,
        typer.Option(min=FEWEST_HOURS, help="Of the click world; the first 24 are not scored."),
    ] = 54,
    kafka: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="host:port of a Kafka. Default: a local one."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="With --data: what its events are."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Real events instead of the click world's."),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option("--dir", metavar="DIR", help="For all that it makes; replaces an older demo."),
    ] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """The whole line on this machine: Kafka, shards, training, versions, answers, a rollback.

    Takes a few minutes on two cores. Feeds a simulated click world, or a data file, through a real
    Kafka, compares update policies hour by hour in virtual time, and leaves a deployment on which
    the other commands can be tried.
    """
    if (config is None) != (data is None):
        raise Refused(
            "--data and -c belong together: the configuration says what the events are",
            hint="twintide demo -c configs/kuairand.yaml --data events.parquet",
        )
    quiet_logs()
    if config is not None and data is not None:
        _check_data(deployment_of(config), data)
    if kafka is not None:
        _check_address(kafka)
    make_room(folder)
    stage = Stage(folder, kafka)
    with ExitStack() as stack:
        result = _run(stage, _events(hours, data), config, stack)
    from console.demo_text import text_of

    say(result, text_of(result), as_json=as_json)


@dataclass
class Stage:
    """Where a demo plays, and how long each of its steps took."""

    folder: Path
    kafka: str | None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The configuration that the demo writes."""
        return self.folder / "twintide.yaml"

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """One step of the story; what it came to is said with the time that it took."""
        words: list[str] = []
        began = monotonic_seconds()
        yield words.append
        self.seconds[name] = round(monotonic_seconds() - began, 1)
        place = f"{len(self.seconds)}/{_STEPS}"
        text = Text.assemble(
            (f"{place} {name:<9}", "bold"),
            f" {' '.join(words)}  ",
            (f"{self.seconds[name]} s", "dim"),
        )
        stderr().print(text, soft_wrap=True)


def _run(stage: Stage, events: "Events", config: Path | None, stack: ExitStack) -> dict[str, Any]:
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
    from console.stream import alone_in
    from streaming.client import broker_count
    from streaming.local_kafka import LocalKafka

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


def _write_config(stage: Stage, config: Path | None, bootstrap: str) -> "Deployment":
    """The demo's own configuration: the given one, or the quickstart, on this Kafka and folder."""
    from console.settings import shipped
    from twintide import yaml12
    from twintide.config import load, values_in

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


def _stream(stage: Stage, deployment: "Deployment", events: "Events") -> tuple[Any, Any]:
    """Events into the topic, the topic into shards; what was ingested, and the events."""
    from console.demo_stream import check_ingested, ingest_in_child

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
    stage: Stage, deployment: "Deployment", sent: Any, *, name: str
) -> tuple[dict[str, Any], list[Path]]:
    """Every policy side by side over the shards that came through Kafka."""
    from console.evaluate import progressive
    from console.policies import DEFAULT_NAMES, beside_each_other, parse_policy
    from console.report import Watch, data_facts, span_of, ticking, work_folder, write_report

    out = stage.folder / "evaluation"
    facts = data_facts(deployment, sent, path=Path(name))
    span = span_of(sent, deployment, score_from=None, score_until=None)
    policies = beside_each_other([parse_policy(each) for each in DEFAULT_NAMES])
    watch = Watch()
    with stage.step("evaluate") as said:
        with work_folder(out, keep=False) as work, progress("virtual time") as update:
            progressive(deployment, policies, span, folder=work, on_tick=ticking(update, watch))
        report = watch.report(facts)
        paths = write_report(report, out, zone=deployment.training.time_zone)
        said(f"{len(policies)} policies side by side, click by click")
    return report, paths


def _live(stage: Stage, deployment: "Deployment", sent: Any, *, world: Any) -> dict[str, Any]:
    """A deployment in the demo's folder: retrained, published, rolled back, released, asked."""
    from console import demo_live

    time = sent[deployment.events.time]
    with stage.step("live") as said:
        whens = demo_live.instants(deployment, time[0].as_py(), time[-1].as_py())
        with progress("training and publishing") as update:
            demo_live.go_live(deployment, whens[:-1], update)
        back = demo_live.go_back(deployment, whens[-1])
        rows = demo_live.newest_first(deployment)
        answered = demo_live.answer(deployment, sent, whens[-1], world=world)
        said(f"{len(rows)} versions through the gate, one rollback, one release")
    return {"versions": rows, "rollback": back, "answer": answered}


def _events(hours: int, data: Path | None) -> "Events":
    from console.demo_stream import FileEvents, WorldEvents

    return FileEvents(data) if data else WorldEvents(hours)


def make_room(folder: Path) -> None:
    """An empty folder; an older demo's is removed. Raises Refused where it holds something else."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MARK).is_file():
            raise Refused(
                f"{folder} holds something that no demo made", hint="--dir names another folder"
            )
        stderr().print(Text(f"removing the older demo in {folder}"))
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _check_data(deployment: "Deployment", data: Path) -> None:
    """Raises Refused, before anything is made, where the demo could not go through with it."""
    from console.demo_live import instants
    from console.report import data_facts, span_of
    from twintide.datafile import read_data

    events = read_data(deployment, data)
    data_facts(deployment, events, path=data)
    span = span_of(events, deployment, score_from=None, score_until=None)
    instants(deployment, span.first_at, span.last_at)


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise Refused(f"{address!r} is no address of a Kafka", hint="such as --kafka 10.0.0.5:9092")
    try:
        socket.getaddrinfo(host, int(port))
    except OSError as error:
        raise Refused(f"there is no host {host}: {error}", hint="--kafka HOST:PORT") from None


def _peak_bytes(who: int) -> int:
    """The largest resident size of this process, or of any child; Linux counts in KiB."""
    return resource.getrusage(who).ru_maxrss * 1024
