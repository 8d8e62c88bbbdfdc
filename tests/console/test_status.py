"""`twintide status` says what is so: nothing is wrong only where a click can come through."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from kafka import TopicPartition
from typer.core import TyperGroup

from console import commands
from streaming.client import admin, create_topic, producer
from streaming.history import take_history
from streaming.offline import write_shards
from tests.console.conftest import ROOT, Twintide, hour, stream, write_config
from tests.trainer.conftest import deployment_in
from twintide.checkpoints import read_manifest
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in, load
from twintide.shards import Ledger

NOBODY = {"kafka": {"bootstrap_servers": ["127.0.0.1:9"]}}
TAKES_ALL = {"shards": {"max_rejected_ratio": 1.0, "minutes": 20}}
COMMAND = re.compile(r"`?twintide ((?:[a-z]+ ?)+)((?:-[-a-z]+ ?)*)")


def on_kafka(kafka: str, folder: Path, **changes: Any) -> Deployment:
    """A deployment on a topic of its own that exists, and its configuration in `folder`."""
    topic = f"console-{uuid4().hex[:8]}"
    own = {"kafka": {"bootstrap_servers": [kafka], "topic": topic}, **changes}
    deployment = fill_in(deployment_in(folder / "data"), own)
    write_config(deployment, folder)
    create_topic(kafka, topic, partitions=2)
    return deployment


def send(deployment: Deployment, *messages: bytes) -> None:
    with producer(deployment.kafka) as client:
        for number, message in enumerate(messages):
            client.send(deployment.kafka.topic, message, partition=number % 2)


def wrong(twintide: Twintide, *arguments: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = twintide("status", "--json", *arguments).json["problems"]
    return found


def test_messages_that_wait_unread_are_wrong(
    twintide: Twintide, kafka: str, tmp_path: Path
) -> None:
    """2,000 in the topic and no shard: with the command that reads them, or says why not."""
    send(on_kafka(kafka, tmp_path), *[b'{"no": "event"}'] * 2000)

    (problem,) = wrong(twintide)

    assert "2,000 messages wait there" in problem["what"]
    followed = twintide("ingest", "-c", "twintide.yaml", "--until-caught-up")
    assert followed.code == 2
    assert "are bad" in followed.err


def test_messages_that_are_all_rejected_are_wrong(
    twintide: Twintide, kafka: str, tmp_path: Path
) -> None:
    """And the command that status names shows the reason, and a message."""
    any_ratio = {"shards": {"max_rejected_ratio": 1.0, "minutes": 20}}
    send(on_kafka(kafka, tmp_path, **any_ratio), *[b'{"no": "event"}'] * 200)
    assert twintide("ingest", "--until-caught-up").code == 0

    problem, *_ = wrong(twintide)

    assert problem["what"] == "200 of the newest 200 messages were rejected"
    assert problem["command"] == "twintide events -c twintide.yaml"
    shown = twintide("events")
    assert "200 messages, such as" in shown.out
    assert '{"no": "event"}' in shown.out


def test_a_partition_in_trouble_is_named_with_reason_and_hint_until_it_is_read(
    twintide: Twintide, kafka: str, tmp_path: Path
) -> None:
    """Retention removed what was not read: what the daemon knows of it is shown when none runs, a
    probe fails meanwhile, and the command that status names says what to set. Once that is done,
    nothing is left of it.
    """
    deployment = on_kafka(kafka, tmp_path, **TAKES_ALL)
    send(deployment, *[b'{"no": "event"}'] * 40)
    assert twintide("ingest", "--until-caught-up").code == 0
    send(deployment, *[b'{"no": "event"}'] * 40)
    delete_before(deployment, 30, partition=0)
    refused = twintide("ingest", "--until-caught-up")

    (problem,) = [each for each in wrong(twintide) if "partition 0" in each["what"]]
    probe = twintide("status", "--check")
    followed = twintide(*problem["command"].split()[1:])
    write_config(fill_in(deployment, {"shards": {"accept_gap": True}}), tmp_path)
    mended = twintide("ingest", "--until-caught-up")

    assert problem["what"].startswith("partition 0 is in trouble since 20")
    for word in ("offsets 20 to 29", "shards.accept_gap: true goes on without them"):
        assert word in problem["what"]
        assert all(word in said.err for said in (refused, followed))
    assert (refused.code, probe.code, mended.code) == (2, 1, 0)
    assert not any("in trouble" in each["what"] for each in wrong(twintide))


def delete_before(deployment: Deployment, offset: int, *, partition: int) -> None:
    """As retention does."""
    with admin(deployment.kafka) as client:
        client.delete_records({TopicPartition(deployment.kafka.topic, partition): offset})


def test_a_broker_that_does_not_answer_is_wrong_and_hides_nothing(
    twintide: Twintide, published: Path
) -> None:
    """Everything else is shown; for a replay in virtual time nobody asks the broker of today."""
    write_config(fill_in(load(published), NOBODY), published.parent)

    problem, *_ = wrong(twintide)
    asked = twintide("status", "--json").json

    assert "no broker answers at 127.0.0.1:9" in problem["what"]
    assert asked["live"] == "v000002"
    assert twintide("status", "--now", "2026-03-02T12:00Z", "--json").json["kafka"] == "not asked"


def test_the_first_day_is_not_due_and_says_when_it_is_over(
    twintide: Twintide, tmp_path: Path
) -> None:
    """Status, the nightly run and the scheduler judge by one function: no day before the first
    event is complete and not yet learnt.
    """
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    write_shards(deployment, stream(deployment, hours=10), complete_until=hour(10))

    seen = twintide("status", "--now", "2026-03-01T10:00Z", "--json").json

    assert seen["due_day"] is None
    assert "the first nightly can run after 2026-03-02 00:00 UTC" in seen["notes"][0]
    assert "no complete day" in twintide("train", "nightly", "--now", "2026-03-01T10:00Z").out


def test_nothing_has_come_from_the_future(twintide: Twintide, tmp_path: Path) -> None:
    """A machine's clock that was set back, a producer's that is ahead: no age below 0, nothing
    complete until an instant to come.
    """
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    write_shards(deployment, stream(deployment, hours=10), complete_until=hour(34))
    at = hour(10) - timedelta(hours=1)

    seen = twintide("status", "--now", at.isoformat(), "--json").json

    assert all(hop["age_minutes"] is None or hop["age_minutes"] >= 0 for hop in seen["freshness"])
    for each in seen["partitions"]:
        assert datetime.fromisoformat(each["complete_until"]) <= at
        assert each["lag_minutes"] >= 0


def test_a_column_that_is_null_in_all_events_is_named(twintide: Twintide, tmp_path: Path) -> None:
    """A feature that is read from it would be trained without a word."""
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    events = stream(deployment, hours=10)
    nulls = pa.nulls(len(events), events.schema.field("region").type)
    events = events.set_column(events.column_names.index("region"), "region", nulls)
    users = pa.array([None if n % 2 else n % 80 for n in range(len(events))], pa.int64())
    events = events.set_column(events.column_names.index("user_id"), "user_id", users)
    write_shards(deployment, events, complete_until=hour(10))

    seen = twintide("status", "--now", "2026-03-01T10:00Z", "--json").json

    whats = [each["what"] for each in seen["problems"]]
    assert any("column 'region' is null in all of the newest 6" in what for what in whats)
    assert not any("'category'" in what for what in whats)
    assert any("events have no user" in note for note in seen["notes"])
    columns = twintide("events", "--now", "2026-03-01T10:00Z").out
    assert re.search(r"region +int64 +100.0%", columns)
    assert re.search(r"user_id +int64 +50.0%", columns)


def test_a_declaration_that_is_refused_at_every_run_is_wrong(
    twintide: Twintide, published: Path
) -> None:
    """A model that must begin anew, a column of another type than the shards': each named, and all
    else is still shown. What no run can read comes before what only hours cannot teach.
    """
    config = json.loads(published.read_text())
    config["model"]["output_width"] = 16
    published.write_text(json.dumps(config))
    seen = twintide("status", "--now", "2026-03-02T12:00Z", "--json").json
    refused = twintide("train", "hourly", "--now", "2026-03-02T13:00Z")
    config["events"]["columns"]["region"] = "string"
    published.write_text(json.dumps(config))
    seen_typed = twintide("status", "--now", "2026-03-02T12:00Z", "--json").json

    said = {each["what"]: each["command"] for each in seen["problems"]}
    trained = next(what for what in said if "must begin anew" in what)
    assert said[trained] == "twintide train hourly -c twintide.yaml"
    assert (refused.code, "must begin anew" in refused.err) == (2, True)
    commands = {each["command"] for each in seen_typed["problems"] if "region" in each["what"]}
    assert "twintide ingest -c twintide.yaml" in commands
    for each in (seen, seen_typed):
        assert (each["live"], len(each["partitions"])) == ("v000002", 2)


def test_check_makes_it_a_probe(twintide: Twintide, published: Path) -> None:
    """0 where nothing is wrong, 1 where something is; without --check always 0."""
    moment = ("--now", "2026-03-02T12:00Z")
    twintide("release")
    well = twintide("status", "--check", *moment)
    twintide("hold", "--reason", "audit")
    held = twintide("status", "--check", *moment)

    assert ("Nothing is wrong." in well.out, well.code) == (True, 0)
    assert ("promotion is on hold: audit" in held.out, held.code) == (True, 1)
    assert twintide("status", *moment).code == 0


def test_the_checkpoints_are_listed(twintide: Twintide, published: Path) -> None:
    """What `rewind` can go back to: which is the head, which is served, what each added."""
    nightly, hourly = twintide("checkpoints", "--json").json

    assert (nightly["name"], nightly["line"], nightly["day"]) == (
        "nightly-000001",
        "nightly",
        "2026-03-01",
    )
    assert (hourly["base"], hourly["state"], nightly["state"]) == (
        "nightly-000001",
        "head, live",
        "",
    )
    root = load(published).checkpoints_dir
    first, second = (read_manifest(root, each["name"]).files for each in (nightly, hourly))
    assert nightly["size_bytes"] == sum(entry.bytes for entry in first.values())
    assert hourly["size_bytes"] == sum(second[n].bytes for n in second if first.get(n) != second[n])
    text = twintide("checkpoints").out
    assert text.index("hourly-000002") < text.index("nightly-000001")


@pytest.mark.promise("T10")
def test_a_checkpoint_is_made_again_by_a_command(twintide: Twintide, published: Path) -> None:
    """The same to the byte, in a folder of its own; where it is not, which files, and exit code 1.
    A folder that holds it already is left alone.
    """
    same = twintide("rebuild", "hourly-000002", "--into", "again", "--json")
    taken = twintide("rebuild", "hourly-000002", "--into", "again")
    changed = load(published).checkpoints_dir / "hourly-000002" / "estimator.clicks.npy"
    changed.write_bytes(changed.read_bytes() + b" ")
    other = twintide("rebuild", "hourly-000002", "--into", "once-more")

    assert (same.code, same.json["same"]) == (0, True)
    assert (published.parent / "again" / "hourly-000002" / "manifest.json").is_file()
    assert (taken.code, "is there already" in taken.err) == (2, True)
    assert other.code == 1
    assert "once-more/hourly-000002 differs from hourly-000002 in estimator.clicks.npy" in other.out


def test_there_is_a_way_to_the_first_checkpoint(twintide: Twintide, bare: Path) -> None:
    """An empty list says how to get the first."""
    assert "`twintide train nightly -c twintide.yaml` makes one" in twintide("checkpoints").out


@pytest.mark.parametrize("state", ["bare", "sharded", "published"])
def test_every_command_that_status_names_leads_somewhere(
    twintide: Twintide, request: pytest.FixtureRequest, kafka: str, state: str
) -> None:
    """Followed as it is printed, it does its work, or says what is missing and what to do."""
    path: Path = request.getfixturevalue(state)
    write_config(fill_in(load(path), {"kafka": {"bootstrap_servers": [kafka]}}), path.parent)
    if state == "published":
        twintide("hold", "--reason", "audit")
    now = ("--now", "2026-03-03T02:30Z")

    found = wrong(twintide, *now)

    assert found
    for each in found:
        words = each["command"].split()[1:]
        if words[0] == "ingest":
            words.append("--until-caught-up")
        done = twintide(*words)
        assert done.code in {0, 1, 2}, each
        assert "Traceback" not in done.err
        assert done.code == 0 or "hint:" in done.err, each


def advised() -> Iterator[tuple[str, str]]:
    """Every `twintide …` in a text of the code or the docs, and where it stands."""
    for path in [
        *ROOT.glob("*/*.py"),
        *ROOT.glob("*/*/*.py"),
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
    ]:
        if "tests" in path.parts:
            continue
        for match in re.finditer(r"`twintide ([^`]+)`", path.read_text(encoding="utf-8")):
            yield match[1], str(path.relative_to(ROOT))


def test_every_command_that_a_text_names_is_there() -> None:
    """With its options: what an error, a help text or a page advises can be typed."""
    root = typer.main.get_command(commands.app)
    seen = 0
    for words, where in advised():
        group: Any = root
        parts = [part for part in re.split(r"[\s]+", words.split("|")[0].split("&&")[0]) if part]
        while parts and isinstance(group, TyperGroup) and parts[0] in group.commands:
            group = group.commands[parts.pop(0)]
        assert group is not root or words.startswith(("--", "…", "COMMAND")), (words, where)
        options = {name for each in group.params for name in (*each.opts, *each.secondary_opts)} | {
            "--help"
        }
        used = {part.split("=")[0] for part in parts if re.match(r"^--?[a-z]", part)}
        assert used <= options, (words, where)
        seen += 1
    assert seen > 40


def test_a_history_that_is_broken_off_is_wrong_until_it_is_whole(
    twintide: Twintide, tmp_path: Path
) -> None:
    """Training waits for it, so status says so, with the command that goes on."""
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    pq.write_table(stream(deployment, hours=2), tmp_path / "events.parquet")
    now = f"{hour(3):%Y-%m-%dT%H:%MZ}"
    clock = HeldClock(hour(3))
    whole = take_history(deployment, tmp_path / "events.parquet", until=None, clock=clock).history
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)

    ledger.publish_history(whole.model_copy(update={"is_whole": False}))
    said = [each["what"] for each in wrong(twintide, "--now", now)]
    assert said[0].startswith("the history of events.parquet is not whole")
    ledger.publish_history(whole)
    said = [each["what"] for each in wrong(twintide, "--now", now)]
    assert not any("history" in each for each in said)
