"""What a user's last events said stands in for what a request leaves out, and for nothing else."""

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from serving.answer import Answer
from serving.request import parse_request
from serving.retriever import Retriever
from streaming.offline import write_shards
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from twintide.checkpoints import open_checkpoint
from twintide.clock import HeldClock
from twintide.declaration import problems_of
from twintide.derived.told import ToldByUsers
from twintide.keys import keys_of
from twintide.ragged import Encoded, Ids, Numbers, one_id_each, take

COLUMNS = {"model": {"state": {"user_columns": ["region"]}}}
CLICK = {"column": "watch_seconds", "equals": None, "at_least": 0.0}
"""Every event is one."""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A night and an hour of a world in which user n is of region n % 4, and from the second day on
    one of five says another one, or none.
    """
    deployment = deployment_in(
        tmp_path_factory.mktemp("told"), COLUMNS | {"events": {"positive": CLICK}}
    )
    stream = small_stream(deployment, days=2)
    users = stream["user_id"].to_numpy()
    is_late = np.arange(len(users)) >= len(users) // 2
    regions = np.where(is_late & (users % 5 == 1), 9, users % 4)
    silent = pa.array(is_late & (users % 5 == 2))
    said = pa.compute.if_else(silent, None, pa.array(regions)).cast(stream["region"].type)
    stream = stream.set_column(stream.column_names.index("region"), "region", said)
    write_shards(deployment, stream, partitions=2, complete_until=at(2, 1))
    made = Line(deployment)
    made.night(0)
    made.hour(1, 12)
    publish(deployment, clock=HeldClock(at(1, 12)), judge=False)
    return made


@pytest.fixture(scope="module")
def version(line: Line) -> LoadedVersion:
    return load_version(line.deployment.versions_dir, "v000001")


@pytest.fixture(scope="module")
def retriever(version: LoadedVersion) -> Retriever:
    return Retriever(version, clock=HeldClock(at(1, 12)), max_k=100)


def last_said(line: Line) -> dict[int, int]:
    """By user, out of the slices' own shards: what the last event that had a region said."""
    stored = open_checkpoint(line.deployment.checkpoints_dir, "hourly-000002")
    state = stored.state(line.deployment.model)
    users = np.arange(300)
    said = state.told.of(keys_of(pa.array(users)))["region"]
    assert isinstance(said, Ids)
    regions = {int(keys_of(pa.array([region]))[0]): region for region in (0, 1, 2, 3, 9)}
    lists = (said.keys[b:e].tolist() for b, e in pairwise(said.offsets))
    return {int(u): regions[keys[0]] for u, keys in zip(users, lists, strict=True) if keys}


def answer_of(retriever: Retriever, **request: Any) -> Answer:
    return retriever.answer(parse_request(json.dumps({"k": 20} | request).encode()))


def test_a_request_that_leaves_a_column_out_is_answered_with_what_the_user_said(
    line: Line, retriever: Retriever
) -> None:
    """The same answer, to the last digit, as if the request had said it; and one that says it
    otherwise, or says null, is answered by what it says.
    """
    said = last_said(line)
    assert {0, 1, 2, 3, 9} == set(said.values())
    assert all(region in (user % 4, 9 if user % 5 == 1 else None) for user, region in said.items())
    differs = 0
    for user in list(said)[:25]:
        plain = answer_of(retriever, user_id=user)
        assert plain == answer_of(retriever, user_id=user, features={"region": said[user]})
        other = answer_of(retriever, user_id=user, features={"region": None})
        differs += other != plain
        assert other == answer_of(retriever, user_id=user, features={"region": 77})
    assert differs > 10


@pytest.mark.long
def test_an_answer_says_what_was_remembered_where_it_is_asked_why(
    line: Line, retriever: Retriever
) -> None:
    """Nothing where the request says it itself, or nobody knows."""
    user = next(iter(last_said(line)))
    told = answer_of(retriever, user_id=user, explain=True).to_dict()
    own = answer_of(retriever, user_id=user, explain=True, features={"region": 1}).to_dict()
    stranger = answer_of(retriever, user_id=999_999, explain=True).to_dict()

    assert (told["remembered"], own["remembered"], stranger["remembered"]) == (["region"], [], [])
    assert not stranger["known_user"]
    assert "remembered" not in answer_of(retriever, user_id=user).to_dict()


