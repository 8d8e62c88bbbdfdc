"""What is blocked is gone from answers within seconds, whatever version is live, and stays gone."""

import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from publisher import registry
from publisher.gc import run as collect
from serving.follower import Follower
from serving.request import RecommendRequest, id_from_text
from serving.server import recommend
from tests.serving.conftest import Client, follower_of, serving
from tests.serving.test_rollback_under_load import wait_until
from twintide.blocklist import BLOCKED, Blocklist, block, read_blocklist, unblock
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused, Retryable
from twintide.keys import keys_of


def answered(follower: Follower, k: int = 250) -> set[int | str]:
    return set(follower.retriever().answer(RecommendRequest(user_id=4, k=k)).item_ids)


@pytest.mark.promise("P12")
def test_a_blocked_item_is_gone_by_the_next_look(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """Without a publish; one who asks for it by `k` alone gets the next best, and when it is
    unblocked it is back.
    """
    root, follower = two_versions.versions_dir, follower_of(two_versions, clock)
    follower.look()
    before = follower.retriever().answer(RecommendRequest(user_id=4, k=4)).item_ids

    block(root, before[:2], reason="withdrawn", clock=clock)
    follower.look()
    assert follower.retriever().answer(RecommendRequest(user_id=4, k=2)).item_ids == before[2:]
    excluding = RecommendRequest(user_id=4, k=1, exclude=[before[2]])
    assert follower.retriever().answer(excluding).item_ids == before[3:]

    unblock(root, before[:1])
    follower.look()
    assert follower.retriever().answer(RecommendRequest(user_id=4, k=3)).item_ids == [
        before[0],
        *before[2:],
    ]


@pytest.mark.promise("P12")
def test_no_version_brings_a_blocked_item_back(two_versions: Deployment, clock: HeldClock) -> None:
    """One that is rolled back to, a server that starts later, one answer of the command, gc."""
    root, follower = two_versions.versions_dir, follower_of(two_versions, clock)
    follower.look()
    block(root, [1007, 5007], reason="withdrawn", clock=clock)
    follower.look()
    assert 5007 not in answered(follower)

    registry.rollback(root, reason="odd", clock=clock)
    follower.look()
    collect(two_versions, dry_run=False)
    later = follower_of(two_versions, clock)
    later.look()

    assert answered(later) == answered(follower)
    assert 1007 not in answered(follower, k=1000)
    assert len(answered(follower, k=1000)) == 299
    assert 1007 not in recommend(two_versions, user_id="4", k=300, clock=clock).item_ids


def test_while_the_list_cannot_be_read_what_was_blocked_stays_so(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """The server says that it cannot read it; one that starts then answers nothing, since it
    cannot know.
    """
    root, follower = two_versions.versions_dir, follower_of(two_versions, clock)
    block(root, [5007], reason="withdrawn", clock=clock)
    follower.look()
    sound = (root / BLOCKED).read_bytes()
    (root / BLOCKED).write_bytes(sound.replace(b"5007", b"5008"))
    follower.look()
    later = follower_of(two_versions, clock)
    later.look()

    assert follower.problem is not None
    assert BLOCKED in follower.problem
    assert 5007 not in answered(follower, k=1000)
    assert 5008 in answered(follower, k=1000)
    with pytest.raises(Retryable, match=r"what is blocked.*blocked\.json"):
        later.retriever()

    (root / BLOCKED).write_bytes(sound)
    for each in (follower, later):
        each.look()
        assert each.problem is None or each is later
        assert 5007 not in answered(each, k=1000)


def test_metrics_count_what_is_blocked(two_versions: Deployment, clock: HeldClock) -> None:
    """As soon as it is."""
    follower = follower_of(two_versions, clock)
    block(two_versions.versions_dir, [5007, 99], reason="withdrawn", clock=clock)
    follower.look()

    with serving(follower, clock=clock) as port, Client(port) as client:
        _, body = client.ask("GET", "/metrics")

    assert b"twintide_blocked_items 2.0" in body
    assert b"twintide_blocklist_problem 0.0" in body


def test_ids_are_blocked_as_the_events_have_them(tmp_path: Path, clock: HeldClock) -> None:
    """Numbers and texts, each with its oldest reason; what is not blocked cannot be let go."""
    block(tmp_path, [7, "seven"], reason="a", clock=clock)
    after = block(tmp_path, ["seven", 8, 8], reason="b", clock=clock)

    assert [(each.item, each.reason) for each in after.items] == [
        (7, "a"),
        ("seven", "a"),
        (8, "b"),
    ]
    assert after == read_blocklist(tmp_path)
    expected = np.concatenate(
        [keys_of(pa.array([7])), keys_of(pa.array(["seven"])), keys_of(pa.array([8]))]
    )
    assert np.array_equal(after.keys(), expected)
    with pytest.raises(Refused, match="not blocked: 9"):
        unblock(tmp_path, [7, 9])
    with pytest.raises(Refused, match="reason"):
        block(tmp_path, [9], reason=" ", clock=clock)
    (tmp_path / BLOCKED).write_bytes(b"{}")
    with pytest.raises(Corrupt):
        read_blocklist(tmp_path)


def test_a_list_that_makes_no_keys_keeps_no_version_from_being_followed(
    two_versions: Deployment, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it: a rollback is followed, and what was blocked stays so."""
    root = two_versions.versions_dir
    follower = Follower(root, clock=clock, max_k=1000, poll_seconds=0.1)
    follower.look()
    first = follower.retriever().name
    monkeypatch.setattr(Blocklist, "keys", lambda _: np.array([2**70], np.uint64))
    block(root, [1], reason="anything", clock=clock)
    registry.rollback(root, reason="worse", clock=clock)

    follower.look()

    assert follower.retriever().name != first
    assert follower.blocked.problem is not None


@pytest.mark.parametrize("item", [2**63, -(2**63) - 1, 10**20])
def test_an_id_that_no_event_can_have_is_not_blocked(
    two_versions: Deployment, clock: HeldClock, item: int
) -> None:
    """Nothing of it is written."""
    with pytest.raises((Refused, ValidationError)):
        block(two_versions.versions_dir, [item], reason="anything", clock=clock)
    assert read_blocklist(two_versions.versions_dir).items == ()


@pytest.mark.parametrize("text", ["1_0", " 7 ", "9" * 20, str(2**63), "\u0667", "7.0", ""])
def test_an_id_is_typed_as_a_whole_number_of_64_bits(two_versions: Deployment, text: str) -> None:
    """Where its column holds these."""
    events = two_versions.events
    with pytest.raises(Refused):
        id_from_text(text, events, events.item, what="an item id")


def test_a_list_that_has_gone_still_counts(two_versions: Deployment, clock: HeldClock) -> None:
    """Nothing deletes it: a disk that went away must not bring back what is against the law."""
    root, follower = two_versions.versions_dir, follower_of(two_versions, clock)
    follower.look()
    assert follower.problem is None
    block(root, [5007], reason="withdrawn", clock=clock)
    follower.look()
    elsewhere = (root / BLOCKED).rename(root.parent / BLOCKED)
    follower.look()

    assert "has gone" in str(follower.problem)
    assert 5007 not in answered(follower, k=1000)
    anew = follower_of(two_versions, clock)
    anew.look()
    assert not anew.is_ready
    assert "has gone" in str(anew.problem)
    elsewhere.rename(root / BLOCKED)
    follower.look()
    anew.look()
    assert follower.problem is anew.problem is None
    assert 5007 not in answered(anew, k=1000)


def test_a_list_that_has_gone_is_begun_anew_by_who_blocks_again(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """Servers that were started meanwhile answer from then on; a refusal leaves a list too."""
    root = two_versions.versions_dir
    with pytest.raises(Refused, match="not blocked"):
        unblock(root, [5007])
    assert not read_blocklist(root).items
    (root / BLOCKED).unlink()
    with pytest.raises(Corrupt, match="has gone"):
        read_blocklist(root)
    block(root, [5008], reason="withdrawn", clock=clock)

    follower = follower_of(two_versions, clock)
    follower.look()
    assert 5008 not in answered(follower, k=1000)


class HeldUp(HeldClock):
    """Whoever asks it in a thread of its name is held up."""

    def __init__(self, clock: HeldClock) -> None:
        super().__init__(clock.now())
        self.is_asked, self.goes_on = threading.Event(), threading.Event()

    def now(self) -> datetime:
        if threading.current_thread().name == "held up":
            self.is_asked.set()
            self.goes_on.wait(60)
        return super().now()


@pytest.mark.promise("P12")
def test_an_item_is_gone_while_a_version_is_loaded(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """However long that takes; and the version that comes up then does not hold it either."""
    held_up = HeldUp(clock)
    root, follower = two_versions.versions_dir, follower_of(two_versions, held_up)
    follower.look()
    registry.rollback(root, reason="odd", clock=clock)
    runs = threading.Thread(target=follower.run, name="held up")
    runs.start()
    try:
        assert held_up.is_asked.wait(20)  # it is loaded, and not yet in place
        block(root, [1007, 5007], reason="withdrawn", clock=clock)
        wait_until(lambda: 5007 not in answered(follower, k=1000), seconds=20)
        assert follower.retriever().name == "v000002"
        held_up.goes_on.set()
        wait_until(lambda: follower.retriever().name == "v000001", seconds=20)
    finally:
        held_up.goes_on.set()
        follower.stop()
        runs.join()

    assert 1007 not in answered(follower, k=1000)
