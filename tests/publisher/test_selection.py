import numpy as np
import pytest

from publisher.index.best import best, first_probes
from publisher.index.faiss.index import FaissIndex, build
from publisher.index.selection import EVERYTHING, Mask, Selection


@pytest.mark.parametrize("items", [1, 7, 8, 9, 1_000])
def test_a_mask_counts_and_combines_as_a_set_of_positions_does(items: int) -> None:
    """Taking away what is not there takes nothing away; both of two masks; the order is kept."""
    rng = np.random.default_rng(items)
    some, others = (rng.random(items) < share for share in (0.5, 0.7))
    away = rng.permutation(items)[: items // 2]

    for mask, plain in (
        (Mask.all(items), set(range(items))),
        (Mask.of(some), set(np.flatnonzero(some))),
        (Mask.of(some) & Mask.of(others), set(np.flatnonzero(some & others))),
        (Mask.all(items) & Mask.of(some), set(np.flatnonzero(some))),
        (Mask.of(some).without(away), set(np.flatnonzero(some)) - set(away)),
        (Mask.all(items).without(away), set(range(items)) - set(away)),
    ):
        assert mask.positions().tolist() == sorted(plain)
        assert mask.count == len(plain)


def inverted_file() -> FaissIndex:
    rng = np.random.default_rng(1)
    return build(rng.normal(size=(6_000, 9)).astype(np.float32), kind="ivf", nprobe=4)


def test_a_search_looks_no_further_for_items_that_are_blocked_for_everybody() -> None:
    """A thousand of six thousand: they are no better than others, as what a request excludes may
    be. The answers hold none of them.
    """
    index, blocked = inverted_file(), np.arange(0, 6_000, 6)
    selection = Selection(among=Mask.all(6_000).without(blocked), blocked=blocked)
    mask = selection.mask(6_000)
    assert mask is not None

    probes = first_probes(index, 10, mask.count, len(selection.without))

    assert probes == first_probes(index, 10, 6_000, 0) == 4
    assert first_probes(index, 10, 5_000, 1_000) > 4 * probes
    query = np.random.default_rng(2).normal(size=(1, 9)).astype(np.float32)
    _, positions = best(index, query, 50, selection, is_exact=False)
    _, anything = best(index, query, 50, EVERYTHING, is_exact=False)
    assert len(positions) == 50
    assert not np.isin(positions, blocked).any()
    assert np.isin(anything, blocked).any()
