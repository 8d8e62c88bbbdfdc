"""A source of items: they are indexed before their first click, and leave when they are delisted.

The events of this world never say of which category an item is; the source does.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher import gc, registry
from publisher.catalogue import items_of
from publisher.publish import Published, publish
from publisher.reader import LoadedVersion, load_version
from serving.request import RecommendRequest
from serving.retriever import Retriever
from streaming.offline import write_shards
from tests.trainer.conftest import START, Line, at, deployment_in
from tests.twintide import item_files as files
from trainer.epoch import Rows, as_listed
from trainer.rebuild import rebuild
from trainer.schedule import Rings, scheduler_of
from twintide import listings
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment
from twintide.derived.clicks import refreshed_ms
from twintide.errors import Corrupt
from twintide.keys import keys_of
from twintide.ragged import Ids, Numbers
from twintide.versions import read_state

CATEGORIES, USERS, OLD, NEW = 8, 80, 160, 40
"""Users and items have one category each: their number modulo 8. Items from 160 on are new."""

MODEL = {
    "query": [{"kind": "sparse", "name": "user", "column": "user_id", "table": "user"}],
    "candidate": [
        {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
        {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
        {"kind": "item_statistics", "name": "statistics"},
    ],
}
FAST = {"nightly": {"row_learning_rate": 0.3, "dense_learning_rate": 0.01}}


def stream(deployment: Deployment) -> pa.Table:
    """Two days of clicks on old items. A user clicks what is of their category."""
    rng = np.random.default_rng(3)
    count = 4000
    user = rng.integers(0, USERS, count)
    item = user % CATEGORIES + CATEGORIES * rng.integers(0, OLD // CATEGORIES, count)
    at_ms = int(START.timestamp() * 1000) + np.sort(rng.integers(0, 2 * 86_400_000, count))
    schema = deployment.events.arrow_schema()
    columns = {
        "event_id": np.arange(count),
        "user_id": user,
        "item_id": item,
        "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "clicked": np.ones(count, bool),
    }
    nulls = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
    return pa.table(nulls | columns).select(schema.names).cast(schema)


def catalogue(path: Path, items: Any, **columns: Any) -> Path:
    """Items with their category and whatever else; replaces the file."""
    ids = np.asarray(items)
    return files.write(path, item_id=ids, category=ids % CATEGORIES, **columns)


@dataclass(frozen=True)
class Shop:
    """A line with a file of items, and what its live version answers."""

    deployment: Deployment
    file: Path

    @property
    def root(self) -> Path:
        return self.deployment.versions_dir

    @property
    def line(self) -> Line:
        return Line(self.deployment)

    def publish(self, hour: int, **how: Any) -> Published:
        return publish(self.deployment, clock=HeldClock(at(1, hour)), **how)

    def live(self) -> LoadedVersion:
        current = read_state(self.root).current
        assert current is not None
        return load_version(self.root, current)

    def answers(self, *, k: int = 500, users: Iterable[int] = range(0, USERS, 9)) -> set[int]:
        """Whatever any of these users is answered."""
        retriever = Retriever(self.live(), clock=HeldClock(at(1)), max_k=k)
        requests = (RecommendRequest(user_id=user, k=k) for user in users)
        return {int(each) for one in requests for each in retriever.answer(one).item_ids}

    def share_of_own_category(self) -> float:
        """Of the new items among the first 25 answers to each user (there are 25 items of a
        category), how many of the five that are for this user.
        """
        retriever = Retriever(self.live(), clock=HeldClock(at(1)), max_k=25)
        found = 0
        for user in range(USERS):
            items = retriever.answer(RecommendRequest(user_id=user, k=25)).item_ids
            found += sum(int(i) >= OLD and int(i) % CATEGORIES == user % CATEGORIES for i in items)
        return found / (USERS * NEW / CATEGORIES)


MakeShop = Callable[..., Shop]


def shop_in(folder: Path, shards: Path, **items: Any) -> Shop:
    changes = {
        "folders": {"shards": str(shards)},
        "model": MODEL,
        "training": FAST,
        "items": {"file": str(folder / "items.parquet")} | items,
    }
    return Shop(deployment_in(folder / "data", changes), folder / "items.parquet")


def without(shop: Shop) -> Shop:
    """The same without the source."""
    items = type(shop.deployment.items)()
    return Shop(shop.deployment.model_copy(update={"items": items}), shop.file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's shards, and a night learnt with the file of items; nobody writes to it."""
    folder = tmp_path_factory.mktemp("trained")
    own = deployment_in(folder, {"model": MODEL})
    write_shards(own, stream(own), partitions=1, complete_until=at(2, 2))
    catalogue(folder / "items.parquet", range(OLD + NEW))
    shop_in(folder, own.shards_dir).line.night(0)
    return folder


@pytest.fixture
def shop(trained: Path, tmp_path: Path) -> MakeShop:
    """A shop after its first night, each in a folder of its own."""

    def make(**items: Any) -> Shop:
        shutil.copytree(trained / "data", tmp_path / "data")
        catalogue(tmp_path / "items.parquet", range(OLD + NEW))
        return shop_in(tmp_path, trained / "shards", **items)

    return make


