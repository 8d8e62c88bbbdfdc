"""Refreshes of what is live whose index lies in a Milvus: upserts, as hours are."""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publisher import gc, registry
from publisher.audit import verify
from publisher.drafting import drafted_of_count, made_since
from publisher.encoding import moved_since
from publisher.publish import Published, publish
from publisher.reader import LoadedVersion, load_version
from publisher.refresh import refresh
from streaming.offline import write_shards
from tests.publisher.milvus_fixture import Milvus
from tests.publisher.test_refresh import clicks_between
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from trainer.counting import count as count_what_came
from trainer.hourly import hourly
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in
from twintide.counted import counts_dir, newest_count, open_count
from twintide.keys import keys_of
from twintide.verified import Verified
from twintide.versions import IndexAt, read_state, read_version_manifest, version_names

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model that is told nothing that ages."""
    return learnt_in(tmp_path_factory.mktemp("learnt") / "data", WITHOUT_AGES)


def learnt_in(folder: Path, changes: dict[str, Any]) -> Path:
    """A night and two hours; nothing is published."""
    deployment = deployment_in(folder, changes)
    write_shards(deployment, small_stream(deployment, days=2), complete_until=at(2, 1))
    line = Line(deployment)
    line.night(0)
    line.hour(1, 1)
    line.hour(1, 2)
    return deployment.data_dir


WITHOUT_AGES = {
    "model": {
        "candidate": [
            {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
            {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
            {"kind": "varlen", "name": "topics", "column": "topics", "table": "topic"},
        ]
    },
    "publishing": {"moved_beyond": 0.0},
}


def published(
    learnt: Path, folder: Path, milvus: Milvus, prefix: str, changes: dict[str, Any]
) -> Deployment:
    """A version of each of its checkpoints, in that Milvus."""
    shutil.copytree(learnt, folder / "data")
    own = {"uri": milvus.uri, "prefix": prefix, "timeout_seconds": 30.0}
    publishing = {"milvus": own, "filters": ["category", "topics"], "statistics_every_minutes": 10}
    deployment = fill_in(deployment_in(folder / "data", changes), {"publishing": publishing})
    for name in ("nightly-000001", "hourly-000002", "hourly-000003"):
        publish(deployment, checkpoint=name, clock=HeldClock(at(1, 2)), judge=False)
    return deployment


def refreshed(deployment: Deployment, now: datetime) -> Published:
    count_what_came(deployment, clock=HeldClock(now))
    return refresh(deployment, clock=HeldClock(now))


def places(deployment: Deployment) -> list[IndexAt]:
    root = deployment.versions_dir
    found = [read_version_manifest(root, name).index_at for name in version_names(root)]
    return [each for each in found if each]


def as_encoded_whole(deployment: Deployment, version: LoadedVersion) -> float:
    """By how much its vectors differ from those that encoding every item of its count gives."""
    manifest, root = version.manifest, deployment.versions_dir
    found = newest_count(deployment.checkpoints_dir, manifest.checkpoint)
    assert found is not None
    judged = read_version_manifest(root, manifest.refreshes or "")
    apart = judged.model_copy(update={"base": None})  # no index goes on from that
    draft = drafted_of_count(deployment, found, None, refreshed=apart, verified=Verified())
    assert np.array_equal(version.item_keys, draft.item_keys)
    everything = np.arange(version.index.items)
    return float(np.abs(version.index.vectors(everything) - draft.vectors).max())


@pytest.mark.promise("P5")
@pytest.mark.promise("P8")
def test_a_refresh_is_an_upsert_that_no_version_before_it_sees(
    learnt: Path, tmp_path: Path, milvus: Milvus
) -> None:
    """Two refreshes and the hour after them are epochs of one collection; all of them answer as
    when they were built, also those of before after a rollback and a gc.
    """
    deployment = published(learnt, tmp_path, milvus, "refreshed", WITHOUT_AGES)
    root = deployment.versions_dir
    done = [refreshed(deployment, at(1, 2, minute)) for minute in (20, 40)]

    assert [each.promoted for each in done] == [True, True]
    assert {each.collection for each in places(deployment)} == {"refreshed_000001"}
    assert [each.epoch for each in places(deployment)] == [0, 1, 2, 3, 4]
    assert verify(deployment) == dict.fromkeys(version_names(root))
    assert milvus.service("refreshed").pointed("refreshed_live") == "refreshed_000001"
    live = load_version(root, done[-1].version)
    assert live.manifest.refreshes == "v000003"
    assert as_encoded_whole(deployment, live) < 2e-3

    hourly(deployment, clock=HeldClock(at(1, 4)))
    assert publish(deployment, clock=HeldClock(at(1, 4)), judge=False).promoted
    assert places(deployment)[-1].epoch == 5
    assert registry.rollback(root, reason="worse", clock=HeldClock(at(1, 4))).current == "v000003"
    gc.run(deployment)
    assert verify(deployment) == dict.fromkeys(version_names(root))


def test_a_refresh_costs_what_has_changed_since_the_one_before(
    learnt: Path, tmp_path: Path, milvus: Milvus
) -> None:
    """Where the model is told nothing that ages: only rows of items that were clicked first are
    written, and only items of which events said something since the count before are encoded.
    """
    deployment = published(learnt, tmp_path, milvus, "costs", WITHOUT_AGES)
    root, known = deployment.versions_dir, load_version(deployment.versions_dir, "v000003")
    for minute in (20, 40):
        refreshed(deployment, at(1, 2, minute))

    live = load_version(root, read_state(root).current or "")
    rows = [each.rows for each in places(deployment)]
    assert rows[-1] - rows[2] == len(live.item_keys) - len(known.item_keys)
    since = made_since(deployment, "v000004")
    assert since is not None
    count = newest_count(deployment.checkpoints_dir, live.manifest.checkpoint)
    assert count is not None
    folder = counts_dir(deployment.checkpoints_dir) / count.name
    draft = drafted_of_count(deployment, count, None, refreshed=known.manifest, verified=Verified())
    opened = open_count(deployment.checkpoints_dir, count)
    encoded = moved_since(since, folder, opened, draft.items, None)
    assert encoded is not None
    new = clicks_between(deployment, at(1, 2, 20), at(1, 2, 40))
    assert set(live.item_keys[encoded]) == set(keys_of(new["item_id"]))


@pytest.mark.promise("P8")
def test_rows_of_refreshes_go_with_the_versions_that_saw_them(
    tmp_path: Path, milvus: Milvus
) -> None:
    """Of an hour of refreshes, each of which moves items as they age, the collection holds what
    the versions that gc left see, and no more; each of these answers as when it was built.
    """
    learnt = learnt_in(tmp_path / "learnt", {})
    deployment = published(learnt, tmp_path, milvus, "gone", {})
    for minute in range(10, 60, 10):
        gc.run(deployment)
        assert refreshed(deployment, at(1, 2, minute)).promoted

    assert verify(deployment) == dict.fromkeys(version_names(deployment.versions_dir))
    epochs = {each.epoch for each in places(deployment)}
    assert epochs == {0, 1, 2, 4, 5, 6, 7}
    rows = milvus.service("gone").rows("gone_000001", "row >= 0", ["since", "until"])
    written = places(deployment)[-1].rows
    assert len(rows) < written
    unseen = [row for row in rows if not any(row["since"] <= e < row["until"] for e in epochs)]
    assert unseen == []


def test_what_an_operator_went_back_to_is_refreshed_beside_newer_rows(
    learnt: Path, tmp_path: Path, milvus: Milvus
) -> None:
    """The collection has come further than the version: a refresh goes on from its end, and has
    the vectors of its own weights.
    """
    deployment = published(learnt, tmp_path, milvus, "back", WITHOUT_AGES)
    root = deployment.versions_dir
    registry.rollback(root, reason="worse", clock=HeldClock(at(1, 2)))
    registry.release(root, clock=HeldClock(at(1, 2)))

    assert refreshed(deployment, at(1, 2, 40)).promoted

    live = load_version(root, "v000004")
    assert live.manifest.refreshes == "v000002"
    assert places(deployment)[-1].epoch == 3
    assert as_encoded_whole(deployment, live) < 2e-3
    assert verify(deployment) == dict.fromkeys(version_names(root))
