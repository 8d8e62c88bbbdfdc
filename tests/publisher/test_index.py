from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from publisher.index.faiss import index as item_index
from publisher.index.lists import list_count
from publisher.tuning import Best, tune
from twintide.errors import Corrupt


def vectors(count: int, *, width: int = 9, seed: int = 1) -> npt.NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def test_a_flat_index_finds_what_a_plain_loop_finds() -> None:
    """The k best by inner product, best first, with their scores."""
    items, queries = vectors(500), vectors(7, seed=2)

    scores, positions = item_index.build(items, kind="auto", nprobe=8).search(queries, 10)

    for query, row_scores, row_positions in zip(queries, scores, positions, strict=True):
        best = sorted(range(500), key=lambda i: -float(items[i] @ query))[:10]
        assert row_positions.tolist() == best
        assert np.allclose(row_scores, items[best] @ query, atol=1e-6)


def test_places_without_an_item_hold_minus_one() -> None:
    """Asking three items for five gives three and two empty places."""
    scores, positions = item_index.build(vectors(3), kind="auto", nprobe=8).search(vectors(1), 5)

    assert sorted(positions[0, :3].tolist()) == [0, 1, 2]
    assert positions[0, 3:].tolist() == [-1, -1]
    assert np.isneginf(scores[0, 3:]).all()


def test_an_inverted_file_finds_nearly_what_the_exact_index_finds() -> None:
    """9 of 10 of the true best 10 with a quarter of the lists looked into; fp16 scores."""
    items, queries = vectors(4_000), vectors(50, seed=2)
    index = item_index.build(items, kind="ivf", nprobe=32)

    scores, positions = index.search(queries, 10)
    exact_scores, exact = item_index.build(items, kind="flat", nprobe=1).search(queries, 10)

    assert index.kind == "ivf64,nprobe32"
    shared = [len(set(a) & set(b)) for a, b in zip(positions, exact, strict=True)]
    assert sum(shared) >= 450
    assert np.allclose(scores[:, 0], exact_scores[:, 0], atol=5e-3) or sum(shared) < 500


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_the_same_vectors_give_the_same_bytes(kind: str) -> None:
    """Building twice, and parsing what was built, changes no byte."""
    items = vectors(2_000)

    built = [item_index.build(items, kind=kind, nprobe=4).to_bytes() for _ in range(2)]  # type: ignore[arg-type]

    assert built[0] == built[1]
    assert item_index.parse(built[0], dimension=9).to_bytes() == built[0]


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_vectors_come_back_as_the_index_keeps_them(kind: str) -> None:
    """Exactly from a flat index, in half precision from an inverted file."""
    items = vectors(2_000)
    index = item_index.build(items, kind=kind, nprobe=4)  # type: ignore[arg-type]

    found = index.vectors(np.array([5, 1999, 0]))

    assert np.allclose(found, items[[5, 1999, 0]], atol=0 if kind == "flat" else 1e-3)


@pytest.mark.parametrize(
    ("items", "lists"),
    [(1, 1), (30, 1), (1_000, 16), (50_001, 512), (200_000, 1024), (1_000_000, 2048)],
)
def test_the_number_of_lists_is_about_twice_the_root(items: int, lists: int) -> None:
    """A power of two near 2·√items, with at least 39 items for each list."""
    assert list_count(items) == lists


def test_bytes_that_are_no_index_are_corrupt() -> None:
    """Whatever Faiss says of them, the caller hears Corrupt."""
    sound = item_index.build(vectors(50), kind="flat", nprobe=1).to_bytes()

    for data in (b"", b"IxFI", sound[:-1], b"\0" * 200):
        with pytest.raises(Corrupt):
            item_index.parse(data, dimension=9)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_an_index_of_another_width_is_corrupt(kind: str) -> None:
    """A query of the model's width could not be compared with its vectors."""
    data = item_index.build(vectors(2_000), kind=kind, nprobe=4).to_bytes()  # type: ignore[arg-type]

    with pytest.raises(Corrupt, match="wide"):
        item_index.parse(data, dimension=17)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_parsed_index_stays_where_its_bytes_lie(kind: Any) -> None:
    """So what is mapped is in memory once, however many processes search it."""
    held = bytearray(item_index.build(vectors(400), kind=kind, nprobe=4).to_bytes())
    found = item_index.parse(memoryview(held), dimension=9)
    assert found.vectors(np.arange(400)).any()

    held[45:] = bytes(len(held) - 45)

    scores, _ = found.search(vectors(3, seed=2), 5)
    # Of an inverted file the centres are its own: all in a list score as its centre does.
    assert (scores == scores[:, :1]).all()


@pytest.mark.parametrize("spread", [0.3, 30.0])
def test_an_inverted_file_looks_into_the_fewest_lists_that_find_enough(spread: float) -> None:
    """Of clusters into few, of vectors that lie anywhere into many; one step less finds too few."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(100, 16))
    items = (centres[rng.integers(0, 100, 6_000)] + spread * rng.normal(size=(6_000, 16))).astype(
        "f4"
    )
    asked = (centres[rng.integers(0, 100, 40)] + spread * rng.normal(size=(40, 16))).astype("f4")
    index = item_index.build(items, kind="ivf")
    best = Best.of(items, asked)

    found = tune(index, best, recall=0.95)

    exact = np.argsort(-(asked @ items.T), axis=1)[:, :100]
    assert np.allclose(best.least, np.sort(asked @ items.T, axis=1)[:, -100], rtol=1e-4)
    _, answered = index.search(asked, 100)
    counted = np.mean(
        [len(set(a) & set(b)) for a, b in zip(answered.tolist(), exact.tolist(), strict=True)]
    )
    assert found == pytest.approx(counted / 100, abs=1e-3)
    assert found >= 0.95
    lists = int(index.kind.partition("nprobe")[2])
    assert (lists <= 16) == (spread < 1)
    index.look_into(lists // 2)
    assert best.found_by(index) < 0.95


def test_where_no_number_of_lists_is_enough_all_are_looked_into() -> None:
    """Half precision itself confuses items that lie nearer to each other than it tells apart."""
    items = np.random.default_rng(1).normal(size=(8_000, 16)).astype("f4")
    index = item_index.build(items, kind="ivf")

    found = tune(index, Best.of(items, items[:200]), recall=1.0)

    assert found < 1
    assert index.kind == f"ivf{index.lists},nprobe{index.lists}"
