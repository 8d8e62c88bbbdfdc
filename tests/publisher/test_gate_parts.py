"""The parts of the gate by themselves: values in, values out."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from publisher.gate import exposure, floors, power
from publisher.gate.anchor import best_first
from publisher.gate.difference import chance_of, difference
from publisher.gate.finding import Finding
from publisher.gate.strangers import another_of_each
from publisher.gate.trial import Trial
from publisher.witnesses import MAX_PER_USER, witnesses
from tests.publisher import checkpoint_fixture as made
from twintide.config import GateConfig
from twintide.keys import Keys
from twintide.slices import ITEM_KEY, USER_KEY
from twintide.versions import GateReport, VersionManifest

CONFIG = GateConfig()
NET_LOSSES = [[3, -1, 2], [1, 1, 1, 1], [-2, 2], [5], [0, 0], [1, -1, 4, 4, -2, 1]]


@pytest.mark.parametrize("net", NET_LOSSES, ids=str)
def test_the_chance_of_a_fall_is_that_of_all_signs_tried(net: list[int]) -> None:
    """Exact: the share of all ways to turn users' losses into gains whose sum is as large."""
    signs = itertools.product((1, -1), repeat=len(net))
    sums = [sum(s * n for s, n in zip(each, net, strict=True)) for each in signs]

    expected = np.mean([each >= sum(net) for each in sums])
    assert chance_of(np.array(net)) == pytest.approx(expected)


def test_one_user_is_one_witness() -> None:
    """A hundred lost clicks of one user may be chance; one each of a hundred users are not."""
    live, draft = np.ones(100, np.bool_), np.zeros(100, np.bool_)

    alone = difference(draft, live, np.zeros(100, np.uint64))
    together = difference(draft, live, np.arange(100, dtype=np.uint64))

    assert alone.chance == 0.5
    assert together.chance < 1e-29
    assert (alone.crowding, together.crowding) == (100.0, 1.0)


def test_an_interval_holds_the_change() -> None:
    """Of 400 users of whom a tenth is lost: about a tenth less, and the same at each call."""
    live = np.ones(400, np.bool_)
    draft = np.arange(400) >= 40
    users = np.arange(400, dtype=np.uint64)

    found = difference(draft, live, users)

    assert found == difference(draft, live, users)
    assert -0.13 < found.low < -0.1 < found.high < -0.07
    assert found.fall == pytest.approx(0.1)


def test_a_user_and_an_item_are_heard_once_and_nobody_too_often() -> None:
    """Of a thousand clicks on one item one is left, of many items the newest ten, newest last."""
    users = [1] * 1_000 + [2] * 15 + [3, 1]
    items = [7] * 1_000 + list(range(15)) + [9, 8]
    clicks = pa.table(
        {USER_KEY: pa.array(users, pa.uint64()), ITEM_KEY: pa.array(items, pa.uint64())}
    )

    heard = witnesses(clicks, limit=100)

    assert MAX_PER_USER == 10
    assert heard[USER_KEY].to_pylist() == [1] + [2] * 10 + [3, 1]
    assert heard[ITEM_KEY].to_pylist() == [7, *range(5, 15), 9, 8]
    assert witnesses(clicks, limit=2)[ITEM_KEY].to_pylist() == [9, 8]
    assert len(witnesses(clicks.slice(0, 0), limit=2)) == 0


