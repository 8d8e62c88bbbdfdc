"""A version of the same weights, with the statistics, histories and items of now."""

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from publisher import gc, registry
from publisher.audit import verify
from publisher.drafting import drafted_of_count
from publisher.gate import judge_refreshed
from publisher.judging import evidence_on, rivals_of
from publisher.publish import Published, publish
from publisher.reader import LoadedVersion, load_version
from publisher.refresh import refresh
from streaming.offline import write_shards
from tests.serving.conftest import Client, follower_of, serving
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from tests.twintide import item_files as files
from trainer.counting import count
from trainer.hourly import hourly
from trainer.rebuild import rebuild
from trainer.schedule import Rings
from twintide.checkpoints import list_checkpoints
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment, fill_in
from twintide.counted import count_names, newest_count
from twintide.errors import Refused
from twintide.files import remove_folder
from twintide.keys import keys_of
from twintide.verified import Verified
from twintide.versions import (
    read_state,
    version_names,
    was_rolled_back_from,
)

NOON = at(1, 12)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night, two hours, and a live version of each hour; nobody writes to it."""
    deployment = deployment_in(tmp_path_factory.mktemp("refreshed") / "data")
    stream = small_stream(deployment, days=2)
    write_shards(deployment, stream, partitions=2, complete_until=at(2, 1))
    line = Line(deployment)
    line.night(0)
    for hour in (1, 2):
        line.hour(1, hour)
        publish(deployment, clock=HeldClock(at(1, hour)), judge=False)
    return deployment.data_dir


@pytest.fixture
def deployment(once: Path, tmp_path: Path) -> Deployment:
    shutil.copytree(once, tmp_path / "data")
    return deployment_in(tmp_path / "data")


def refreshed(deployment: Deployment, now: datetime) -> Published:
    count(deployment, clock=HeldClock(now))
    return refresh(deployment, clock=HeldClock(now))


def live(deployment: Deployment) -> LoadedVersion:
    state = read_state(deployment.versions_dir)
    return load_version(deployment.versions_dir, state.current or "")


def clicks_between(deployment: Deployment, since: datetime, until: datetime) -> pa.Table:
    stream = small_stream(deployment, days=2)
    at_ms = stream["event_at"].cast(pa.int64()).to_numpy()
    of_then = (at_ms >= to_unix_ms(since)) & (at_ms < to_unix_ms(until))
    return stream.filter(pa.array(of_then & stream["clicked"].to_numpy()))


def test_a_refresh_serves_the_clicks_of_now_by_the_weights_of_the_last_pass(
    deployment: Deployment,
) -> None:
    """Between hours every user's last click is remembered and items clicked first can be answered,
    while dense weights and rows stay those of the checkpoint.
    """
    before = live(deployment)
    done = refreshed(deployment, at(1, 2, 40))
    after = live(deployment)
    new = clicks_between(deployment, at(1, 2), at(1, 2, 40))

    assert done.promoted
    assert after.manifest.refreshes == before.name
    assert after.manifest.position == before.manifest.position
    assert after.manifest.newest_event_at == before.manifest.newest_event_at
    assert after.manifest.counted is not None
    assert after.manifest.counted.as_of == at(1, 2, 40)
    assert after.manifest.knows_of != before.manifest.position
    users = keys_of(new["user_id"])
    last = dict(zip(users.tolist(), keys_of(new["item_id"]).tolist(), strict=True))
    moment = np.full(len(last), to_unix_ms(at(1, 2, 40)))
    found = after.remembered(np.array([*last], np.uint64), moment)["history"]
    newest = found.keys[found.offsets[1:] - 1]  # type: ignore[union-attr]
    assert newest.tolist() == [*last.values()]
    assert set(keys_of(new["item_id"]).tolist()) <= set(after.item_keys.tolist())
    one, other = (each.model.looked_up("item") for each in (before, after))
    known = one.known
    assert np.array_equal(one.take(one.rows_of(known)), other.take(other.rows_of(known)))


def test_the_scheduler_refreshes_and_a_server_answers_by_it(deployment: Deployment) -> None:
    """Real shards, rings, files and HTTP: between passes a ring counts and refreshes, the server
    takes the version up and names both how far it has learnt and counted, and a click of a minute
    ago changes an answer; the ring of the hour learns, publishes and refreshes at once.
    """
    clock = HeldClock(at(1, 2, 1))
    rings = Rings(
        deployment,
        clock,
        lambda: publish(deployment, clock=clock, judge=False),
        refresh=lambda: refresh(deployment, clock=clock),
    )
    follower = follower_of(deployment, clock)
    follower.look()
    user = clicks_between(deployment, at(1, 2, 20), at(1, 2, 40))["user_id"][0].as_py()
    with serving(follower, clock=clock) as port, Client(port) as client:
        before = client.recommend(user_id=user, k=50)[1]
        clock.move_to(at(1, 2, 40))
        rings.statistics()
        follower.look()
        after, told = client.recommend(user_id=user, k=50)[1], client.get("/v1/version")[1]

        assert [made.name for made in list_checkpoints(deployment.checkpoints_dir)][-1] == (
            "hourly-000003"
        )
        assert (before["version"], after["version"]) == ("v000002", "v000003")
        assert before["items"] != after["items"]
        assert told["checkpoint"] == "hourly-000003"
        assert told["newest_event_at"] < "2026-03-02T02:00" < told["newest_counted_at"]

        clock.move_to(at(1, 4, 1))
        rings.hourly()
        follower.look()
        told = client.get("/v1/version")[1]

    assert told["checkpoint"] == "hourly-000004"
    assert told["newest_event_at"] < "2026-03-02T03:40" < told["newest_counted_at"]
    assert [made.action for made in read_state(deployment.versions_dir).history][-2:] == [
        "promote",
        "refresh",
    ]
    assert (
        rings.metrics.standing == "not ready: starts"
    )  # nothing failed, and no bell was looked at


@pytest.mark.promise("P5")
def test_a_rollback_goes_back_to_other_weights_and_holds_refreshes(deployment: Deployment) -> None:
    """However often statistics were refreshed, what was live before is the hour before; and what an
    operator went back to stays as it is.
    """
    for minute in (20, 40):
        assert refreshed(deployment, at(1, 2, minute)).promoted
    root = deployment.versions_dir

    state = registry.rollback(root, reason="worse", clock=HeldClock(NOON))

    assert state.current == "v000001"
    assert [was_rolled_back_from(state, f"v00000{n}") for n in (1, 2, 4)] == [False, True, True]
    held = refreshed(deployment, at(1, 2, 59))
    assert not held.promoted
    assert "hold" in held.why
    registry.release(root, clock=HeldClock(NOON))
    again = publish(deployment, clock=HeldClock(NOON), judge=False)
    assert not again.promoted
    assert "rolled back" in again.why


@pytest.mark.promise("P8")
def test_refreshes_push_no_version_out(deployment: Deployment) -> None:
    """Of an hour of refreshes the newest three stay, and every version that was judged; of counts
    those of the live checkpoint.
    """
    few = fill_in(deployment, {"publishing": {"keep_versions": 2}})
    for minute in range(0, 60, 10):
        refreshed(few, at(1, 2, minute))
    gc.run(few)

    names = version_names(few.versions_dir)
    assert names[:2] == ["v000001", "v000002"]
    assert len(names) == 2 + gc.KEPT_WHILE_LOADED
    assert read_state(few.versions_dir).current == names[-1]
    assert len(read_state(few.versions_dir).history) == 3
    assert all(each.startswith("count-hourly-000003.") for each in count_names(few.checkpoints_dir))


def test_publishing_again_does_not_take_a_refresh_back(deployment: Deployment) -> None:
    """The checkpoint is live already, in what was refreshed of it; the next hour goes on."""
    refreshed(deployment, at(1, 2, 40))
    current = read_state(deployment.versions_dir).current

    again = publish(deployment, clock=HeldClock(at(1, 2, 41)), judge=False)

    assert not again.promoted
    assert "nothing new" in again.why
    assert read_state(deployment.versions_dir).current == current
    hourly(deployment, clock=HeldClock(at(1, 4)))
    assert publish(deployment, clock=HeldClock(at(1, 4)), judge=False).promoted


@pytest.mark.promise("T9")
@pytest.mark.promise("P7")
def test_the_next_hour_is_judged_beside_what_has_counted_none_of_the_clicks(
    deployment: Deployment,
) -> None:
    """A refresh has counted the clicks that the next version is judged on: so the version that it
    refreshes is asked, on as many clicks as without any refresh.
    """
    refreshed(deployment, at(1, 4))
    hourly(deployment, clock=HeldClock(at(1, 4)))
    own = list_checkpoints(deployment.checkpoints_dir)[-1]
    state = read_state(deployment.versions_dir)

    rivals, _ = rivals_of(deployment, own, state, verified=Verified())
    evidence = evidence_on(deployment, own, rivals)

    assert state.current == "v000003"
    assert rivals.live is not None
    assert rivals.live.name == "v000002"
    assert rivals.live.manifest.counted is None
    assert len(evidence.unlearnt) > 10
    of_refresh = replace(rivals, live=live(deployment))
    assert len(evidence_on(deployment, own, of_refresh).unlearnt) == 0


def test_a_version_that_cannot_be_right_is_not_served(deployment: Deployment) -> None:
    """One whose items are half of those of the live version is refused, and the live one stays."""
    count(deployment, clock=HeldClock(at(1, 2, 40)))
    before = live(deployment)
    found = newest_count(deployment.checkpoints_dir, before.manifest.checkpoint)
    assert found is not None
    draft = drafted_of_count(
        deployment, found, None, refreshed=before.manifest, verified=Verified()
    )
    broken = draft.vectors.copy()
    broken[3] = np.nan
    nan = replace(draft, indexed=replace(draft.indexed, vectors=broken))
    fewer = replace(draft, catalogue_items=draft.catalogue_items // 2)
    newest_at = at(1, 2) - timedelta(hours=1)
    counted = found.counted.model_copy(update={"newest_event_at": newest_at})
    older = replace(draft, counted=counted)

    config = deployment.publishing.gate
    assert judge_refreshed(draft, before.manifest, config).passed
    for wrong, why in ((nan, "not finite"), (fewer, "items"), (older, "newest click")):
        report = judge_refreshed(wrong, before.manifest, config)
        assert not report.passed
        assert why in report.reasons[0]


def test_nothing_is_refreshed_without_a_count_or_twice(deployment: Deployment) -> None:
    """What to do is said; the same count twice is one version."""
    with pytest.raises(Refused, match="nothing was counted"):
        refresh(deployment, clock=HeldClock(NOON))
    assert refreshed(deployment, at(1, 2, 40)).promoted

    again = refresh(deployment, clock=HeldClock(at(1, 2, 41)))

    assert not again.promoted
    assert "nothing new" in again.why


@pytest.mark.promise("T10")
def test_a_refresh_is_made_again_from_its_lineage(deployment: Deployment, tmp_path: Path) -> None:
    """Its checkpoint learnt anew and the same shards counted to the same instants: manifest and
    every file, to the byte, without the counts that it was made of.
    """
    again = copied(deployment, tmp_path / "again")
    for minute in (20, 40):
        refreshed(deployment, at(1, 2, minute))
    for name in ("nightly-000001", "hourly-000002", "hourly-000003"):
        remove_folder(again.checkpoints_dir / name)
        rebuild(deployment, name, into=again.checkpoints_dir)

    for minute in (20, 40):
        refreshed(again, at(1, 2, minute))

    assert live(again).manifest == live(deployment).manifest
    assert verify(again) == dict.fromkeys(version_names(again.versions_dir))


def copied(deployment: Deployment, folder: Path) -> Deployment:
    shutil.copytree(deployment.data_dir, folder)
    return deployment_in(folder)


def test_a_refresh_follows_what_is_listed_now(deployment: Deployment, tmp_path: Path) -> None:
    """Though no click came since the last one. A publish of the same checkpoint and listing finds
    it live; one of another listing takes its place, and is refreshed with a listing of before.
    """
    file = tmp_path / "items.parquet"
    own = fill_in(deployment, {"items": {"file": str(file), "available_column": "there"}})
    known = live(own).item_ids.to_pylist()
    files.write(file, item_id=[*known, 7001], there=[True] * (len(known) + 1))
    refreshed(own, at(1, 2, 20))
    files.write(file, item_id=[*known, 7001, 7002], there=[False] + [True] * (len(known) + 1))

    second = refreshed(own, at(1, 2, 20))

    assert second.promoted
    listed = set(live(own).item_ids.to_pylist())
    assert {7001, 7002} <= listed
    assert known[0] not in listed
    assert live(own).manifest.counted is not None
    again = publish(own, clock=HeldClock(at(1, 2, 21)), judge=False)
    assert not again.promoted
    assert "nothing new" in again.why
    files.write(file, item_id=[*known, 7001, 7003], there=[True] * (len(known) + 2))
    third = publish(own, clock=HeldClock(at(1, 2, 22)), judge=False)
    assert third.promoted
    files.write(file, item_id=[*known, 7001, 7002], there=[False] + [True] * (len(known) + 1))
    assert refreshed(own, at(1, 2, 20)).promoted
    assert live(own).manifest.refreshes == third.version
    assert set(live(own).item_ids.to_pylist()) == listed
