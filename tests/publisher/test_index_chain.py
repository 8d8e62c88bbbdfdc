"""The hours of a day lie upon each other: each writes what moved since the hour before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from publisher.index.backends import backend_called
from publisher.index.faiss import index as item_index
from publisher.index.faiss.base import IndexBase, gone_on
from publisher.index.faiss.delta import Delta, laid_over, merged
from publisher.index.faiss.kept import MOST_EARLIER, deltas_in
from publisher.index.searched import Positions
from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from tests.publisher.test_encoding import ITEMS, drafted, line_at
from tests.publisher.test_index_delta import base_of, keys, newer_of, odd, vectors, wanted
from twintide.arrays import read_verified
from twintide.checkpoints import read_manifest
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.verified import Verified
from twintide.versions import INDEX_NEWER


def an_hour(line: Deployment, number: int) -> LoadedVersion:
    """Five items were clicked, one of them new; those of three hours ago among them again."""
    again = ITEMS[5 * (number - 3) : 5 * (number - 3) + 2] if number >= 3 else ITEMS[-2:]
    clicked = np.concatenate((ITEMS[5 * number : 5 * number + 2], again, [5000 + number]))
    hours.hour(line, np.arange(5), clicked, moved_by=2.0)
    published = publish(line, clock=made.held_clock(), judge=False)
    return load_version(line.versions_dir, published.version)


def stored(version: LoadedVersion, root: Path) -> list[int]:
    """How many vectors each of its deltas has, the oldest first."""
    files = version.manifest.files
    own = {name: entry for name, entry in files.items() if name.startswith("index.")}
    return [len(each.positions) for each in deltas_in(read_verified(root / version.name, own))]


def as_encoded_whole(line: Deployment, version: LoadedVersion) -> float:
    """By how much its vectors differ from those that encoding every item gives."""
    now = read_manifest(line.checkpoints_dir, version.manifest.checkpoint)
    whole = drafted(line, now, None)
    assert np.array_equal(version.item_keys, whole.item_keys)
    found = version.index.vectors(np.arange(len(whole.item_keys)))
    return float(np.abs(found - whole.model.candidate_vectors(whole.items.encoded)).max())


@pytest.mark.long
def test_each_hour_writes_what_moved_since_the_hour_before(tmp_path: Path) -> None:
    """It has the vectors of the hours before by links, and answers as if all were encoded anew."""
    line = line_at(tmp_path / "data")
    root = line.versions_dir

    versions = [an_hour(line, number) for number in range(4)]

    assert [stored(each, root) for each in versions] == [[5], [5, 5], [5, 5, 5], [5, 5, 5, 5]]
    first, last = (root / each.name for each in (versions[0], versions[-1]))
    assert (last / "index.newer.01.faiss").samefile(first / INDEX_NEWER)
    assert all(as_encoded_whole(line, each) < 2e-3 for each in versions)
    base = backend_called("faiss").base_of(
        root,
        read_manifest(line.checkpoints_dir, "hourly-000005"),
        line.publishing,
        verified=Verified(),
    )
    assert base is not None
    assert (base.version, base.as_of) == ("v000001", "v000005")
    assert len(base.overlaid) == len(set(base.overlaid.tolist()))


@pytest.mark.long
def test_a_long_day_writes_all_that_moved_once_and_goes_on_from_that(tmp_path: Path) -> None:
    """So that a reader lays a few upon each other, however many hours there are."""
    line = line_at(tmp_path / "data")

    versions = [an_hour(line, number) for number in range(MOST_EARLIER + 3)]

    counts = [len(stored(each, line.versions_dir)) for each in versions]
    assert counts == [*range(1, MOST_EARLIER + 2), 1, 2]
    assert all(as_encoded_whole(line, each) < 2e-3 for each in versions[-3:])


def overlaid_base() -> IndexBase:
    """Of 500 items, two hours after their night: ten moved, then five of these and a new one."""
    base = base_of(keys(1, 500), vectors(500))
    places = np.arange(500)
    first = Delta(places, newer_of(base, vectors(10, seed=3)), np.arange(490, 500))
    second = Delta(places, newer_of(base, vectors(6, seed=4)), np.arange(495, 501))
    return replace(base, keys=keys(1, 501), earlier=merged([first, second]))


def test_of_two_hours_the_later_one_counts() -> None:
    """At each place the newest vector, at the others those of the night."""
    base = overlaid_base()
    expected = np.concatenate((vectors(500)[:490], vectors(10, seed=3)[:5], vectors(6, seed=4)))
    assert base.earlier is not None

    laid = item_index.parse(laid_over(base.file, base.earlier, items=501), dimension=9)

    everything = np.arange(501)
    for found in (base.vectors(), base.at(everything), laid.vectors(everything)):
        assert np.abs(found - expected).max() < 2e-3


@pytest.mark.parametrize("moved", [None, np.zeros(0, np.int64)], ids=["any may", "none"])
@pytest.mark.parametrize("gone", [1, 496])
def test_where_an_item_leaves_all_that_moved_is_written_anew(
    gone: int, moved: Positions | None
) -> None:
    """One of the night, or one that had moved: places are others then, and nothing is linked."""
    base = overlaid_base()
    now_keys = np.delete(keys(1, 501), gone - 1)
    now = np.delete(base.vectors(), gone - 1, axis=0)

    found = gone_on(base, replace(wanted(now_keys, now), moved=moved))

    assert found is not None
    assert found.base.links == {}
    assert found.base.earlier is None
    assert len(found.delta.positions) in {10, 11}
    assert np.abs(found.index.vectors(np.arange(500)) - now).max() < 2e-3


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "positions",
    [np.arange(9), np.arange(10) - 1, np.arange(10) + (1 << 40), np.arange(20).reshape(10, 2)],
)
def test_a_delta_upon_another_that_does_not_fit_is_corrupt(positions: np.ndarray) -> None:
    """Fewer places than vectors, or such as there are not: whatever they are, memory is bounded."""
    _, delta = odd(lambda _, delta: delta)

    with pytest.raises(Corrupt):
        merged([replace(delta, positions=positions), delta])
    other = newer_of(base_of(keys(1, 500), vectors(500, seed=5)), vectors(10))
    with pytest.raises(Corrupt, match="centres"):
        merged([replace(delta, newer=other), delta])