def test_a_new_item_is_found_by_whom_it_is_for_before_its_first_click(shop: MakeShop) -> None:
    """Without a source it is not in the index at all: recall 0, by construction."""
    cold = shop()
    cold.publish(1)

    assert cold.share_of_own_category() > 0.8
    assert len(cold.live().item_keys) == OLD + NEW

    assert without(cold).publish(2).promoted
    assert cold.share_of_own_category() == 0


def test_a_change_of_the_source_alone_is_a_new_version_of_the_same_checkpoint(
    shop: MakeShop,
) -> None:
    """What is delisted is not answered from then on, what is listed is; and the same once more is
    nothing new.
    """
    own = shop(available_column="there")
    catalogue(own.file, range(OLD), there=[True] * OLD)
    first = own.publish(1)
    catalogue(own.file, range(3, OLD + 2), there=[n != 7 for n in range(3, OLD + 2)])
    second = own.publish(2)
    again = own.publish(3)

    assert (first.promoted, second.promoted, again.promoted) == (True, True, False)
    assert (first.version, second.version, again.version) == ("v000001", "v000002", "v000002")
    assert "is live already" in again.why
    manifests = [load_version(own.root, each.version).manifest for each in (first, second)]
    assert manifests[0].checkpoint == manifests[1].checkpoint
    assert [each.listing.name for each in manifests if each.listing] == [
        "listing-000002",
        "listing-000003",
    ]
    assert own.answers() == {*range(OLD + 2)} - {7}


def test_what_a_complete_source_does_not_list_is_never_answered(shop: MakeShop) -> None:
    """Clicked or not; also from the first version on."""
    own = shop(complete=True)
    own.publish(1)
    catalogue(own.file, range(20, OLD + NEW))
    published = own.publish(2)

    assert published.promoted
    assert own.answers() == {*range(20, OLD + NEW)}


@pytest.mark.long
def test_a_bad_file_changes_nothing_that_is_served(shop: MakeShop) -> None:
    """Training and publishing go on with what it said last; status says so."""
    own = shop()
    own.publish(1)
    own.file.write_bytes(own.file.read_bytes()[:50])

    learnt = own.line.hour(1, 12).manifest
    published = own.publish(13)

    assert published.promoted
    assert learnt.listing == load_version(own.root, published.version).manifest.listing
    assert own.answers() == {*range(OLD + NEW)}
    trouble = listings.trouble(own.deployment.items_dir)
    assert trouble is not None
    assert str(own.file) in trouble.what


def test_a_source_that_loses_most_items_is_refused_by_the_gate(shop: MakeShop) -> None:
    """An export that was cut off must not empty the index; an operator may say that it is meant,
    of the checkpoint that was judged and not of whatever is the newest.
    """
    own = shop(complete=True)
    own.publish(1)
    catalogue(own.file, range(30))

    refused = own.publish(2)

    assert not refused.promoted
    assert "the source of items leaves 30 items, the live version has 200" in refused.why
    judged = load_version(own.root, refused.version).manifest.checkpoint
    assert f"`twintide publish --checkpoint {judged} --no-gate`" in refused.why
    assert own.publish(3, judge=False).promoted
    assert own.answers() == {*range(30)}


@pytest.mark.long
def test_the_first_complete_source_may_leave_few_of_what_was_ever_clicked(shop: MakeShop) -> None:
    """A version without a source is no measure of how many items there are."""
    own = shop(complete=True)
    catalogue(own.file, range(30))
    without(own).publish(1)

    assert own.publish(2).promoted
    assert own.answers() == {*range(30)}


