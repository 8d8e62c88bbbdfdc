"""A version that fails is gone back from, once, whoever finds out; no client can bring it about."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from publisher import registry, samples
from publisher.publish import publish
from publisher.reader import load_version
from serving.answer import Answer
from serving.follower import Follower
from serving.request import RecommendRequest
from serving.retriever import Query, Retriever
from serving.watch import FEWEST, Watch, check_answers
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client, serving
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Refused, Retryable, TwintideError
from twintide.keys import Keys, keys_of
from twintide.model.two_tower import TwoTower
from twintide.ragged import as_ids
from twintide.versions import read_state

SHARE = 0.2
LARGEST = 3.4e38
"""Finite, as the gate asks of rows."""


def key(user: int) -> Keys:
    return keys_of(pa.array([user]))


def overflow(model: TwoTower, rows: npt.NDArray[np.int64]) -> None:
    """Rows of users with which the first layer of the tower adds up to more than there is."""
    table = model.tables["user"]
    first = dict(model.towers.named_parameters())["query.0.weight"].data[
        0, : table.weights.shape[1]
    ]
    table.weights[rows] = LARGEST
    first.copy_(torch.full_like(first, 0.5))


def poisoned(deployment: Deployment, sequence: int) -> list[int]:
    """A checkpoint whose tower cannot compute with the rows of these users; those of the sample
    queries, by which a version is tried, are others.
    """
    items = made.item_range(1000, 300)
    model = made.model_of(deployment, items, seed=sequence)
    version = load_version(deployment.versions_dir, "v000001")
    asked = samples.queries(version.model, version.manifest.events, version.memories)
    sampled = set(as_ids(asked["user"]).keys.tolist())
    users = [user for user in range(made.USERS) if int(key(user)[0]) not in sampled]
    rows = model.tables["user"].rows_of(np.concatenate([key(user) for user in users]))
    overflow(model, rows)
    made.add_checkpoint(deployment, sequence, items=items, model=model)
    return users


@pytest.fixture(scope="module")
def poisoned_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Two good versions, and live a third one that fails most users."""
    deployment = made.deployment_at(tmp_path_factory.mktemp("poisoned") / "data")
    for sequence in (1, 2):
        made.add_checkpoint(deployment, sequence, seed=sequence)
        publish(deployment, clock=made.held_clock())
    users = poisoned(deployment, 3)
    publish(deployment, clock=made.held_clock())
    return deployment.data_dir, users


@pytest.fixture
def users(poisoned_once: tuple[Path, list[int]]) -> list[int]:
    """Whom the live version fails."""
    return poisoned_once[1]


@pytest.fixture
def line(poisoned_once: tuple[Path, list[int]], tmp_path: Path) -> Deployment:
    shutil.copytree(poisoned_once[0], tmp_path / "data")
    return made.deployment_at(tmp_path / "data")


def follower_of(
    deployment: Deployment, clock: HeldClock, *, errors_above: float | None = SHARE
) -> Follower:
    return Follower(
        deployment.versions_dir,
        clock=clock,
        max_k=100,
        poll_seconds=0.2,
        errors_above=errors_above,
    )


def ask(follower: Follower, users: list[int], *, times: int = 1) -> None:
    """As the server counts answers, without HTTP."""
    for user in users * times:
        request = RecommendRequest(user_id=user, k=3)
        try:
            follower.answering().answer(request)
        except TwintideError:
            follower.watch.failed(request)
        else:
            follower.watch.well()


def moves(deployment: Deployment) -> list[tuple[str, str | None]]:
    return [(each.action, each.current) for each in read_state(deployment.versions_dir).history]


PROMOTED = [("promote", "v000001"), ("promote", "v000002"), ("promote", "v000003")]


