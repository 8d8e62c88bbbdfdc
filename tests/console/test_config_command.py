"""`twintide config check` leaves nothing for later; `config show` says what it shows."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import Twintide, stream, write_config
from tests.trainer.conftest import deployment_in
from tests.twintide import item_files
from twintide import yaml12
from twintide.config import load

REFUSED = 2
CANARY = "canary-7f3a-hunter2"


def write(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The small quickstart with one change."""
    path = write_config(deployment_in(folder / "data"), folder)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


def tls(cafile: str) -> Callable[[dict[str, Any]], object]:
    return lambda v: v["kafka"].update(security_protocol="SSL", ssl_cafile=cafile)


def token(variable: str) -> Callable[[dict[str, Any]], object]:
    return lambda v: v["serving"].update(host="0.0.0.0", token_env=variable)


def password(variable: str) -> Callable[[dict[str, Any]], object]:
    return lambda v: v["kafka"].update(
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="me",
        sasl_password_env=variable,
    )


HERE: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "no password": (password("NOT_SET"), "kafka.sasl_password_env", "NOT_SET is not set"),
    "no token": (token("NOT_SET"), "serving.token_env", "NOT_SET is not set"),
    "a token to guess": (token("SHORT"), "serving.token_env", "at least 16"),
    "no authorities": (tls("none.pem"), "kafka.ssl_cafile", "none.pem cannot be read"),
    "authorities in a folder": (tls("folder"), "kafka.ssl_cafile", "folder"),
    "authorities without one": (tls("file"), "kafka.ssl_cafile", "no certificates"),
    "a file for a folder": (lambda v: v.update(data_dir="file"), "data_dir", "file is no folder"),
    "a folder in a file": (
        lambda v: v["folders"].update(slices="file/slices"),
        "folders.slices",
        "file is no folder",
    ),
    "a link to nowhere": (lambda v: v["folders"].update(shards="link"), "folders.shards", "folder"),
    "a link into another kind": (
        lambda v: v["folders"].update(shards="folder", slices="alias"),
        "folders.slices",
        "one inside the other",
    ),
    "a name too long": (lambda v: v.update(data_dir="a" * 300), "data_dir", "too long"),
}


@pytest.mark.promise("X2")
@pytest.mark.parametrize(("change", "key", "words"), HERE.values(), ids=HERE)
def test_what_this_machine_lacks_is_told_by_its_key(
    twintide: Twintide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Any]], object],
    key: str,
    words: str,
) -> None:
    """Variables, certificates and folders are looked at, and nothing is made."""
    monkeypatch.setenv("SHORT", "abc")
    write(tmp_path, change)
    (tmp_path / "file").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "alias").symlink_to("folder")
    before = sorted(path for path in tmp_path.rglob("*"))

    told = twintide("config", "check")
    found = twintide("config", "check", "--json")

    assert (told.code, found.code) == (REFUSED, REFUSED)
    assert key in told.err
    assert words in told.err
    assert [problem["key"] for problem in found.json["problems"]] == [key]
    assert found.json["ok"] is False
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_told(twintide: Twintide, tmp_path: Path) -> None:
    """Before ingest finds out."""
    write(tmp_path, lambda v: v.update(data_dir="/proc/data"))

    assert "cannot be" in twintide("config", "check").err


def test_the_file_and_the_machine_are_told_together(twintide: Twintide, tmp_path: Path) -> None:
    """One look, one list, each with what to do."""

    def change(values: dict[str, Any]) -> None:
        token("NOT_SET")(values)
        tls("none.pem")(values)
        values["training"]["treads"] = 3
        values["events"]["positive"] = {"column": "region", "equals": "yes"}

    write(tmp_path, change)

    done = twintide("config", "check")

    lines = done.err.splitlines()
    assert lines[0] == "error: twintide.yaml has 4 problems:"
    assert [line.split(":")[0].strip() for line in lines[1:5]] == [
        "training.treads",
        "events.positive.equals",
        "kafka.ssl_cafile",
        "serving.token_env",
    ]
    assert lines[5].startswith("hint:  ")
    assert (done.code, done.out) == (REFUSED, "")


def test_defaults_are_those_of_a_file_that_says_nothing(twintide: Twintide, tmp_path: Path) -> None:
    """Not the quickstart's, which says other things of its own."""
    defaults = twintide("config", "show", "--defaults", "--json").json
    values = yaml12.parse((write(tmp_path, lambda _: None)).read_text(), name="small")
    model = {side: values["model"][side] for side in ("query", "candidate")}
    bare = {"events": values["events"], "model": model}
    (tmp_path / "bare.yaml").write_text(json.dumps(bare))

    shown = twintide("config", "show", "-c", "bare.yaml", "--json").json

    for section in ("kafka", "shards", "training", "publishing", "serving", "folders"):
        assert shown[section] == defaults[section]
    assert shown["model"] | model == defaults["model"] | model
    assert defaults["publishing"]["gate"]["min_events"] == 200
    assert twintide("config", "show", "--json").json["publishing"]["gate"]["min_events"] == 100


