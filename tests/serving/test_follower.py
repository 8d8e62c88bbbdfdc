import shutil
from pathlib import Path

import numpy as np
import pytest

from publisher import registry
from publisher.publish import publish
from publisher.reader import load_version
from serving.follower import Follower
from serving.request import RecommendRequest
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from tests.serving.conftest import follower_of
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Refused, Retryable
from twintide.versions import STATE


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_before_the_first_version_a_follower_says_so(
    deployment: Deployment, clock: HeldClock
) -> None:
    """It answers nothing, and does not end."""
    follower = follower_of(deployment, clock)

    follower.look()

    assert follower.standing.problem == "no version is live"
    with pytest.raises(Retryable, match="no version is live"):
        follower.retriever()


def test_a_server_of_few_items_answers_as_many(two_versions: Deployment, clock: HeldClock) -> None:
    """Who does not say how many gets what there is; and a version is tried with no more."""
    follower = Follower(two_versions.versions_dir, clock=clock, max_k=5, poll_seconds=0.2)
    follower.look()

    assert follower.problem is None
    assert len(follower.retriever().answer(RecommendRequest(user_id=1)).item_ids) == 5
    with pytest.raises(Refused, match="at most 5"):
        follower.retriever().answer(RecommendRequest(user_id=1, k=6))


def test_a_follower_goes_where_the_state_goes(two_versions: Deployment, clock: HeldClock) -> None:
    """The live version at first, the one before after a rollback; what was taken hold of stays."""
    follower = follower_of(two_versions, clock)
    follower.look()
    taken = follower.retriever()

    registry.rollback(two_versions.versions_dir, reason="odd", clock=clock)
    assert follower.retriever() is taken
    follower.look()

    assert (taken.name, follower.retriever().name) == ("v000002", "v000001")
    assert follower.standing.switches == 2
    assert taken.answer(RecommendRequest(user_id=1, k=1)).version == "v000002"


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    "name", ["index.faiss", "manifest.json", "items.parquet", "table.user.weights.npy", "all"]
)
def test_a_damaged_version_never_displaces_a_good_one(
    two_versions: Deployment, clock: HeldClock, name: str
) -> None:
    """The old one goes on answering, the reason is shown, and a repair is found by itself."""
    root = two_versions.versions_dir
    follower = follower_of(two_versions, clock)
    follower.look()
    good = follower.retriever()
    registry.rollback(root, reason="odd", clock=clock)
    backup = shutil.copytree(root / "v000001", root.parent / "backup")
    if name == "all":
        shutil.rmtree(root / "v000001")
    else:
        damage(root / "v000001" / name)

    follower.look()

    assert follower.retriever() is good
    assert follower.standing.problem is not None
    assert "v000001" in follower.standing.problem
    assert follower.standing.failures == 1
    shutil.rmtree(root / "v000001", ignore_errors=True)
    shutil.move(str(backup), root / "v000001")  # noqa: TID251  a repair by hand
    looks = 0
    while follower.standing.problem and looks < 20:
        follower.look()
        looks += 1
    assert follower.retriever().name == "v000001"
    assert 1 < looks < 20


def test_a_version_that_cannot_be_loaded_is_tried_again_ever_more_rarely(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """After 1, 2, 4, ... seconds at a look every 0.2 s; a change of the state is seen at once."""
    root = two_versions.versions_dir
    damage(root / "v000002" / "index.faiss")
    follower = follower_of(two_versions, clock)
    tried_at = []
    for look in range(100):
        failures = follower.standing.failures
        follower.look()
        if follower.standing.failures > failures:
            tried_at.append(look)
    assert tried_at == [0, 5, 15, 35, 75]

    registry.rollback(root, reason="damaged", clock=clock)
    follower.look()

    assert follower.retriever().name == "v000001"
    assert follower.standing.problem is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"current": "v000001"'])
def test_a_damaged_or_missing_state_file_changes_nothing_that_is_served(
    two_versions: Deployment, clock: HeldClock, content: bytes
) -> None:
    """The follower keeps what it has and says what is wrong."""
    follower = follower_of(two_versions, clock)
    follower.look()
    state = two_versions.versions_dir / STATE
    state.write_bytes(content)
    follower.look()
    assert follower.retriever().name == "v000002"
    assert follower.standing.problem is not None

    state.unlink()
    follower.look()

    assert follower.retriever().name == "v000002"
    assert follower.standing.problem == "no version is live"


def test_a_disk_that_refuses_does_not_end_the_follower(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """Whatever the system says of the state file: what is served stays, and the reason is shown."""
    root = two_versions.versions_dir
    follower = follower_of(two_versions, clock)
    follower.look()
    root.rename(root.with_name("elsewhere"))
    root.write_text("a file where the folder was")

    follower.look()

    assert follower.retriever().name == "v000002"
    assert "Not a directory" in str(follower.standing.problem)
    root.unlink()
    root.with_name("elsewhere").rename(root)
    follower.look()
    assert follower.standing.problem is None


@pytest.mark.promise("P2")
def test_hours_that_share_files_with_their_night_answer_as_they_do_alone(
    tmp_path: Path, clock: HeldClock
) -> None:
    """Forth through the hours and back to the night: what was hashed and laid over for one version
    changes no answer of another.
    """
    deployment = made.deployment_at(tmp_path / "data", publishing={"index": "ivf", "nprobe": 8})
    hours.night(deployment, made.item_range(1000, 400))
    publish(deployment, clock=clock, judge=False)
    follower = follower_of(deployment, clock)
    asked = [RecommendRequest(user_id=user, k=20) for user in range(12)]
    alone = {}
    for number in range(3):
        follower.look()
        name = follower.retriever().name
        retriever = Retriever(load_version(deployment.versions_dir, name), clock=clock, max_k=20)
        alone[name] = [retriever.answer(each).to_dict() for each in asked]
        assert [follower.retriever().answer(each).to_dict() for each in asked] == alone[name]
        hours.hour(deployment, np.arange(number, 9), made.item_range(1390, 9 - number))
        publish(deployment, clock=clock, judge=False)

    for name in reversed(alone):
        registry.rollback(deployment.versions_dir, to=name, reason="odd", clock=clock)
        follower.look()
        assert [follower.retriever().answer(each).to_dict() for each in asked] == alone[name]
    assert len({str(each) for each in alone.values()}) == 3