@pytest.mark.promise("P6")
def test_a_version_that_passed_the_gate_and_fails_requests_is_gone_back_from(
    line: Deployment, clock: HeldClock, users: list[int]
) -> None:
    """Over HTTP: 500 until so many have failed, then the version before; the state says why, and
    promotion is on hold. Metrics and the batch count as well.
    """
    follower = follower_of(line, clock)
    follower.look()
    with serving(follower, clock=clock) as port, Client(port) as client:
        said = [client.recommend(user_id=user, k=3)[0] for user in users[: FEWEST - 3]]
        follower.look()
        early = follower.retriever().name
        asked = {"requests": [{"user_id": user, "k": 3} for user in users[:3]]}
        client.ask("POST", "/v1/recommend/batch", json.dumps(asked).encode())
        follower.look()
        then = [client.recommend(user_id=user, k=3) for user in users[:5]]
        _, metrics = client.ask("GET", "/metrics")
        follower.look()

    assert set(said) == {500}
    assert early == "v000003"
    assert {(status, answer["version"]) for status, answer in then} == {(200, "v000002")}
    state = read_state(line.versions_dir)
    assert (state.current, state.previous) == ("v000002", "v000003")
    assert state.hold is not None
    assert "by itself: 100% of its last 100 answers failed" in state.hold.reason
    assert b"twintide_version_rollbacks_total 1.0" in metrics
    assert follower.problem is None
    assert not publish(line, clock=clock).promoted