def sampled(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A data file of the small quickstart's events, each of them changed."""
    events = stream(deployment_in(folder / "data"), hours=3).to_pylist()
    for event in events:
        event["event_at"] = round(event["event_at"].timestamp() * 1000)
        change(event)
    path = folder / "sample.jsonl"
    path.write_text("\n".join(map(json.dumps, events)))
    return path


SAMPLES: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "a column that is always null": (
        lambda event: event.update(region=None),
        "model.query.region.column",
        "null in all",
    ),
    "a column that nobody sends": (
        lambda event: event.pop("category"),
        "model.candidate.category.column",
        "null in all",
    ),
    "lists that are always empty": (
        lambda event: event.update(topics=[]),
        "model.candidate.topics.column",
        "is empty",
    ),
    "times that have not come": (
        lambda event: event.update(event_at=event["event_at"] + 40 * 365 * 86_400_000),
        "events.time",
        "180 of 180 values of column 'event_at' lie ahead of now, up to 2066-02-",
    ),
    "no click": (lambda event: event.update(clicked=False), "events.positive", "no event"),
    "no user": (lambda event: event.update(user_id=None), "events.user", "null in every click"),
    "a number that is not scaled": (
        lambda event: event.update(watch_seconds=5e4),
        "model.candidate.watched.column",
        "beyond ±30",
    ),
}


@pytest.mark.parametrize(("change", "key", "words"), SAMPLES.values(), ids=SAMPLES)
def test_a_sample_shows_what_would_learn_nothing(
    twintide: Twintide,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    key: str,
    words: str,
) -> None:
    """A column that is null in all events is trained without a word: here it is told."""
    watched = {"kind": "dense", "name": "watched", "column": "watch_seconds"}
    write(tmp_path, lambda v: v["model"]["candidate"].append(watched))
    done = twintide("config", "check", "--sample", sampled(tmp_path, lambda _: None))
    assert done.code == 0, done.err
    assert "180 events" in done.out
    assert "from 2026-03-01T00:0" in done.out

    told = twintide("config", "check", "--json", "--sample", sampled(tmp_path, change))

    assert told.code == REFUSED
    assert [problem["key"] for problem in told.json["problems"]] == [key]
    assert words in told.json["problems"][0]["reason"]


def test_a_sample_shows_paths_that_find_nothing(twintide: Twintide, tmp_path: Path) -> None:
    """A misspelt name at the end of a path gives nulls, in a list as long as the events'."""
    paths = {"topics": "of[].nmae", "region": "user.regoin", "category": "what.category"}
    write(tmp_path, lambda v: v["events"].update(paths=paths))

    def nested(event: dict[str, Any]) -> None:
        event["of"] = [{"name": topic} for topic in event.pop("topics")]
        event["user"] = {"region": event.pop("region")}
        event["what"] = {"category": event.pop("category")}

    told = twintide("config", "check", "--json", "--sample", sampled(tmp_path, nested))

    hints = {each["key"]: each["hint"] for each in told.json["problems"]}
    assert told.code == REFUSED
    assert set(hints) == {"model.query.region.column", "model.candidate.topics.column"}
    assert "does it lie at user.regoin in the events?" in hints["model.query.region.column"]
    assert "does it lie at of[].nmae" in hints["model.candidate.topics.column"]


@pytest.mark.promise("X3")
def test_what_a_source_of_items_tells_need_not_be_in_the_events(
    twintide: Twintide, tmp_path: Path
) -> None:
    """No event of the sample has a category, and the file of items has one."""
    item_files.write(tmp_path / "items.parquet", item_id=[1, 2], category=[3, 4])
    write(tmp_path, lambda v: v.update(items={"file": "items.parquet"}))
    sample = sampled(tmp_path, lambda event: event.pop("category"))

    done = twintide("config", "check", "--sample", sample)

    assert done.code == 0, done.err
    assert "items.parquet tells category of items; topics is left to clicks" in done.out


def test_a_secret_is_never_said(
    twintide: Twintide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when all is right nor when something is wrong, nor in what the values look like."""
    monkeypatch.setenv("PASSWORD", CANARY)
    monkeypatch.setenv("TOKEN", CANARY)
    path = write(tmp_path, lambda v: (password("PASSWORD")(v), token("TOKEN")(v)))
    said = [
        twintide("config", "check"),
        twintide("config", "check", "--json"),
        twintide("config", "show", "-c", path),
        twintide("config", "show", "-c", path, "--json"),
        twintide("status"),
    ]
    assert [each.code for each in said] == [0] * 5
    monkeypatch.setenv("TOKEN", CANARY[:9])
    said.append(twintide("config", "check"))
    assert said[-1].code == REFUSED

    assert CANARY[:9] not in repr(load(path))
    assert not [each for each in said if CANARY[:9] in each.out + each.err]
