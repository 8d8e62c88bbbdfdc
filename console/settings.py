"""`twintide config new | check | show`: write a configuration, is it right, what does it say?"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from console.options import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFile,
    check_exists,
    deployment_of,
    quiet_logs,
)
from twintide.output import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from twintide.datafile import Raw
    from twintide.sample import Sample

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True)
app.add_typer(
    config_app,
    name="config",
    rich_help_panel="Operation",
    help="Write, check, show or compare configuration files.",
    epilog="Example: twintide config check -c twintide.yaml",
)

_HEAD = (
    "# The quickstart of Twintide, every key of it. Check a copy of it:\n"
    "#     twintide config check -c FILE\n\n"
)
_DEFAULTS_HEAD = (
    "# What each key is where a file leaves it out; docs/configuration.md says what it means.\n\n"
)


@config_app.command(epilog="Example: twintide config check -c twintide.yaml --sample events.jsonl")
def check(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    sample: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="Events, as evaluate reads them: does the declaration fit them?"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Whether a configuration is right, in itself and on this machine: every wrong key is named.

    Files, folders and variables that it names are looked at, and nothing is changed.
    """
    from twintide.clock import iso
    from twintide.problems import Misconfigured
    from twintide.surroundings import check as all_problems

    quiet_logs()
    check_exists(config)
    problems = all_problems(config)
    judged = _judged(config, sample) if sample and not problems else None
    problems += judged.problems if judged else ()
    if problems and not as_json:
        raise Misconfigured(str(config), problems)
    told = [{"key": each.key, "reason": each.reason, "hint": each.hint} for each in problems]
    data_dir = None if problems else deployment_of(config).data_dir
    result = {"config": config, "ok": not problems, "data_dir": data_dir, "problems": told}
    lines = [f"{config} is right; its artifacts lie in {data_dir}"]
    if not problems:
        lines += _items(config)
    if judged:
        result["sample"] = {
            "events": judged.events,
            "clicks": judged.clicks,
            "anonymous": judged.anonymous,
            "first_at": iso(judged.first_at),
            "last_at": iso(judged.last_at),
        }
        lines.append(
            f"{sample} fits it: {judged.events:,} events, {judged.clicks:,} of them clicks, "
            f"{judged.anonymous:,} of these without a user, from {iso(judged.first_at)} to "
            f"{iso(judged.last_at)}"
        )
    say(result, "\n".join(lines), as_json=as_json)
    if problems:
        raise typer.Exit(Misconfigured.exit_code)


def _items(config: Path) -> list[str]:
    """What the source of items tells, and what is left to clicks."""
    from twintide.itemfile import filled
    from twintide.itemsource import attributes_of

    own = deployment_of(config)
    if own.items.topic:
        return [f"the topic {own.items.topic} is read by the first `twintide train` or `publish`"]
    if not own.items.is_declared:
        return []
    told = filled(own.items, own.events, own.model)
    left = [name for name in attributes_of(own.events, own.model) if name not in told]
    return [
        f"{own.items.file} tells {', '.join(told) or 'no attribute'} of items"
        + (f"; {', '.join(left)} is left to clicks" if left else "")
    ]


def _judged(config: Path, sample: Path) -> "Sample":
    from twintide.clock import SystemClock
    from twintide.datafile import read_data
    from twintide.sample import judge

    deployment = deployment_of(config)
    return judge(deployment, read_data(deployment, sample), now=SystemClock().now())


Preset = Literal["news", "shop", "video"]


