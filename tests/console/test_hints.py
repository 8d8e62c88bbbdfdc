"""Hints that name a command: each is followed, and leads on.

A case is a real mistake in a real folder. Its command fails; what the hint says to type is typed,
with only its placeholders filled in, and then again what that says, until something is done.
"""

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from streaming.history import take_history
from tests.console.conftest import ROOT, Done, Twintide, stream, write_config
from tests.console.test_status import on_kafka
from twintide.clock import SystemClock
from twintide.config import fill_in, load
from twintide.shards import Ledger

NOW = "2026-03-02T13:00Z"
HAVE_NOW = ("train", "status")
_MOST_STEPS = 3
_FILLED = {
    "FILE": "twintide.yaml",
    "CHECKPOINT": "nightly-000001",
    "VERSION": "v000001",
    "TEXT": "because",
}


@dataclass(frozen=True)
class Hint:
    """A mistake, its hint, and where following that must lead."""

    text: str
    """A part of the hint as the code has it; {} for what is filled in there."""

    state: str
    typed: str
    prepare: Callable[[Twintide, Path], None] = lambda *_: None
    between: Callable[[Path], None] = lambda _: None
    """What a hint says to do besides."""

    arguments: tuple[str, ...] = ()
    """What a person adds to the command that is named in short."""

    shows: str = ""
    """What following it says; where that is empty, what failed must work afterwards."""

    filled: dict[str, str] = field(default_factory=dict)


def trained(twintide: Twintide, _: Path) -> None:
    assert twintide("train", "nightly", "--now", NOW).code == 0


def one_version(twintide: Twintide, path: Path) -> None:
    trained(twintide, path)
    assert twintide("publish").code == 0


def newer(twintide: Twintide, _: Path) -> None:
    assert twintide("train", "hourly", "--now", NOW).code == 0


def held(twintide: Twintide, path: Path) -> None:
    twintide("hold", "--reason", "audit")
    newer(twintide, path)


def rest_of_first_day(twintide: Twintide, path: Path) -> None:
    """An hourly checkpoint without a base, then a nightly."""
    hourly = fill_in(load(path), {"training": {"hourly": {"learns": "everything"}}})
    write_config(hourly, path.parent)
    assert twintide("train", "hourly", "--now", "2026-03-01T12:00Z").code == 0
    assert twintide("train", "nightly", "--now", NOW).code == 0


def without_a_shard(_: Twintide, path: Path) -> None:
    middle_shard(path).unlink()


def with_a_broken_shard(_: Twintide, path: Path) -> None:
    shard = middle_shard(path)
    shard.write_bytes(shard.read_bytes()[:-50])