def test_the_clicks_needed_are_those_that_see_a_fall() -> None:
    """In 9 of 10 trials of so many clicks a fall by 40 % is refused, of a fifth of them seldom."""
    rng = np.random.default_rng(1)
    needed = power.clicks_needed(0.3, changed=0.2, crowding=1.0, fall=0.4, allowed=0.2)

    def refused(clicks: int) -> float:
        found = 0
        for _ in range(200):
            drawn = rng.random(clicks)  # 0.16 lost, 0.04 won, 0.14 found by both
            live, draft = drawn < 0.3, (drawn >= 0.16) & (drawn < 0.34)
            said = difference(draft, live, np.arange(clicks, dtype=np.uint64))
            found += said.chance <= power.MAY_BE_CHANCE and said.draft < 0.8 * said.other
        return found / 200

    assert 0.85 < refused(needed) < 0.99, needed
    assert refused(needed // 5) < 0.4


@pytest.mark.long
def test_equal_versions_are_refused_less_than_once_in_a_hundred() -> None:
    """On 200 clicks of which each finds one in twenty, where chance shows the largest falls."""
    rng = np.random.default_rng(1)
    users = np.arange(200, dtype=np.uint64)
    refused = 0
    for _ in range(1_000):
        draft, live = rng.random((2, 200)) < 0.05
        said = difference(draft, live, users)
        refused += said.chance <= power.MAY_BE_CHANCE and said.draft < 0.8 * said.other
    assert refused < 10


@pytest.mark.parametrize(
    ("recall", "reasons"),
    [(0.02, ["recall@20 is 0.0200 on 2000 clicks"]), (0.05, []), (0.5, [])],
)
def test_a_version_near_chance_is_refused_and_a_weak_one_is_not(
    recall: float, reasons: list[str]
) -> None:
    """Whatever is live, and where nothing is: of 1,000 items a lot finds one click in fifty."""
    hits = np.arange(2_000) < 2_000 * recall
    least = floors.Floors(places=20, chance=0.02, listed=0.2)

    said = floors.against_floors(
        hits, np.arange(2_000, dtype=np.uint64), least, CONFIG, on="2000 clicks"
    )

    assert [each.partition(";")[0] for each in said.reasons] == reasons


@pytest.mark.parametrize(
    ("own", "listed", "refused"), [(0.1, 0.1, 1), (0.12, 0.1, 0), (0.11, 0.1, 0), (0.1, 0.05, 0)]
)
def test_a_version_must_tell_users_apart_or_beat_the_list(
    own: float, listed: float, refused: int
) -> None:
    """Answers to other users find 0.1 of the clicks: an untrained version finds no more."""
    rng = np.random.default_rng(1)
    lot = np.arange(10_000)
    hits, control = rng.permutation(lot < 10_000 * own), rng.permutation(lot < 1_000)
    least = floors.Floors(places=20, chance=0.02, listed=listed)
    users = lot.astype(np.uint64)

    said = floors.against_others_answers(hits, control, users, least, CONFIG, on="clicks")

    assert len(said.reasons) == refused, said


def test_nobody_is_held_against_his_own_answers() -> None:
    """Not where a user's clicks lie half of all clicks apart either."""
    users = np.array([1, 2, 3, 1, 3, 3, 1, 4], np.uint64)

    others = another_of_each(users)

    assert (users[others] != users).all()


def test_a_list_counts_users_and_not_clicks() -> None:
    """A thousand clicks of one user are one."""
    users = np.array([1] * 1_000 + [2, 3, 4, 5], np.uint64)
    items = np.array([7] * 1_000 + [8, 8, 9, 8], np.uint64)

    assert floors.most_clicked(users, items, places=1).tolist() == [8]
    assert floors.places_of(100, 300) == 6
    assert floors.places_of(100, 1_000_000) == 100


def lists(first: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    """Of each user: this item first, then some that nobody else has."""
    rest = 1_000 + np.arange(len(first) * 19).reshape(len(first), 19)
    return np.column_stack([first, rest]).astype(np.uint64)


HARDLY, LIKED, FLOODED = (
    [1] * share + [2] * 50 + list(range(100, 1_050 - share)) for share in (1, 60, 300)
)


@pytest.mark.parametrize(
    ("first", "usual", "clicked", "reasons"),
    [
        ([1] * 90 + [2] * 10, [0.05], HARDLY, 1),
        ([1] * 90 + [2] * 10, [0.05], LIKED, 0),
        ([1] * 90 + [2] * 10, [0.05], FLOODED, 1),
        ([1] * 90 + [2] * 10, [0.7], FLOODED, 0),
        ([1] * 40 + list(range(2, 62)), [0.05], HARDLY, 1),
        ([1] * 40 + list(range(2, 62)), [0.05], FLOODED, 0),
        ([1] * 40 + list(range(2, 62)), [0.2], HARDLY, 0),
        ([1] * 60 + list(range(2, 42)), [0.05, 0.1, 0.2, 0.4], FLOODED, 1),
        ([1] * 100, [0.98], FLOODED, 0),
        ([1] * 100, [0.9], FLOODED, 1),
    ],
    ids=[
        *("few click", "liked", "flood", "usual", "half", "half flood", "half usual", "grows"),
        *("alike before", "not so alike"),
    ],
)
def test_an_item_first_for_everybody_must_be_what_many_click(
    first: list[int], usual: list[float], clicked: list[int], reasons: int
) -> None:
    """And not suddenly a large part of all clicks. What was usual is the median of those before."""
    crowd = exposure.Crowd.of(lists(first), 1)
    heard = [np.array(clicked, np.uint64)]

    said = exposure.crowding(crowd, usual, heard, named="X", items=2_000, config=CONFIG)

    assert len(said.reasons) == reasons, said


@pytest.mark.parametrize(("items", "reasons"), [(20, 0), (2_000, 1)])
def test_ten_items_of_a_small_catalogue_may_have_most_clicks(items: int, reasons: int) -> None:
    """Of 20 items ten have 80 % of the clicks without any flood; of 2,000 these are too many."""
    crowd = exposure.Crowd(10, np.arange(1, 11, dtype=np.uint64), 0.9)
    heard = [np.array([*np.arange(800) % 10 + 1, *np.arange(200) % 10 + 11], np.uint64)]

    said = exposure.crowding(crowd, [0.6], heard, named="X", items=items, config=CONFIG)

    assert len(said.reasons) == reasons, said


def test_few_items_in_all_lists_are_no_coverage() -> None:
    """Ten items that fill the first ten places take all of them."""
    same = np.tile(np.arange(1, 21, dtype=np.uint64), (100, 1))

    assert exposure.Crowd.of(same, 10).share == 1.0
    assert exposure.shown(same) == 10
    assert exposure.coverage(10, 100, CONFIG).reasons
    assert not exposure.coverage(40, 100, CONFIG).reasons


def manifest(name: str, **gate: object) -> VersionManifest:
    checkpoint = made.plain_manifest(made.deployment_at(Path("unused")), "nightly-000001")
    return VersionManifest(
        name=name,
        checkpoint=checkpoint.name,
        kind="nightly",
        base=None,
        day=None,
        position={},
        newest_event_at=datetime(2022, 5, 1, tzinfo=UTC),
        items=1,
        dimension=1,
        index="flat",
        events=checkpoint.events,
        model=checkpoint.model,
        learning_hash="",
        gate=GateReport(passed=True, **gate),  # type: ignore[arg-type]
        files={},
    )


def names(were_live: list[VersionManifest], among: int = 24) -> list[str]:
    return [each.name for each in best_first(were_live, among=among)]


def test_the_best_before_is_found_by_what_each_made_of_the_one_before_it() -> None:
    """Recalls of different hours say nothing beside each other; what was measured side by side
    does. Of equals the newest is asked, and nobody looks behind what an operator answered for.
    """
    rising = manifest("v000002", recall=0.6, live_recall=0.5)
    falling = manifest("v000003", recall=0.9, live_recall=1.0)
    line = [manifest("v000001"), rising, falling, manifest("v000004", recall=0.1, live_recall=0.2)]

    assert names(line) == ["v000002", "v000003", "v000001"]
    assert names([manifest("v000001"), manifest("v000002"), manifest("v000003")])[0] == "v000002"
    assert names(line, among=1) == ["v000003"]
    assert names(line, among=0) == []
    assert names(line[:1]) == []
    answered = manifest("v000003", overruled=True)
    assert names([line[0], rising, answered, line[3]]) == ["v000003"]


def test_a_floor_holds_up_no_version_that_is_better_than_the_live_one() -> None:
    """What is served in its place is worse; its reasons are notes then."""
    clicks = pa.table(
        {USER_KEY: np.arange(1, 41, dtype=np.uint64), ITEM_KEY: np.full(40, 7, np.uint64)}
    )
    finds, misses = np.full((40, 1), 7, np.uint64), np.full((40, 1), 8, np.uint64)
    mostly = np.where(np.arange(40)[:, None] < 38, finds, misses)

    def trial(draft: Keys, live: Keys | None) -> Trial:
        return Trial(clicks, draft, live, None, on="40 clicks")

    assert trial(finds, misses).is_better_than_live()
    assert not trial(finds, finds).is_better_than_live()
    assert not trial(misses, finds).is_better_than_live()
    assert not trial(finds, mostly).is_better_than_live()
    assert not trial(finds, None).is_better_than_live()
    said = Finding(["too few"], ["a note"], {"events": 40}).as_notes("it is better")
    assert (said.reasons, said.notes) == ((), ["too few; it is better", "a note"])
    assert said.figures == {"events": 40}
