import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from publisher.index.backend import Wanted
from publisher.index.faiss import index as item_index
from publisher.index.faiss.backend import index, is_as_good, least_recall
from publisher.index.faiss.base import IndexBase, base_in, gone_on
from publisher.index.faiss.base import base_of as index_base_of
from publisher.index.faiss.delta import Delta, laid_over, vectors_in
from publisher.index.faiss.layout import inverted_file
from publisher.itemids import item_ids_in, write_ids_behind
from publisher.publish import publish
from publisher.reader import load_version
from publisher.tuning import Best, tune
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from twintide.arrays import read_verified
from twintide.checkpoints import read_manifest
from twintide.config import Deployment, fill_in
from twintide.errors import Corrupt, Refused
from twintide.keys import GONE, Keys
from twintide.verified import Verified
from twintide.versions import VersionManifest, read_version_manifest

Vectors = npt.NDArray[np.float32]
CONFIG = made.deployment_at(Path("nowhere"), publishing={"index": "ivf", "nprobe": 8}).publishing


def vectors(count: int, *, seed: int = 1) -> Vectors:
    found = np.random.default_rng(seed).normal(size=(count, 9)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def keys(first: int, count: int) -> Keys:
    return np.arange(first, first + count, dtype=np.uint64)


def base_of(of_keys: Keys, of_vectors: Vectors) -> IndexBase:
    data = memoryview(item_index.build(of_vectors, kind="ivf", nprobe=8).to_bytes())
    whole = item_index.parse(data, dimension=9)
    name, nowhere = "v000001", Path("nowhere")
    return IndexBase(name, name, nowhere, {}, data, whole, of_keys, recall=None, first_probes=8)


def wanted(of_keys: Keys, of_vectors: Vectors) -> Wanted:
    return Wanted(of_keys, of_vectors, of_vectors[:1], CONFIG)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_whole_index_of_an_hour_keeps_the_centres_of_its_night(*, keeps: bool) -> None:
    """As long as it finds enough in half more lists than that looks into."""
    base, now = base_of(keys(1, 4_000), vectors(4_000)), vectors(4_000, seed=2)
    config = CONFIG.model_copy(update={"nprobe": "auto"})
    asked = Wanted(keys(1, 4_000), now, vectors(64, seed=3), config)
    needed = base.whole.refilled(now)
    tune(needed, asked.best, recall=config.index_recall)
    first_probes = math.ceil(needed.probes / 1.5) - (not keeps)

    made = index(asked, replace(base, first_probes=first_probes)).index

    assert isinstance(made, item_index.FaissIndex)
    centres = inverted_file(made.to_bytes()).centres()
    assert np.array_equal(centres, base.file.centres()) == keeps
    assert Best.of(now, asked.asked).found_by(made) >= config.index_recall


@pytest.mark.parametrize("seed", range(5))
def test_an_index_that_goes_on_holds_every_item_of_now(seed: int) -> None:
    """Items moved, came, went and stand in another order: each vector is at its item's place, and
    what all lists give is what an exact search gives.
    """
    rng = np.random.default_rng(seed)
    base, before = base_of(keys(1, 500), vectors(500)), vectors(500)
    now_keys = rng.permutation(np.concatenate((keys(1 + 20, 480), keys(900, 30))))
    now = np.array([before[key - 1] if key <= 500 else vectors(1)[0] for key in now_keys.tolist()])
    moved = rng.choice(len(now), 40, replace=False)
    now[moved] = vectors(40, seed=seed + 7)

    asked = wanted(now_keys, now.astype(np.float32))
    found = gone_on(base, asked)

    assert found is not None
    assert found.index.items == 510
    assert np.abs(found.index.vectors(np.arange(510)) - now).max() < 0.002
    assert np.abs(found.kept(asked) - now).max() < 0.002
    assert np.array_equal(np.sort(found.delta.positions), found.delta.positions)
    assert len(found.delta.positions) <= 70
    _, best = found.index.search(vectors(6, seed=99), 5)
    exact = np.argsort(-(vectors(6, seed=99) @ found.index.vectors(np.arange(510)).T), axis=1)
    assert (best[:, 0] == exact[:, 0]).all()


def test_a_vector_that_moved_little_stays_as_it_was_indexed() -> None:
    """And what the version says of it is what it answers by."""
    before = vectors(500)
    now = before * np.float32(1.02)
    now[:9] = before[:9] * np.float32(1.2)

    asked = wanted(keys(1, 500), now)
    found = gone_on(base_of(keys(1, 500), before), asked)

    assert found is not None
    assert found.delta.positions.tolist() == list(range(9))
    kept = found.kept(asked)
    assert np.abs(kept[9:] - before[9:]).max() < 0.002
    assert np.array_equal(kept[:9], now[:9])


def test_where_few_have_moved_the_index_has_all_of_them() -> None:
    """However little: near neighbours are told apart by less than what is spared elsewhere."""
    now = vectors(500)
    now[:50] *= np.float32(1.02)

    found = gone_on(base_of(keys(1, 500), vectors(500)), wanted(keys(1, 500), now))

    assert found is not None
    assert found.delta.positions.tolist() == list(range(50))


def test_where_too_many_have_moved_nothing_goes_on() -> None:
    """Half of the items."""
    before = vectors(500)
    some = before.copy()
    some[:249] = -some[:249]
    assert gone_on(base_of(keys(1, 500), before), wanted(keys(1, 500), some)) is not None
    some[:251] = -before[:251]
    assert gone_on(base_of(keys(1, 500), before), wanted(keys(1, 500), some)) is None


def test_what_is_gone_counts_as_what_has_moved() -> None:
    """Of 500 items 60 stay, fewer than would fill the lists: a whole index of them is made."""
    base = base_of(keys(1, 500), vectors(500))

    assert gone_on(base, wanted(keys(1, 400), vectors(500)[:400])) is not None
    assert gone_on(base, wanted(keys(1, 60), vectors(500)[:60])) is None
    assert gone_on(base, wanted(keys(1, 3), vectors(500)[:3])) is None


def test_an_index_that_finds_less_than_is_declared_is_not_gone_on_from() -> None:
    """Where it could look into more lists; a number of lists is as declared, whatever it finds."""
    base = replace(base_of(keys(1, 500), vectors(500)), recall=0.6)
    auto = CONFIG.model_copy(update={"nprobe": "auto", "index_recall": 0.9})

    assert least_recall(base, CONFIG) == 0.6
    assert least_recall(base, auto) == (0.6 if base.whole.looks_into_all else 0.9)
    base.whole.look_into(1)
    assert least_recall(base, auto) == 0.9
    base.whole.look_into(10**6)
    assert least_recall(base, auto) == 0.6


def test_hard_queries_are_not_held_against_an_index_that_goes_on() -> None:
    """What it finds is compared with what the other one finds of its own vectors for the same ones,
    unless that had not reached what is declared.
    """
    before = vectors(500)
    base, asked = replace(base_of(keys(1, 500), before), recall=0.995), vectors(64, seed=8)
    now = Wanted(keys(1, 500), before, asked, CONFIG)
    base.whole.look_into(1)
    found = Best.of(before, asked).found_by(base.whole)
    assert found < 0.97

    assert is_as_good(found - 0.005, base, now)
    assert not is_as_good(found - 0.02, base, now)
    declared = CONFIG.model_copy(update={"nprobe": "auto", "index_recall": 0.999})
    assert not is_as_good(found, base, replace(now, config=declared))


def test_the_vectors_of_an_index_are_those_that_it_was_built_of() -> None:
    """In the order of their positions."""
    found = vectors_in(base_of(keys(1, 500), vectors(500)).file, width=9)

    assert np.abs(found - vectors(500)).max() < 0.002


def newer_of(base: IndexBase, of: Vectors) -> memoryview:
    numbers, codes = base.whole.lists_of(of)
    return inverted_file(base.data).with_lists(numbers, [(each,) for each in codes])


def odd(change: Any) -> Any:
    base = base_of(keys(1, 500), vectors(500))
    newer = newer_of(base, vectors(10, seed=3))
    delta = Delta(np.arange(500), newer, np.arange(490, 500))
    laid_over(base.file, delta, items=500)
    return base, change(base, delta)


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "change",
    [
        lambda _, d: Delta(d.places[:-1], d.newer, d.positions),
        lambda _, d: Delta(d.places + 1, d.newer, d.positions),
        lambda _, d: Delta(d.places - 2, d.newer, d.positions),
        lambda _, d: Delta(np.full(500, GONE), d.newer, d.positions),
        lambda _, d: Delta(d.places * 0, d.newer, d.positions),
        lambda _, d: Delta(d.places, d.newer, d.positions[:-1]),
        lambda _, d: Delta(d.places, d.newer, d.positions + 1),
        lambda _, d: Delta(d.places, d.newer, d.positions * 0),
        lambda _, d: Delta(d.places, d.newer, -d.positions),
        lambda b, d: Delta(d.places, b.data, d.positions),
        lambda _, d: Delta(d.places, d.newer[:-1], d.positions),
        lambda _, d: Delta(
            d.places, base_of(keys(1, 500), vectors(500, seed=4)).data, np.arange(500)
        ),
    ],
)
def test_a_delta_that_does_not_fit_is_corrupt(change: Any) -> None:
    """Places behind the items, two vectors for one item, none for another, other centres."""
    base, delta = odd(change)

    with pytest.raises(Corrupt):
        item_index.parse(laid_over(base.file, delta, items=500), dimension=9)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A night, three hours and another night, a version of each; few categories move nothing."""
    deployment = fill_in(
        made.deployment_at(
            tmp_path_factory.mktemp("line") / "data", publishing={"index": "ivf", "nprobe": 8}
        ),
        {"model": {"candidate": made.configuration(Path())["model"]["candidate"][:1]}},
    )
    hours.night(deployment, made.item_range(1000, 400))
    publish(deployment, clock=made.held_clock(), judge=False)
    for number in range(3):
        clicked = np.append(made.item_range(1010 * 1 + 10 * number, 5), 5000 + number)
        hours.hour(deployment, np.arange(6), clicked, moved_by=2.0)
        publish(deployment, clock=made.held_clock(), judge=False)
    hours.night(deployment, made.item_range(1000, 400), sequence=5)
    publish(deployment, clock=made.held_clock(), judge=False)
    return deployment


def manifest(line: Deployment, number: int) -> VersionManifest:
    return read_version_manifest(line.versions_dir, f"v00000{number}")


def test_the_hours_of_a_day_go_on_from_the_index_of_its_night(line: Deployment) -> None:
    """The same file under another name, and little beside it; the next night has its own."""
    own = [manifest(line, number).index_of for number in range(1, 6)]
    assert own == [None, "v000001", "v000001", "v000001", None]
    root = line.versions_dir
    assert (root / "v000004" / "index.base.faiss").samefile(root / "v000001" / "index.faiss")
    newer = [manifest(line, number).files["index.positions.npy"].bytes for number in (2, 3, 4)]
    assert newer == sorted(newer)
    recalls = [manifest(line, number).index_recall for number in range(1, 6)]
    assert all(each is not None and each > 0.9 for each in recalls)


def test_from_an_index_that_is_damaged_nothing_goes_on(line: Deployment, tmp_path: Path) -> None:
    """A refresh of that version has a whole one of its own, and the next hour that of an older."""
    shutil.copytree(line.versions_dir, tmp_path / "versions")
    newer = tmp_path / "versions" / "v000004" / "index.newer.faiss"
    newer.write_bytes(newer.read_bytes()[:-1])
    hour = read_manifest(line.checkpoints_dir, manifest(line, 4).checkpoint)
    root, config, verified = tmp_path / "versions", line.publishing, Verified()

    refreshed = base_in(root, manifest(line, 4), config, verified=verified)
    next_hour = index_base_of(root, hour, config, verified=verified)

    assert refreshed is None
    assert next_hour is not None
    assert next_hour.as_of == "v000003"


def test_an_hour_has_the_ids_of_its_night_by_a_link(line: Deployment) -> None:
    """And writes those of new items, which stand behind them; the next night writes all."""
    root = line.versions_dir
    assert (root / "v000004" / "items.parquet").samefile(root / "v000001" / "items.parquet")
    assert not (root / "v000005" / "items.parquet").samefile(root / "v000001" / "items.parquet")
    names = [name for number in range(1, 6) for name in manifest(line, number).files]
    assert names.count("items.newer.parquet") == 3
    newer = pq.read_table(root / "v000004" / "items.newer.parquet")
    assert newer["item_id"].to_pylist() == [5000, 5001, 5002]


def test_ids_are_written_whole_where_others_do_not_stand_before_them(
    line: Deployment, tmp_path: Path
) -> None:
    """An item has left, or the version whose ids they were is gone."""
    night = line.versions_dir / "v000001"
    ids = load_version(line.versions_dir, "v000004").item_ids

    written = write_ids_behind(night, tmp_path, ids.slice(1))

    assert list(written) == ["items.parquet"]
    assert item_ids_in(read_verified(tmp_path, written)).equals(ids.slice(1))
    with pytest.raises(Refused):
        write_ids_behind(night.with_name("v000099"), tmp_path, ids)


def test_an_hours_index_answers_as_the_towers_of_its_hour(line: Deployment) -> None:
    """Ids, keys and positions belong together for items that moved, came and stayed."""
    night, hour = (load_version(line.versions_dir, f"v00000{n}") for n in (1, 4))
    assert (night.index.items, hour.index.items) == (400, 403)
    ids = hour.item_ids.to_pylist()
    assert ids[-3:] == [5000, 5001, 5002]
    at = hour.positions_of(hour.item_keys[[10, 402]])
    assert sorted(at.tolist()) == [10, 402]
    before, now = (each.index.vectors(np.arange(400)) for each in (night, hour))
    moved = np.flatnonzero(np.abs(before - now).max(axis=1) > 0)
    assert [ids[place] for place in moved.tolist()] == [
        *range(1010, 1015),
        *range(1020, 1025),
        *range(1030, 1035),
    ]
    encoded = made.queries_of(line, 20)
    scores, positions = hour.search(encoded, 5)
    queries = hour.model.query_vectors(encoded)
    found = hour.index.vectors(positions.ravel()).reshape(20, 5, -1)
    products = np.einsum("qd,qkd->qk", queries, found)
    assert np.allclose(scores, products, atol=1e-3)