@config_app.command(epilog="Example: twintide config new clicks.csv > twintide.yaml")
def new(
    events: Annotated[
        Path | None,
        typer.Argument(metavar="EVENTS", help="A file of your events, or a folder of parts."),
    ] = None,
    *,
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="A topic of them instead of a file.")
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where the topic is.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="COLUMN", help="Who: its column.")] = None,
    item: Annotated[str | None, typer.Option(metavar="COLUMN", help="What: its column.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="When: its column.")] = None,
    rows: Annotated[int, typer.Option(min=10, help="How many events to look at.")] = 20_000,
    preset: Annotated[
        Preset | None, typer.Option(help="One that comes with Twintide, in place of a guess.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a configuration for your events: types, roles, features and quiet hour are guessed.

    It says what was guessed and why, as comments. Read it, and change what is wrong. A preset has
    columns of its own: put yours in.
    """
    if preset is not None:
        _say_preset(preset, alone=events is None and topic is None, as_json=as_json)
        return
    from console.starter import text_of
    from twintide import yaml12
    from twintide.config import parse
    from twintide.guess import guess

    quiet_logs()
    looked = _looked_at(events, topic, bootstrap, rows=rows)
    named = {"user": user, "item": item, "time": time}
    found = guess(looked.raw, roles={role: name for role, name in named.items() if name})
    text = text_of(
        found,
        source=looked.source,
        separator=looked.separator,
        data_dir="data",
        topic=looked.topic,
        bootstrap=looked.bootstrap,
    )
    values = yaml12.parse(text, name="the new configuration")
    parse(values, name="the new configuration")
    say(values, text.rstrip("\n"), as_json=as_json)


def _say_preset(preset: str, *, alone: bool, as_json: bool) -> None:
    from configs import shipped
    from twintide import yaml12
    from twintide.errors import Refused

    if not alone:
        raise Refused(
            "a preset looks at no events",
            hint=f"`twintide config new --preset {preset}` prints it",
        )
    text = shipped(preset)
    say(yaml12.parse(text, name=preset), text.rstrip("\n"), as_json=as_json)


@dataclass(frozen=True)
class _Looked:
    """Some events as they stand, and where they came from."""

    raw: "Mapping[str, Raw]"
    source: str
    separator: str
    topic: str
    bootstrap: str


def _looked_at(
    events: Path | None, topic: str | None, bootstrap: str | None, *, rows: int
) -> _Looked:
    """Events of a file, or of a topic. Raises Refused where it is not told which."""
    from console.starter import LOCAL
    from twintide.errors import Refused

    if (events is None) == (topic is None) or (bootstrap is not None and topic is None):
        raise Refused(
            "say where your events are: a file, or a topic",
            hint="`twintide config new clicks.csv`, or "
            f"`twintide config new --topic clicks --bootstrap {LOCAL}`",
        )
    if events is not None:
        return _of_file(events, rows=rows)
    return _of_topic(str(topic), bootstrap or LOCAL, rows=rows)


def _of_file(events: Path, *, rows: int) -> _Looked:
    from console.starter import LOCAL
    from twintide.datafile import first_rows

    raw, separator = first_rows(events, rows=rows)
    stem = events.name.partition(".")[0]
    topic = "".join(letter if letter.isalnum() else "-" for letter in stem).lower() or "clicks"
    return _Looked(raw, f"the first of {events.name}", separator, topic, LOCAL)


def _of_topic(topic: str, bootstrap: str, *, rows: int) -> _Looked:
    from pydantic import ValidationError

    from streaming.peek import newest
    from twintide.config import KafkaConfig
    from twintide.datafile import fields_of
    from twintide.errors import Refused

    try:
        kafka = KafkaConfig(bootstrap_servers=(bootstrap,), topic=topic)
    except ValidationError as error:
        raise Refused(
            f"topic {topic!r} at {bootstrap!r}: {error.errors()[0]['msg']}",
            hint="`--bootstrap` is host:port of a broker",
        ) from None
    raw = fields_of(newest(kafka, count=rows))
    return _Looked(raw, f"the newest of topic {topic}", ",", topic, bootstrap)


@config_app.command(epilog="Example: twintide config show > twintide.yaml")
def show(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="Default: the quickstart, to start from."
        ),
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="What each key is where a file leaves it out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print every key with its value: of a file, or of the quickstart to start from."""
    from twintide import yaml12

    if defaults:
        values, head = every_default(), _DEFAULTS_HEAD
    elif config:
        values, head = deployment_of(config).model_dump(mode="json"), f"# {config}, every key.\n\n"
    else:
        values, head = quickstart(), _HEAD
    say(values, head + yaml12.dump(values).rstrip("\n"), as_json=as_json)


def every_default() -> dict[str, Any]:
    """Key -> what it is where a file leaves it out; keys without a default say so."""
    from twintide.config import Deployment

    return _defaults_of(Deployment)


def _defaults_of(section: "type[BaseModel]") -> dict[str, Any]:
    from pydantic import BaseModel
    from pydantic_core import to_jsonable_python

    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found[name] = _defaults_of(inner)
        else:
            found[name] = REQUIRED if field.is_required() else to_jsonable_python(field.default)
    return found


REQUIRED = "(must be given)"


def quickstart() -> dict[str, Any]:
    """Every key of the quickstart, defaults filled in."""
    from configs import shipped
    from twintide import yaml12
    from twintide.config import parse

    text = shipped("quickstart")
    return parse(yaml12.parse(text, name="quickstart"), name="quickstart").model_dump(mode="json")