@pytest.mark.long
def test_clicks_on_what_is_delisted_are_not_held_against_a_version(shop: MakeShop) -> None:
    """Half of what is clicked is delisted: of the other half it finds what the live one finds."""
    own = shop(complete=True)
    own.publish(1)
    own.line.hour(1, 6)
    own.publish(6)
    catalogue(own.file, range(OLD // 2, OLD + NEW))

    published = own.publish(7)

    assert published.promoted
    assert any("not to be had any more were left out" in each for each in published.gate.notes)


@pytest.mark.long
def test_a_checkpoint_that_was_rolled_back_from_does_not_return_with_other_items(
    shop: MakeShop,
) -> None:
    """That other items are listed since makes the model no better; naming it promotes it."""
    own = shop()
    own.publish(1)
    bad = own.line.hour(1, 6).manifest.name
    own.publish(6)
    clock = HeldClock(at(1, 7))
    registry.rollback(own.root, reason="odd", clock=clock)
    registry.release(own.root, clock=clock)
    catalogue(own.file, range(OLD))

    published = own.publish(8)

    assert not published.promoted
    assert "version v000002 was rolled back from" in published.why
    assert own.publish(9, checkpoint=bad).promoted


def test_training_sees_an_item_as_the_index_has_it(shop: MakeShop) -> None:
    """The skew is 0: what the source says, at both ends; ages by a plain loop."""
    own = shop(listed_at_column="since")
    since = [START - timedelta(hours=int(n)) for n in range(OLD)]
    catalogue(own.file, range(OLD), since=pa.array(since, pa.timestamp("ms", tz="UTC")))
    checkpoint = own.line.hour(1, 6)
    listing = listings.newest(own.deployment.items_dir, own.deployment.events)
    assert listing is not None
    assert checkpoint.manifest.listing == listing.ref
    model = checkpoint.manifest.model
    statistics = model.item_statistics()
    assert statistics is not None

    (newest, *_) = reversed(own.line.slices().values())
    clicks = newest.read()
    rows = as_listed(Rows.of(clicks, model, name="a slice"), listing, model)
    items = items_of(checkpoint.manifest, checkpoint.catalogue, listing)

    place = {key: at for at, key in enumerate(items.keys.tolist())}
    at_index = np.array([place[key] for key in rows.item_keys.tolist()])
    category, indexed = rows.candidate["category"], items.encoded["category"]
    assert isinstance(category, Ids)
    assert isinstance(indexed, Ids)
    ids = clicks["item_id"].to_pylist()
    assert category.keys.tolist() == keys_of(pa.array([n % CATEGORIES for n in ids])).tolist()
    assert category.keys.tolist() == indexed.keys[at_index].tolist()
    refreshed = refreshed_ms(rows.at_ms, rows.unit_ms, statistics)
    ages = [
        np.float32(np.log1p((int(at_ms) - to_unix_ms(since[item])) / 3_600_000) / 4)
        for at_ms, item in zip(refreshed, ids, strict=True)
    ]
    told = rows.candidate["statistics"]
    assert isinstance(told, Numbers)
    assert told.values[:, -2].tolist() == ages


@pytest.mark.long
def test_a_checkpoint_is_made_again_with_the_items_that_it_knew(
    shop: MakeShop, tmp_path: Path
) -> None:
    """To the byte, whatever the source says by now; without them it says what is missing."""
    own = shop()
    made = own.line.hour(1, 6).manifest
    catalogue(own.file, np.arange(OLD) + 1)

    assert rebuild(own.deployment, made.name, into=tmp_path / "again") == made
    assert made.listing is not None
    shutil.rmtree(own.deployment.items_dir / made.listing.name)
    with pytest.raises(Corrupt, match="the items of listing-000001 are not there"):
        rebuild(own.deployment, made.name, into=tmp_path / "once more")


@pytest.mark.long
def test_gc_keeps_what_is_named_and_the_newest(shop: MakeShop) -> None:
    """Others go two days after a run has used them."""
    own = shop()
    for last in (OLD, OLD + 1, OLD + 2):
        catalogue(own.file, range(last))
        own.publish(1)
    catalogue(own.file, range(OLD + 3))
    own.publish(2, judge=False)
    shutil.rmtree(own.root / "v000002")
    for name in listings.listing_names(own.deployment.items_dir):
        os.utime(own.deployment.items_dir / name, (0, 0))

    gone = gc.run(own.deployment)

    assert gone.listings == ("listing-000003",)
    assert "listing-000003" not in listings.listing_names(own.deployment.items_dir)


def test_the_scheduler_publishes_where_the_source_says_something_new(shop: MakeShop) -> None:
    """Though nothing was learnt since; and nothing where it says the same."""
    own = shop()
    published: list[str] = []
    clock = HeldClock(at(1, 1))

    def publish_it() -> None:
        published.append(publish(own.deployment, clock=clock).why)

    rings = Rings(own.deployment, clock, publish_it)
    rings.items()
    rings.items()
    catalogue(own.file, range(OLD))
    rings.items()
    own.file.write_bytes(b"half")
    rings.items()

    assert published == [
        "version v000001 of checkpoint nightly-000001 and listing-000001 is live",
        "version v000002 of checkpoint nightly-000001 and listing-000002 is live",
    ]
    bells = [each.id for each in scheduler_of(rings, every_minutes=60).get_jobs()]
    assert sorted(bells) == ["hourly", "items", "nightly"]


def test_a_version_of_before_stays_readable_and_is_compared_with(shop: MakeShop) -> None:
    """Its manifest says nothing of a source: its index holds all that was clicked."""
    own = shop(complete=True)
    without(own).publish(1)
    path = own.root / "v000001" / "manifest.json"
    said = json.loads(path.read_text())
    del said["listing"], said["catalogue_items"]
    open_ = json.dumps(said | {"seal": ""}, indent=1) + "\n"
    seal = hashlib.sha256(open_.encode()).hexdigest()
    path.write_text(open_.replace('"seal": ""', f'"seal": "{seal}"'))

    assert own.live().manifest.listing is None
    published = own.publish(2)

    assert published.promoted
    assert published.gate.live == "v000001"
    assert own.answers() == {*range(OLD + NEW)}
