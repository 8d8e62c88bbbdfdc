"""A server whose index lies in a Milvus."""

import signal
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from publisher.publish import publish
from serving import app
from serving.answer import Answer
from serving.follower import Follower
from serving.retriever import Query, Retriever
from tests.publisher import checkpoint_fixture as made
from tests.publisher.milvus_fixture import milvus_in
from tests.serving.conftest import Client, serving
from tests.serving.test_connections import ASK, connected


class Hanging(Retriever):
    """Of a version whose index does not answer for a while."""

    def __init__(self, of: Retriever) -> None:
        super().__init__(of.version, clock=made.held_clock(), max_k=100)
        self.goes_on = threading.Event()
        self.asked: list[object] = []

    def search(self, query: Query) -> Answer:
        """When it goes on."""
        self.asked.append(query.request.user_id)
        self.goes_on.wait(20)
        return super().search(query)


class Elsewhere(Follower):
    """Of an index that others must not wait for."""

    hanging: Hanging

    @property
    def waits(self) -> bool:
        """Whether an answer waits for another machine."""
        return True

    def answering(self) -> Hanging:
        """What hangs."""
        return self.hanging


def test_an_index_that_hangs_is_not_asked_for_those_who_have_left(
    data_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many wait in vain as may wait at once; the others who have hung up meanwhile cost nothing
    when it goes on.
    """
    monkeypatch.setattr(app, "WAITING", 1)
    clock, root = made.held_clock(), made.deployment_at(data_once).versions_dir
    follower = Elsewhere(root, clock=clock, max_k=100, poll_seconds=1.0)
    follower.look()
    hanging = follower.hanging = Hanging(follower.retriever())
    body = b'{"user_id": 4, "k": 1}'
    with (
        serving(follower, clock=clock) as port,
        connected(port, 1, saying=ASK % (len(body), body)) as (first,),
        Client(port) as other,
    ):
        while not hanging.asked:
            other.get("/livez")
        with connected(port, 10, saying=ASK % (len(body), body)) as leaving:
            other.get("/livez")
            for one in leaving:  # with a reset: who only says no more may still want an answer
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(3):
            other.get("/livez")
        hanging.goes_on.set()
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        assert other.recommend(user_id=5, k=1)[0] == 200

    assert hanging.asked == [4, 5]


@pytest.mark.long
def test_while_one_answer_waits_for_its_index_others_are_given(tmp_path: Path) -> None:
    """Milvus is stopped in the middle of a request and goes on later; once it is away, the server
    says so and keeps its version.
    """
    clock = made.held_clock()
    with milvus_in(tmp_path / "milvus.db") as milvus, ThreadPoolExecutor(1) as beside:
        own = {"uri": milvus.uri, "prefix": "served", "timeout_seconds": 30.0}
        deployment = made.deployment_at(tmp_path / "data", publishing={"milvus": own})
        made.add_checkpoint(deployment, 1, items=made.item_range(0, 200))
        publish(deployment, clock=clock, judge=False)
        follower = Follower(deployment.versions_dir, clock=clock, max_k=100, poll_seconds=0.05)
        follower.look()
        with serving(follower, clock=clock) as port, Client(port) as one, Client(port) as other:
            assert milvus.process is not None
            assert one.recommend(user_id=1, k=5)[0] == 200
            milvus.process.send_signal(signal.SIGSTOP)
            waiting = beside.submit(one.recommend, user_id=1, k=5)
            for _ in range(50):
                assert other.ask("GET", "/livez")[0] == 200
            assert not waiting.done()
            milvus.process.send_signal(signal.SIGCONT)
            status, answer = waiting.result(60)
            assert (status, len(answer["items"])) == (200, 5)
            milvus.stop()

            status, answer = other.recommend(user_id=1, k=5)

            assert status == 503
            assert milvus.uri in str(answer)
            assert other.get("/v1/version")[1]["version"] == "v000001"
            milvus.start()
            assert other.recommend(user_id=1, k=5)[0] == 200