@pytest.mark.long
def test_an_hour_writes_what_its_users_said_and_no_more(line: Line) -> None:
    """The base is the night's file, under a second name, in the checkpoint and in the version."""
    folders = line.deployment.checkpoints_dir, line.deployment.versions_dir
    paths = [
        folders[0] / "nightly-000001",
        folders[0] / "hourly-000002",
        folders[1] / "v000001",
    ]
    bases = [
        {each.name: each.stat().st_ino for each in path.glob("state.told*.npy")} for path in paths
    ]
    assert bases[0] == bases[1]
    assert bases[2].items() <= bases[1].items()
    assert bases[2]
    assert "state.told.keys.npy" not in bases[2]
    assert list(paths[2].glob("state.told*.delta"))


def streams(seed: int) -> Iterator[tuple[Any, Encoded]]:
    """Users, and what their events say: ids, lists and numbers, each of them missing at times."""
    rng = np.random.default_rng(seed)
    users = keys_of(pa.array(rng.integers(0, 30, 400)))
    users[rng.random(400) < 0.1] = 0
    lengths = rng.integers(0, 3, 400)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    numbers = rng.random((400, 1)).astype(np.float32) * (rng.random((400, 1)) < 0.7)
    yield (
        users,
        {
            "region": one_id_each(rng.integers(0, 4, 400).astype(np.uint64)),
            "tags": Ids(rng.integers(1, 9, offsets[-1]).astype(np.uint64), offsets),
            "age": Numbers(numbers),
        },
    )


@pytest.mark.promise("T11")
@pytest.mark.parametrize("seed", range(3))
def test_what_users_said_is_what_a_plain_loop_finds_however_it_was_taken_in(
    tmp_path: Path, seed: int
) -> None:
    """Event by event, in pieces or at once."""
    query = [
        {"kind": "sparse", "name": "region", "column": "region", "table": "region"},
        {"kind": "varlen", "name": "tags", "column": "topics", "table": "topic"},
        {"kind": "dense", "name": "age", "column": "watch_seconds"},
    ]
    columns = {"state": {"user_columns": ["region", "topics", "watch_seconds"]}}
    model = deployment_in(tmp_path, {"model": {"query": query} | columns}).model
    ((users, encoded),) = streams(seed)
    plain: dict[int, dict[str, Any]] = {}
    for n, user in enumerate(users.tolist()):
        for name, rows in encoded.items():
            own = rows.take(np.array([n]))
            value = own.keys.tolist() if isinstance(own, Ids) else own.values[0].tolist()
            if user and any(value):
                plain.setdefault(user, {})[name] = value
    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(np.arange(1, 400), 9, replace=False)).tolist()
    every: tuple[Iterable[int], ...] = ((), range(1, 400), some)
    for cuts in every:
        told = ToldByUsers.empty(model.told_by_users())
        for begin, end in pairwise([0, *cuts, 400]):
            between = np.arange(begin, end)
            told.add(users[between], take(encoded, between))
        for user, wanted in plain.items():
            found = told.of(np.array([user], np.uint64))
            for name, rows in found.items():
                value = rows.keys if isinstance(rows, Ids) else rows.values[0]
                assert value.tolist() == wanted.get(name, [0] * (name == "age"))


def test_a_column_that_no_feature_reads_alone_is_refused(tmp_path: Path) -> None:
    """By name: of a user's id nothing is remembered, nor of what the tower is not told."""
    deployment = deployment_in(tmp_path)
    for column in ("user_id", "liked", "nowhere"):
        state = deployment.model.state.model_copy(update={"user_columns": (column,)})
        model = deployment.model.model_copy(update={"state": state})
        found = list(problems_of({"events": deployment.events, "model": model}))
        assert [each.key for each in found] == ["model.state.user_columns"]
