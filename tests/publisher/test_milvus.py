"""The line from publish to answer with an index in a Milvus, which is a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher import gc, registry
from publisher.audit import verify
from publisher.build import draft_of
from publisher.index.milvus.backend import base_of
from publisher.index.milvus.service import Service
from publisher.index.selection import Selection
from publisher.publish import publish
from publisher.reader import load_version
from serving.request import parse_request
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from tests.publisher.milvus_fixture import Milvus, milvus_in
from tests.publisher.test_index_chain import as_encoded_whole
from twintide.checkpoints import list_checkpoints
from twintide.config import Deployment, MilvusConfig, parse
from twintide.errors import Corrupt, Refused, Retryable
from twintide.keys import keys_of
from twintide.problems import Misconfigured
from twintide.verified import Verified
from twintide.versions import IndexAt, read_state, read_version_manifest

ITEMS = 1_200
CLOCK = made.held_clock()


def deployment_in(folder: Path, milvus: Milvus, *, prefix: str, index: str = "flat") -> Deployment:
    own = {"uri": milvus.uri, "prefix": prefix, "timeout_seconds": 30.0}
    filters = ["category", "tags"]
    publishing = {"index": index, "filters": filters, "milvus": own, "keep_versions": 1}
    values = made.configuration(folder / "data", publishing=publishing)
    tags = {"kind": "varlen", "name": "tags", "column": "tags", "table": "tag", "told_length": 1}
    values["model"]["candidate"] = [*values["model"]["candidate"][:2], tags]
    return parse(values, name="the test's configuration")


def hour_of(deployment: Deployment, first: int) -> None:
    clicked = np.append(made.item_range(first, 8), 5_000 + first)
    hours.hour(deployment, np.arange(9), clicked, moved_by=2.0)


def at_of(deployment: Deployment, number: int) -> IndexAt:
    found = read_version_manifest(deployment.versions_dir, f"v00000{number}").index_at
    assert found is not None
    return found


@pytest.fixture(scope="module", params=["flat", "ivf"])
def line(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, milvus: Milvus
) -> Deployment:
    """A night and three hours, a version of each."""
    folder, kind = tmp_path_factory.mktemp("line"), request.param
    deployment = deployment_in(folder, milvus, prefix=f"line_{kind}", index=kind)
    hours.night(deployment, made.item_range(1000, ITEMS))
    publish(deployment, clock=CLOCK, judge=False)
    for number in range(3):
        hour_of(deployment, 1010 + 10 * number)
        publish(deployment, clock=CLOCK, judge=False)
    return deployment


@pytest.mark.long
def test_an_hour_is_an_upsert_that_no_version_before_it_sees(
    line: Deployment, milvus: Milvus
) -> None:
    """Four versions, one collection of a row for each vector there ever was; each version answers
    as when it was built, the first too.
    """
    places = [at_of(line, number) for number in (1, 2, 3, 4)]
    assert {at.collection for at in places} == {f"{places[0].service.prefix}_000001"}
    assert [at.epoch for at in places] == [0, 1, 2, 3]
    assert [at.rows - ITEMS for at in places] == [0, 9, 18, 27]
    assert verify(line) == dict.fromkeys(f"v00000{number}" for number in (1, 2, 3, 4))
    written = read_version_manifest(line.versions_dir, "v000004").files["index.newer.npy"].bytes
    assert written < 10_000
    assert milvus.service(places[0].service.prefix).collections() == [places[0].collection]


@pytest.mark.long
@pytest.mark.promise("P11")
def test_answers_with_all_that_limits_them_are_those_of_a_plain_loop(line: Deployment) -> None:
    """Filters, exclusions, a block list and what the user has seen; of every version, exactly."""
    rng = np.random.default_rng(3)
    for name in ("v000001", "v000004"):
        version = load_version(line.versions_dir, name)
        blocked = rng.choice(version.item_keys, 40, replace=False)
        retriever = Retriever(version, clock=CLOCK, max_k=200).without(blocked)
        ids = np.array(version.item_ids.to_pylist())
        for _ in range(15):
            asked: dict[str, Any] = {"user_id": int(rng.integers(made.USERS)), "k": 100}
            asked |= {"exact": True, "exclude": rng.choice(ids, 300).tolist(), "seen": False}
            wanted = rng.choice(made.CATEGORIES, 5, replace=False).tolist()
            asked |= {"filters": {"category": wanted}} if rng.random() < 0.8 else {}
            if rng.random() < 0.3:
                asked["filters"] = {"tags": ["tag 2", "tag 3", "tag 5", "tag 8"]}
            request = parse_request(json.dumps(asked).encode())
            query = retriever.query(request)
            may = ~np.isin(ids, asked["exclude"]) & ~np.isin(version.item_keys, blocked)
            may[query.selection.without] = False
            for column, keys in query.selection.having.items():
                may &= version.attributes[column].having(keys)
            scores = version.index.vectors(np.arange(len(ids))) @ query.vectors[0]
            best = [each for each in np.argsort(-scores, kind="stable") if may[each]][:100]
            assert len(best) == 100
            assert retriever.search(query).item_ids == ids[best].tolist()


@pytest.mark.long
def test_an_item_that_loses_its_row_within_a_day_is_encoded_again(
    tmp_path: Path, milvus: Milvus
) -> None:
    """It has none at night and none now, but the hour between has left the vector of its row in the
    collection: what was touched is asked since that hour, not since the night.
    """
    deployment = deployment_in(tmp_path, milvus, prefix="lost")
    clicked, lost = made.item_range(1030, 1), np.array([1100])
    hours.night(deployment, made.item_range(1000, ITEMS), leaving=lost)
    publish(deployment, clock=CLOCK, judge=False)
    hours.hour(deployment, np.arange(1), clicked, unclicked=lost, moved_by=2.0)
    publish(deployment, clock=CLOCK, judge=False)
    hours.hour(deployment, np.arange(1), clicked, leaving=lost)
    publish(deployment, clock=CLOCK, judge=False)

    version = load_version(deployment.versions_dir, "v000003")

    assert at_of(deployment, 3).collection == at_of(deployment, 1).collection
    assert as_encoded_whole(deployment, version) < 2e-3


@pytest.mark.long
def test_a_second_value_of_a_column_that_held_numbers_makes_another_collection(
    tmp_path: Path, milvus: Milvus
) -> None:
    """While no item has two tags the tag is a number there. Of every version an item is found by
    each of its tags, and one that has none by no filter.
    """
    deployment = deployment_in(tmp_path, milvus, prefix="second")
    items = made.item_range(1000, 400)
    few = items[items % 4 < 2]  # of so many tags: none or one
    hours.night(deployment, few)
    publish(deployment, clock=CLOCK, judge=False)
    for clicked in ([1005, 1009], [1013, 1002]):  # 1002 has two
        hours.hour(deployment, np.arange(2), np.array(clicked), moved_by=2.0)
        publish(deployment, clock=CLOCK, judge=False)

    assert [(at.collection, at.epoch) for at in (at_of(deployment, n) for n in (1, 2, 3))] == [
        ("second_000001", 0),
        ("second_000001", 1),
        ("second_000002", 0),
    ]
    assert [at_of(deployment, n).single for n in (1, 3)] == [("category", "tags"), ("category",)]
    found = {tag: found_by(deployment, "v000003", tag) for tag in ("tag 1", "tag 2", "tag 9")}
    assert 1002 in found["tag 1"] & found["tag 2"]
    for name in ("v000001", "v000002", "v000003"):
        ids = load_version(deployment.versions_dir, name).item_ids.to_pylist()
        for tag in found:
            of_it = {each for each in ids if tag in made.tag_names(each)}
            assert found_by(deployment, name, tag) == of_it


def found_by(deployment: Deployment, name: str, tag: str) -> set[int]:
    """All that an answer finds there, by asking Milvus and not the version."""
    version = load_version(deployment.versions_dir, name)
    asked = {"tags": keys_of(pa.array([tag]))}
    query = version.model.query_vectors(made.queries_of(deployment, 1))
    ask = version.index.asking(query, Selection(having=asked), None)  # type: ignore[attr-defined]
    _, positions = ask(version.index.items, version.index.lists)
    return {int(version.item_ids[each].as_py()) for each in positions.tolist()}


@pytest.mark.long
def test_the_alias_follows_what_is_live_there_and_back(tmp_path: Path, milvus: Milvus) -> None:
    """Of two nights; the collection that is not live any more stays as long as its version."""
    deployment = deployment_in(tmp_path, milvus, prefix="nights")
    service, root = milvus.service("nights"), deployment.versions_dir
    for sequence in (1, 2):
        hours.night(deployment, made.item_range(1000, 300), sequence=sequence)
        publish(deployment, clock=CLOCK, judge=False)
    assert service.pointed("nights_live") == "nights_000002"

    registry.rollback(root, reason="worse", clock=CLOCK)

    assert service.pointed("nights_live") == "nights_000001"
    assert service.collections() == ["nights_000001", "nights_000002"]
    assert verify(deployment) == {"v000001": None, "v000002": None}

    registry.release(root, clock=CLOCK)
    for sequence in (3, 4, 5, 6, 7, 8):
        hours.night(deployment, made.item_range(1000, 300), sequence=sequence)
        publish(deployment, clock=CLOCK, judge=False)
    registry.pin(root, "v000002", reason="a look", clock=CLOCK)
    assert set(gc.run(deployment, dry_run=True).collections) & {"nights_000001", "nights_000004"}
    went = gc.run(deployment)

    assert "nights_000001" in went.collections
    left = {at_of(deployment, int(path.name[1:])).collection for path in root.glob("v0*")}
    assert set(service.collections()) == left
    assert "nights_000002" in left
    assert service.pointed("nights_live") == "nights_000008"
    assert not any(verify(deployment).values())


@pytest.mark.long
def test_what_a_killed_publish_left_is_taken_back(tmp_path: Path, milvus: Milvus) -> None:
    """A collection without a version goes; an upsert without a version is seen by none after it."""
    deployment = deployment_in(tmp_path, milvus, prefix="killed")
    hours.night(deployment, made.item_range(1000, 300))
    drafted(deployment)  # as a publish that dies before it writes the manifest
    publish(deployment, clock=CLOCK, judge=False)
    assert milvus.service("killed").collections() == ["killed_000001"]
    hour_of(deployment, 1010)
    before = len(milvus.service("killed").rows("killed_000001", "row >= 0", ["row"]))
    drafted(deployment)
    assert len(milvus.service("killed").rows("killed_000001", "row >= 0", ["row"])) == before + 9
    hour_of(deployment, 1100)

    publish(deployment, clock=CLOCK, judge=False)

    assert at_of(deployment, 2).epoch == 1
    assert verify(deployment) == {"v000001": None, "v000002": None}
    version = load_version(deployment.versions_dir, "v000002")
    queries = version.model.query_vectors(made.queries_of(deployment, 20))
    _, found = version.index.search(queries, version.index.items)
    everything = np.arange(version.index.items)
    assert (np.sort(found, axis=1) == everything).all()
    products = queries @ version.index.vectors(everything).T
    assert (found[:, 0] == products.argmax(axis=1)).all()


def drafted(deployment: Deployment) -> None:
    own = list_checkpoints(deployment.checkpoints_dir)[-1]
    root, config = deployment.versions_dir, deployment.publishing
    draft_of(
        deployment.checkpoints_dir / own.name,
        config,
        vectors_dir=deployment.vectors_dir,
        base=base_of(root, own, config, verified=Verified()),
    )


@pytest.mark.long
def test_a_milvus_that_is_away_is_waited_for_and_named(tmp_path: Path) -> None:
    """Publish and whoever loads a version say where it should be; a rollback does without it. Once
    it is back so is all else.
    """
    with milvus_in(tmp_path / "own.db") as own:
        deployment = deployment_in(tmp_path, own, prefix="away")
        root = deployment.versions_dir
        for sequence in (1, 2):
            hours.night(deployment, made.item_range(1000, 100), sequence=sequence)
            publish(deployment, clock=CLOCK, judge=False)
        version = load_version(root, "v000002")
        own.stop()
        for attempt in (
            lambda: publish(deployment, clock=CLOCK),
            lambda: verify(deployment),
            lambda: version.search(made.queries_of(deployment, 2), 3),
        ):
            with pytest.raises(Retryable, match=own.uri):
                attempt()
        registry.rollback(root, reason="worse", clock=CLOCK)
        assert read_state(root).current == "v000001"
        gc.run(deployment)

        own.start()

        assert verify(deployment) == {"v000001": None, "v000002": None}
        assert (version.search(made.queries_of(deployment, 2), 3)[1] >= 0).all()
        gc.run(deployment)
        assert own.service("away").pointed("away_live") == "away_000001"
        own.service("away").drop("away_000002")
        with pytest.raises(Corrupt, match="away_000002"):
            load_version(root, "v000002")


@pytest.mark.long
def test_two_deployments_share_a_milvus_and_not_a_prefix(tmp_path: Path, milvus: Milvus) -> None:
    """The second of one prefix is refused before it drops anything; with its own it publishes."""
    first = deployment_in(tmp_path / "one", milvus, prefix="shared")
    hours.night(first, made.item_range(1000, 100))
    publish(first, clock=CLOCK, judge=False)
    second = deployment_in(tmp_path / "two", milvus, prefix="shared")
    hours.night(second, made.item_range(1000, 100))

    with pytest.raises(Refused, match="another installation has the prefix"):
        publish(second, clock=CLOCK, judge=False)
    assert verify(first) == {"v000001": None}
    longer = deployment_in(tmp_path / "two", milvus, prefix="shared_too")
    publish(longer, clock=CLOCK, judge=False)
    gc.run(first)
    assert milvus.service("shared").collections() == ["shared_000001"]
    assert verify(longer) == verify(first) == {"v000001": None}


def test_without_pymilvus_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is an extra: who has no Milvus does without."""
    monkeypatch.setitem(sys.modules, "pymilvus", None)

    with pytest.raises(Refused, match="pymilvus") as said:
        Service(MilvusConfig(uri="http://127.0.0.1:1", prefix="news"))

    assert said.value.hint == 'pip install "twintide[milvus]"'


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uri", "milvus.db"),
        ("uri", "http://root:s3cr3t@milvus:19530"),
        ("prefix", "9 lives"),
        ("token_env", "root:s3cr3t"),
        ("timeout_seconds", 0.0),
    ],
)
def test_what_is_wrong_with_a_milvus_is_said_by_its_key(key: str, value: object) -> None:
    """Before anything is published; a secret is not repeated."""
    own = {"uri": "http://127.0.0.1:19530", "prefix": "news"} | {key: value}

    with pytest.raises(Misconfigured) as said:
        made.deployment_at(Path("nowhere"), publishing={"milvus": own})

    assert f"publishing.milvus.{key}" in str(said.value)
    assert "s3cr3t" not in str(said.value)