def middle_shard(path: Path) -> Path:
    deployment = load(path)
    names = [each.path for each in Ledger(deployment.shards_dir, deployment.kafka.topic).names()]
    return sorted(names)[len(names) // 4]


def broken_state(_: Twintide, path: Path) -> None:
    (load(path).versions_dir / "state.json").write_text("{")


def state_moved_away(path: Path) -> None:
    state = load(path).versions_dir / "state.json"
    state.rename(path.parent / "state.json.broken")


def misspelt(_: Twintide, path: Path) -> None:
    path.write_text("kafka:\n  topik: clicks\n")


def no_file(_: Twintide, path: Path) -> None:
    path.unlink()


def clicks_csv(_: Twintide, path: Path) -> None:
    pa_csv.write_csv(stream(load(path), hours=1).drop_columns(["topics"]), "clicks.csv")


def old_events(_: Twintide, path: Path) -> None:
    events = stream(load(path), hours=30)
    at = events.schema.get_field_index("event_at")
    before = events["event_at"].cast(pa.int64()).to_numpy() - 28 * 365 * 86_400_000
    kind = events.schema.field(at)
    pq.write_table(events.set_column(at, kind, pa.array(before).cast(kind.type)), "old.parquet")


def broken_off_history(_: Twintide, path: Path) -> None:
    """All but the last word of it: whole."""
    deployment = load(path)
    pq.write_table(stream(deployment, hours=30), "history.parquet")
    files, clock = Path("history.parquet"), SystemClock()
    whole = take_history(deployment, files, until=None, clock=clock).history
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    ledger.publish_history(whole.model_copy(update={"is_whole": False}))


FOLLOWED = {
    "no configuration": Hint(
        "`twintide config show > twintide.yaml` writes one", "bare", "config check", no_file
    ),
    "a key that is not there": Hint(
        "`twintide config show --defaults` prints", "bare", "status", misspelt, shows="topic:"
    ),
    "no day is complete": Hint(
        "start `twintide ingest -c FILE`, and look at `twintide status -c FILE`",
        "bare",
        f"train nightly --now {NOW}",
        shows="until-caught-up|ingest",
    ),
    "hourly before nightly": Hint(
        "run `twintide train nightly -c FILE` once a day is complete",
        "sharded",
        f"train hourly --now {NOW}",
    ),
    "nothing to publish": Hint("`twintide train nightly -c FILE` makes one", "sharded", "publish"),
    "nothing live to ask": Hint(
        "`twintide publish -c FILE` makes one live", "sharded", "recommend --user-id 7"
    ),
    "learnt already": Hint(
        "`twintide rewind --to CHECKPOINT` goes back",
        "published",
        f"train nightly --date 2026-03-01 --now {NOW}",
        shows="is nightly-000001 anew",
    ),
    "rewind to nothing": Hint(
        "`twintide checkpoints` lists them",
        "published",
        "rewind --to nightly-000009",
        shows="nightly-000001",
    ),
    "unblock what is not": Hint(
        "`twintide blocked -c FILE` lists them", "bare", "unblock 7", shows="nothing is blocked"
    ),
    "leave out what is learnt": Hint(
        "go back further: `twintide checkpoints` says",
        "published",
        "rewind --to nightly-000001 --leave-out 2026-03-01T02:00Z..2026-03-01T05:00Z",
        shows="newest click",
    ),
    "rewind to what has no base": Hint(
        "`twintide rewind --to {}`, or to an hourly",
        "sharded",
        "rewind --to hourly-000001",
        rest_of_first_day,
        shows="is nightly-000002 anew",
    ),
    "on hold": Hint(
        "`twintide release -c {}` lifts the hold",
        "published",
        "publish",
        held,
        shows="allowed again",
    ),
    "not on hold": Hint(
        "`twintide publish -c FILE` promotes the newest checkpoint",
        "published",
        "release",
        newer,
        shows="live",
    ),
    "live already": Hint(
        "`twintide hold -c FILE --reason TEXT` stops automatic promotion",
        "published",
        "rollback --to v000002 --reason slow",
        shows="on hold",
    ),
    "nothing to go back to": Hint(
        "`twintide versions -c FILE` lists them; `rollback --to VERSION` names one",
        "sharded",
        "rollback --reason slow",
        one_version,
        shows="v000001",
    ),
    "back to nothing": Hint(
        "`twintide versions -c FILE` lists them; `rollback --to VERSION` names another",
        "published",
        "rollback --to v000009 --reason slow",
        shows="v000002",
    ),
    "not pinned": Hint(
        "`twintide versions -c FILE` shows which are",
        "published",
        "unpin v000001",
        shows="v000001",
    ),
    "no such version": Hint(
        "`twintide versions` lists them", "published", "show v000009", shows="v000002"
    ),
    "a broken pointer": Hint(
        "`twintide rollback --to VERSION --reason TEXT` then says anew",
        "published",
        "versions",
        broken_state,
        state_moved_away,
    ),
    "an id of another type": Hint(
        "`twintide config show` prints the columns",
        "published",
        "recommend --user-id seven",
        shows="columns:",
    ),
    "a shard is missing": Hint(
        "`twintide verify` lists every breach",
        "sharded",
        f"train nightly --now {NOW}",
        without_a_shard,
        shows="offset",
    ),
    "a shard is broken": Hint(
        "restore it, or `twintide verify`",
        "sharded",
        f"train nightly --now {NOW}",
        with_a_broken_shard,
        shows="cannot be read",
    ),
    "events before 2000": Hint(
        "`twintide evaluate` reads it",
        "bare",
        "replay old.parquet",
        old_events,
        arguments=("old.parquet", "--policy", "popular-1h"),
        shows="popular-1h",
    ),
    "a history that was broken off": Hint(
        "`twintide train backfill --files` with the same files",
        "bare",
        f"train nightly --now {NOW}",
        broken_off_history,
        arguments=("history.parquet", "--from", "2026-03-01"),
        shows="nightly-000001",
    ),
    "events from nowhere": Hint(
        "`twintide config new clicks.csv`, or `twintide config new --topic",
        "bare",
        "config new",
        clicks_csv,
        shows="user: user_id",
    ),
    "a preset of events": Hint(
        "`twintide config new --preset {}` prints it",
        "bare",
        "config new clicks.csv --preset news",
        shows="what was written this morning",
    ),
    "no topic": Hint(
        "`twintide replay` makes it",
        "kafka",
        "ingest --until-caught-up",
        arguments=("clicks.parquet",),
    ),
}

ELSEWHERE = {
    "`twintide broker` starts a local one": "a broker is started by the docs' own test (long)",
    "ingest clicks and train first: `twintide train nightly -c FILE`": "nobody can type this: a "
    "line without an item makes no checkpoint; `train nightly` is followed above",
    "`twintide show {} -c FILE` shows what it found": "tests/publisher: a gate must refuse first",
    "`twintide versions -c FILE` shows what is live": "needs a disk that fails after a rename",
    "`twintide publish -c FILE` makes one": "as `makes one live`, which is followed",
    "`twintide refresh -c FILE` counts, and": "python -m publisher says it, which does not count",
    "`twintide train hourly -c FILE` makes one that is": "of a checkpoint of an older program",
    "`twintide release -c FILE` lifts the hold": "the library's words; `publish` says its own",
    "`twintide versions` lists them all": "the library's words; `publish` never asks for it",
    "`twintide config show` prints what a feature reads": "needs a model with weights in a second "
    "list; `config show` is followed above",
    "`twintide verify`": "a damaged quarantine file; `verify` is followed above",
}
"""Hints that no case follows, and why."""


@pytest.fixture
def kafka_line(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A configuration whose topic is not there, and a data file."""
    deployment = on_kafka(request.getfixturevalue("kafka"), tmp_path)
    own = fill_in(deployment, {"kafka": {"topic": f"{deployment.kafka.topic}-anew"}})
    events = stream(own, hours=1)
    pq.write_table(events, tmp_path / "clicks.parquet")
    return write_config(own, tmp_path)


def fixture_of(state: str) -> str:
    return "kafka_line" if state == "kafka" else state


LONG = {
    *("events before 2000", "no topic", "nothing live to ask"),
    *("on hold", "not on hold", "rewind to what has no base", "a history that was broken off"),
    *("live already", "nothing to go back to", "a broken pointer", "rewind to nothing"),
}
"""They train or evaluate on the way."""


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.long] * (each in LONG)) for each in FOLLOWED]
)
def test_a_hint_that_names_a_command_leads_on(
    twintide: Twintide, request: pytest.FixtureRequest, name: str
) -> None:
    """Typed as it stands, it does its work or says the next thing to type; and in the end what
    failed works, or what was asked is shown.
    """
    case = FOLLOWED[name]
    path: Path = request.getfixturevalue(fixture_of(case.state))
    case.prepare(twintide, path)
    failed = twintide(*shlex.split(case.typed))
    assert re.search(as_pattern(case.text), said(failed)), failed
    case.between(path)

    followed = follow(twintide, failed, case)

    assert re.search(case.shows, said(followed)), followed
    if not case.shows:
        assert followed.code == 0, followed
        again = twintide(*shlex.split(case.typed))
        if again.code:  # what stood in the way of the way is gone; the hint is followed once more
            assert follow(twintide, again, case).code == 0
            again = twintide(*shlex.split(case.typed))
        assert again.code == 0, again


def follow(twintide: Twintide, failed: Done, case: Hint) -> Done:
    """What the last of the commands says, and on the way nothing fails without a next one."""
    for step in range(_MOST_STEPS):
        command = command_in(said(failed), case)
        words = shlex.split(command.partition(">")[0])[1:]
        words += case.arguments if step == 0 else ()
        if words[0] in HAVE_NOW:
            words += ["--now", NOW]
        done = twintide(*words)
        if ">" in command:
            Path(command.partition(">")[2].strip()).write_text(done.out)
        if done.code == 0 or "hint:" not in done.err:
            return done
        failed = done
    return failed


def command_in(text: str, case: Hint) -> str:
    """The last command of the hint: where it names two, the last one shows what came of it."""
    found = re.findall(r"`(twintide [^`]+)`", text.rpartition("hint:")[2])
    assert found, text
    command = found[-1] if "status" in found[-1] else found[0]
    for word, value in {**_FILLED, **case.filled}.items():
        command = re.sub(rf"\b{word}\b", value, command)
    return str(command)


def said(done: Done) -> str:
    return f"{done.out}\n{done.err}"


def as_pattern(text: str) -> str:
    return ".+".join(re.escape(part) for part in text.split("{}"))


def test_every_hint_that_names_a_command_is_followed() -> None:
    """A new one needs a case above, or a reason why none can be."""
    known = [*(each.text for each in FOLLOWED.values()), *ELSEWHERE]

    for where, text in hints():
        assert any(part in text for part in known), f"no test follows the hint of {where}: {text}"


def hints() -> Iterator[tuple[str, str]]:
    """Every hint of the code that names a command, and where it stands."""
    for path in sorted(ROOT.glob("*/*.py")):
        if path.parts[-2] in {"tests", "benchmarks"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for text in hints_at(node):
                if "`twintide " in text:
                    yield f"{path.parent.name}/{path.name}", text


def hints_at(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.keyword) and node.arg == "hint":
        yield text_of(node.value)
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HINT":
        yield text_of(node.value)


def text_of(node: ast.AST) -> str:
    """Of all strings in it; {} for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(each) for each in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{}"
    if isinstance(node, ast.Constant):
        return str(node.value)
    return " ".join(text_of(each) for each in ast.iter_child_nodes(node))