@pytest.mark.promise("P6")
def test_servers_that_find_out_at_once_go_back_one_step(
    line: Deployment, clock: HeldClock, users: list[int]
) -> None:
    """All of them serve the version before, and the state has moved once."""
    followers = [follower_of(line, clock) for _ in range(6)]
    for follower in followers:
        follower.look()
        ask(follower, users)
    threads = [threading.Thread(target=follower.look) for follower in followers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for follower in followers:
        follower.look()

    assert {each.retriever().name for each in followers} == {"v000002"}
    assert moves(line) == [*PROMOTED, ("rollback", "v000002")]


def test_what_the_version_before_fails_as_well_is_no_reason(
    line: Deployment, clock: HeldClock, users: list[int]
) -> None:
    """A client that finds a request which breaks any version moves nothing."""
    poisoned(line, 4)
    publish(line, clock=clock)
    follower = follower_of(line, clock)
    follower.look()
    assert follower.retriever().name == "v000004"
    ask(follower, users)
    follower.look()

    assert moves(line) == [*PROMOTED, ("promote", "v000004")]


def test_an_operator_who_goes_back_to_it_is_left_alone(
    line: Deployment, clock: HeldClock, users: list[int]
) -> None:
    """No program goes on stepping back, and none undoes what a person did."""
    registry.rollback(line.versions_dir, reason="a person", clock=clock)
    registry.rollback(line.versions_dir, to="v000003", reason="a person", clock=clock)
    follower = follower_of(line, clock)
    follower.look()
    ask(follower, users)
    follower.look()

    assert follower.retriever().name == "v000003"
    assert len(moves(line)) == len(PROMOTED) + 2
    with pytest.raises(Refused, match="not live by a promotion"):
        registry.roll_back_from(line.versions_dir, "v000003", reason="test", clock=clock)


@pytest.mark.parametrize(
    ("share", "failed", "well"), [(None, 400, 0), (SHARE, FEWEST - 1, 0), (SHARE, 20, 80)]
)
def test_few_failures_are_no_reason(share: float | None, failed: int, well: int) -> None:
    """Nor any where it is switched off."""
    watch = Watch("v000001", above=share)
    for _ in range(failed):
        watch.failed(RecommendRequest(user_id=1))
    for _ in range(well):
        watch.well()

    assert not watch.fails()
    watch.failed(RecommendRequest(user_id=1))
    assert watch.fails() == (share is not None)


def test_a_version_that_begins_to_fail_late_is_found_as_well() -> None:
    """Old answers count less and less."""
    watch = Watch("v000001", above=SHARE)
    failed = 0
    for _ in range(100_000):
        watch.well()
        watch.fails()
    while not watch.fails():
        watch.failed(RecommendRequest(user_id=1))
        failed += 1

    assert failed < 600
    assert len(watch.examples) == 20


@pytest.mark.parametrize("serves", [True, False])
def test_a_version_that_is_damaged_twice_over_is_gone_back_from(
    line: Deployment, clock: HeldClock, *, serves: bool
) -> None:
    """Whether the server has something to answer with meanwhile, or has just started. Not where it
    is switched off, and not at the first failure.
    """
    root = line.versions_dir
    index = root / "v000003" / "index.faiss"
    follower = follower_of(line, clock)
    if serves:
        registry.rollback(root, reason="a person", clock=clock)
        follower.look()
        made.add_checkpoint(line, 4)
        registry.release(root, clock=clock)
        publish(line, clock=clock)
        index = root / "v000004" / "index.faiss"
    before = moves(line)
    data = index.read_bytes()
    index.unlink()
    index.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    follower.look()
    assert moves(line) == before
    off = follower_of(line, clock, errors_above=None)
    for _ in range(10):
        follower.look()
        off.look()

    assert follower.retriever().name == "v000002"
    assert moves(line) == [*before, ("rollback", "v000002")]
    assert follower.standing.problem is None


def test_where_it_cannot_be_recorded_one_server_goes_back_alone(
    line: Deployment, clock: HeldClock, users: list[int]
) -> None:
    """It says so, and goes on where the state goes next."""
    root = line.versions_dir
    follower = follower_of(line, clock)
    follower.look()
    ask(follower, users)
    lock = root / registry.LOCK
    lock.unlink(missing_ok=True)
    lock.mkdir()
    follower.look()
    follower.look()

    assert follower.retriever().name == "v000002"
    assert moves(line) == PROMOTED
    assert "v000003 is live, and is not served" in str(follower.problem)
    lock.rmdir()
    registry.rollback(root, to="v000001", reason="a person", clock=clock)
    follower.look()
    assert (follower.retriever().name, follower.problem) == ("v000001", None)


def test_an_operator_who_makes_it_live_again_is_followed(
    line: Deployment, clock: HeldClock, users: list[int]
) -> None:
    """By the server that went back as by all others: else two versions would be served for good."""
    follower = follower_of(line, clock)
    follower.look()
    ask(follower, users)
    follower.look()
    gone_back_to = follower.retriever().name
    registry.rollback(line.versions_dir, to="v000003", reason="a person", clock=clock)
    follower.look()

    assert gone_back_to == "v000002"
    assert (follower.retriever().name, follower.problem) == ("v000003", None)


class Away(Retriever):
    """Of a version whose index lies in a Milvus that has stopped."""

    def search(self, query: Query) -> Answer:
        """Raises what the index raises."""
        raise Retryable(f"the Milvus cannot be reached, to ask for {query.request.k}")


def test_an_index_that_is_away_says_nothing_of_the_version(
    line: Deployment, clock: HeldClock
) -> None:
    """It is tried again, and nobody goes back from it."""
    version = load_version(line.versions_dir, "v000002")
    with pytest.raises(Retryable, match="Milvus"):
        check_answers(Away(version, clock=clock, max_k=100))


def test_a_version_that_fails_whoever_is_not_known_is_gone_back_from(
    line: Deployment, clock: HeldClock
) -> None:
    """Its sample queries are of users that it knows: the smoke test asks as nobody."""
    items = made.item_range(1000, 300)
    model = made.model_of(line, items)
    overflow(model, np.zeros(1, np.int64))
    made.add_checkpoint(line, 4, items=items, model=model)
    published = publish(line, clock=clock, judge=False)
    follower = follower_of(line, clock)
    for _ in range(10):
        follower.look()

    assert published.promoted
    assert follower.retriever().name == "v000003"
    assert moves(line)[-1] == ("rollback", "v000003")
