"""A server whose index lies in a Milvus."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from publisher.publish import publish
from serving.follower import Follower
from tests.publisher import checkpoint_fixture as made
from tests.publisher.milvus_fixture import milvus_in
from tests.serving.conftest import Client, serving


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
