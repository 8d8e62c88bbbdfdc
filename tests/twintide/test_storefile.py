"""Rows on the disk are the rows that were saved, however many deltas lie between, or Corrupt."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twintide.arrays import PAGE, FileEntry, Files, checksums_of, packed, verify
from twintide.errors import Corrupt
from twintide.pages import PAGES, PagedArray, write_paged
from twintide.rowstore import Column, RowStore
from twintide.storefile import MOST_DELTAS, StoreEntry, open_store, write_touched, write_whole

COLUMNS = {"weights": Column(np.float32, (3,)), "seen": Column(np.int64)}
ROWS = 3000


def a_store(rows: int = ROWS) -> RowStore:
    rng = np.random.default_rng(rows)
    weights = rng.normal(size=(rows, 3)).astype(np.float32)
    return RowStore.of({"weights": weights, "seen": rng.integers(0, 2**40, rows)})


@dataclass
class Chain:
    """A store that is saved again and again, each time beside the time before."""

    root: Path
    store: RowStore
    saved: list[tuple[Path, StoreEntry, Files]] = field(default_factory=list)

    def save(self) -> Files:
        """Returns the files that were not there before."""
        number = len(self.saved) + 1
        folder = self.root / f"{number}"
        folder.mkdir(parents=True)
        if not self.saved:
            entry, files = write_whole(folder, "table", self.store)
        else:
            parent, before, listed = self.saved[-1]
            entry, files = write_touched(
                folder, "table", self.store, before=before, parent=(parent, listed), number=number
            )
        self.store.saved()
        old = self.saved[-1][2] if self.saved else {}
        self.saved.append((folder, entry, files))
        return {name: each for name, each in files.items() if old.get(name) != each}

    def opened(self) -> RowStore:
        folder, entry, files = self.saved[-1]
        verify(folder, files)
        return open_store(folder, "table", entry, files)

    def write(self, rows: Any, value: int) -> None:
        rows = np.asarray(rows, np.int64)
        columns = self.store.touch(rows)
        columns["weights"][rows] = value
        columns["seen"][rows] = value


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    made = Chain(tmp_path, a_store())
    made.save()
    return made


def same(left: RowStore, right: RowStore) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in left.names)


@pytest.mark.promise("T2")
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 900), st.lists(st.integers(0, ROWS - 1), max_size=40)),
        min_size=1,
        max_size=12,
    ),
    going_on=st.booleans(),
)
def test_what_is_opened_is_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, list[int]]],
    going_on: bool,  # noqa: FBT001  hypothesis draws it
) -> None:
    """After any growth and any writes, by one process or by a new one for each checkpoint."""
    chain = Chain(tmp_path_factory.mktemp("chain"), a_store())
    chain.save()
    for number, (grown, rows) in enumerate(steps):
        if not going_on:
            chain.store = chain.opened()
        chain.store.grow(grown)
        chain.write(rows, number)
        chain.save()

        found = chain.opened()
        assert not len(found.touched())
        assert same(found, chain.store)


def test_a_delta_weighs_what_was_touched(chain: Chain) -> None:
    """A hundredth of the rows makes a file of about a hundredth, and nothing else is written."""
    whole = sum(entry.bytes for entry in chain.saved[0][2].values())
    chain.write(np.arange(0, ROWS, 100), 1)
    written = chain.save()

    assert list(written) == ["table-000002.delta"]
    assert written["table-000002.delta"].bytes < 0.03 * whole
    before, after = (chain.root / number / "table.weights.npy" for number in "12")
    assert before.samefile(after)


def test_many_deltas_become_one_and_large_ones_a_base(chain: Chain) -> None:
    """So that a reader never has many to go through, nor many times a base's bytes."""
    counts = []
    for number in range(2 * MOST_DELTAS + 3):
        chain.write([number, ROWS - 1], number)
        chain.save()
        counts.append(len(chain.saved[-1][1].deltas))
    assert counts == [*range(1, MOST_DELTAS + 1), *range(1, MOST_DELTAS + 1), 1, 2, 3]

    chain.write(np.arange(ROWS // 2 + 1), 7)
    chain.save()
    assert not chain.saved[-1][1].deltas
    assert same(chain.opened(), chain.store)

    counts = []
    for number in range(6):  # of two fifths of the rows each
        chain.write(np.arange(2 * ROWS // 5) + 10 * number, number)
        chain.save()
        counts.append(len(chain.saved[-1][1].deltas))
    assert counts == [1, 2, 3, 4, 0, 1]
    assert same(chain.opened(), chain.store)


def test_rows_that_outgrow_their_room_are_written_whole(chain: Chain) -> None:
    """Or whoever opens them would have to move all of them, every time."""
    chain.store.grow(1000)
    chain.save()
    assert chain.saved[-1][1].rows == ROWS
    assert chain.opened().capacity == ROWS + 1024

    chain.store.grow(100)
    chain.save()
    assert chain.saved[-1][1].rows == ROWS + 1100
    assert same(chain.opened(), chain.store)


def test_what_is_written_in_memory_never_reaches_the_file(chain: Chain) -> None:
    """A base is mapped by who learns and by who publishes at once."""
    opened = chain.opened()
    opened["weights"][:] = 7
    opened.grow(1)

    assert same(chain.opened(), chain.store)


@pytest.mark.promise("T8")
def as_format_3(chain: Chain) -> None:
    """What was saved last, with sha256 of pages and the room as a hole behind the rows."""
    folder, _, files = chain.saved[-1]
    for name in [each for each in files if each.endswith(".npy")]:
        room = files[name].room
        assert room is not None
        checksums = checksums_of((folder / name).read_bytes(), of_bytes=32)
        pages = name.removesuffix(".npy") + PAGES
        (folder / pages).write_bytes(checksums)
        os.truncate(folder / name, room)
        files[pages] = FileEntry.of(checksums)
        files[name] = files[name].model_copy(update={"sha256": files[pages].sha256})


def test_stores_of_format_3_are_read_and_gone_on_from(chain: Chain) -> None:
    """Deltas lie over them as over others; a damaged page is found by its sha256."""
    chain.save()
    as_format_3(chain)
    chain.store = chain.opened()
    chain.write([3, 5], 9)
    chain.save()

    assert chain.opened()["weights"][[3, 5]].tolist() == [[9.0] * 3] * 2
    folder, entry, files = chain.saved[-1]
    with (folder / "table.seen.npy").open("r+b") as file:
        file.seek(PAGE + 1)
        file.write(b"?")
    with pytest.raises(Corrupt, match="page 1 differs"):
        open_store(folder, "table", entry, files).columns()


def test_room_for_new_rows_is_memory_and_not_the_disks(chain: Chain) -> None:
    """A file system in memory that is full has no page to give for a hole in a file, as there was
    one in format 3: who wrote to it was killed. Here the hole is cut off, which does the same to
    whoever has it mapped.
    """
    chain.save()
    as_format_3(chain)
    store = chain.opened()
    folder, entry, files = chain.saved[-1]
    for name in files:
        if name.endswith(".npy"):
            os.truncate(folder / name, files[name].bytes)

    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        first = store.grow(700)
        store.at(np.arange(first, first + 700))["seen"][first:] = 5
        right = store["seen"][first:].sum() == 3500 and len(store) == entry.rows + 700
        os._exit(0 if right else 1)


def test_a_page_is_checked_before_one_of_its_rows_is_used(chain: Chain) -> None:
    """And only then: the rest of a damaged file serves whoever does not look there."""
    folder, entry, files = chain.saved[-1]
    path = folder / "table.weights.npy"
    row, data = 2000, bytearray(path.read_bytes())
    data[4096 + row * 12] ^= 1
    path.write_bytes(data)
    opened = open_store(folder, "table", entry, files)

    assert np.array_equal(opened.at(np.arange(900))["weights"][:900], chain.store["weights"][:900])
    for look in (opened.at, opened.touch):
        with pytest.raises(Corrupt, match=r"table\.weights\.npy is not what .* page 6 differs"):
            look(np.array([row]))
    with pytest.raises(Corrupt, match="page 6 differs"):
        opened["weights"]
    with pytest.raises(Corrupt, match="table"):
        verify(folder, files)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_of_many_rows_each_page_is_checked(step: int, tmp_path: Path) -> None:
    """The first and the last one too, whether nearly all rows of a stretch are asked for or few."""
    rows = np.arange(900, 90_001, step)
    files = write_paged(tmp_path, "many", np.arange(100_000), room=100_000)
    for row, is_asked in ((0, False), (99_999, False), (rows[0], True), (rows[-1], True)):
        path, data = tmp_path / "many.npy", (tmp_path / "many.npy").read_bytes()
        at = PAGE + 8 * int(row)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(Corrupt, match="differs") if is_asked else nullcontext():
            PagedArray(tmp_path, "many", files).check(rows)
        path.write_bytes(data)


@pytest.mark.promise("T8")
def test_a_row_of_a_delta_is_laid_over_the_base_when_it_is_used(chain: Chain) -> None:
    """Not before: a damaged page of the base that nobody looks at stops nobody, and the newest of
    several deltas is what a row has.
    """
    chain.save()
    for value in (4, 5):
        chain.write(np.arange(value, ROWS, 300), value)
        chain.write([7], value)
        chain.save()
    folder, entry, files = chain.saved[-1]
    with (folder / "table.seen.npy").open("r+b") as file:
        file.seek(2 * PAGE + 1)
        file.write(b"?")  # of rows 512 to 1023
    store = open_store(folder, "table", entry, files)

    for rows in (np.array([7, 4, 5, 304]), np.arange(1024, ROWS)):
        expected = chain.store.columns()
        for name, found in store.at(rows).items():
            assert np.array_equal(found[rows], expected[name][rows])
    with pytest.raises(Corrupt, match="page 2 differs"):
        store.at(np.array([604]))


def look_at(store: RowStore, parts: list[Any]) -> None:
    for rows in parts:
        store.at(rows)


def test_who_looks_ahead_disturbs_no_step(chain: Chain) -> None:
    """One thread looks at rows while another changes them, as look-ups and steps do: it lays
    nothing over what has changed since, and takes no page that has changed for a damaged one.
    """
    chain.save()
    chain.write(np.arange(0, ROWS, 3), 5)
    chain.save()
    before, every = sys.getswitchinterval(), np.arange(0, ROWS, 3)
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            store = chain.opened()
            with ThreadPoolExecutor(1) as reader:
                parts = np.array_split(every, 100)
                looks = reader.submit(look_at, store, parts)
                for rows in parts:
                    store.touch(rows)["seen"][rows] += 1
                looks.result()
            assert (store["seen"][every] == 6).all()
    finally:
        sys.setswitchinterval(before)


def test_any_damage_is_refused(chain: Chain) -> None:
    """A byte of any file changed, a file cut, longer or gone."""
    chain.write([5, 2999], 3)
    chain.save()
    folder, entry, files = chain.saved[-1]
    rng = np.random.default_rng(1)
    for name, listed in files.items():
        sound = (folder / name).read_bytes()
        changed = [bytearray(sound) for _ in range(3)]
        for each in changed:
            each[int(rng.integers(0, listed.bytes))] ^= int(rng.integers(1, 256))
        for data in (*changed, sound[:-1], sound + b"\0", b"", None):
            (folder / name).unlink()
            if data is not None:
                (folder / name).write_bytes(data)
            with pytest.raises(Corrupt):
                open_store(folder, "table", entry, files).columns()
        (folder / name).write_bytes(sound)
    open_store(folder, "table", entry, files).columns()


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    "odd",
    [
        {"length": ROWS + 1},
        {"length": ROWS - 1},
        {"length": 2**62},
        {"rows": ROWS - 1, "length": ROWS - 1},
        {"columns": ("weights",)},
        {"columns": ("weights", "weights")},
        {"columns": ("seen", "weights")},
        {"columns": ("weights", "../seen")},
        {"columns": ()},
        {"deltas": ("../table-000002.delta",)},
        {"deltas": ("table.weights.npy",)},
        {"deltas": ("missing",)},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(chain: Chain, odd: dict[str, Any]) -> None:
    """Before memory is given to what it says, and without leaving the folder."""
    chain.write([5], 3)
    chain.save()
    folder, entry, files = chain.saved[-1]
    with pytest.raises(Corrupt):
        open_store(folder, "table", entry.model_copy(update=odd), files)


WEIGHTS, SEEN = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)


@pytest.mark.parametrize(
    "arrays",
    [
        [],
        [np.array([1, 2])],
        [np.array([1, 2]), WEIGHTS],
        [np.array([1, 2]), SEEN, WEIGHTS],
        [np.array([2, 1]), WEIGHTS, SEEN],
        [np.array([1, 1]), WEIGHTS, SEEN],
        [np.array([-1, 1]), WEIGHTS, SEEN],
        [np.array([1, ROWS]), WEIGHTS, SEEN],
        [np.array([1, 2**62]), WEIGHTS, SEEN],
        [np.array([1.0, 2.0]), WEIGHTS, SEEN],
        [np.array([[1, 2]]), WEIGHTS, SEEN],
        [np.array([1, 2, 3]), WEIGHTS, SEEN],
        [np.array([1, 2]), WEIGHTS, SEEN, SEEN],
        [np.array([1, 2]), WEIGHTS.astype(np.float64), SEEN],
    ],
)
def test_a_delta_that_does_not_fit_is_refused(chain: Chain, arrays: list[Any]) -> None:
    """Other rows, columns, shapes or types than the base has, though its hash fits."""
    folder, entry, files = chain.saved[-1]
    data = packed(arrays)
    (folder / "odd.delta").write_bytes(data)
    listed = files | {"odd.delta": FileEntry.of(data)}
    with pytest.raises(Corrupt):
        open_store(folder, "table", entry.model_copy(update={"deltas": ("odd.delta",)}), listed)
