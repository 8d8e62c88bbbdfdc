"""Items that are idle are forgotten: unknown to what is told, drawn and answered, until they come
again as new ones.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import deployment_in
from tests.trainer.test_idle_users import DAYS, FORGETS, NEVER, days_of, named_anew, stream_of
from tests.trainer.test_state import AS_OF, Told
from trainer.negatives.stock import Stock
from twintide.clock import DAY_MS
from twintide.derived.catalogue import UNKNOWN
from twintide.derived.state import DerivedState
from twintide.keys import Keys, keys_of
from twintide.ragged import Numbers


@pytest.mark.promise("T11")
@pytest.mark.parametrize("seed", range(2))
def test_what_was_idle_for_too_long_is_told_of_as_if_never_seen(tmp_path: Path, seed: int) -> None:
    """Statistics of each event's item are what they were if each had been another item since the
    last such gap; so is what is left of them at the end, and no other item is.
    """
    stream = stream_of(700, days=36, seed=seed)
    events = stream.events
    names = named_anew(events.items, events.unit_ms, np.ones(len(events), np.bool_))
    renamed = replace(stream, events=replace(stream.events, items=names))
    forgets = DerivedState.empty(deployment_in(tmp_path, FORGETS))
    never = DerivedState.empty(deployment_in(tmp_path, NEVER))
    for part, other in zip(days_of(stream), days_of(renamed), strict=True):
        forgets.begin(part.events, None)
        found, wanted = part.asked_of(forgets)["own"], other.asked_of(never)["own"]
        assert isinstance(found, Numbers)
        assert isinstance(wanted, Numbers)
        np.testing.assert_array_equal(found.values, wanted.values)

    alive = {int(names[n]): int(stream.events.items[n]) for n in _near(stream)}
    left, every = _items(forgets, forgets.catalogue.keys), _items(never, never.catalogue.keys)
    assert left == {item: every[name] for name, item in alive.items()}
    assert 0 < len(left) < len(every) / 2
    assert len(forgets.catalogue) < len(every) / 2


def _near(stream: Told) -> list[int]:
    """Numbers of the events of the last days."""
    days = stream.events.unit_ms // DAY_MS
    found: list[int] = np.flatnonzero(days[-1] - days <= DAYS).tolist()
    return found


def _items(state: DerivedState, keys: Keys) -> dict[int, tuple[object, ...]]:
    """What a state has of each item, by key: all of it but the id."""
    table, arrays = state.catalogue_table(AS_OF), state.arrays()
    own = keys[state.catalogue.rows()].tolist()
    clicks: dict[int, list[tuple[int, int]]] = {key: [] for key in own}
    numbers = (arrays[f"state.clicks.{part}"].tolist() for part in ("items", "buckets", "counts"))
    for item, bucket, count in zip(*numbers, strict=True):
        clicks[own[item]].append((bucket, count))
    said = table.select(["first_seen_at", "candidate.topics", "candidate.length"]).to_pylist()
    so_far = arrays["state.clicks.so_far"].tolist()
    return {
        key: (tuple(each.items()), clicks[key], count)
        for key, each, count in zip(own, map(_hashable, said), so_far, strict=True)
    }


def _hashable(row: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def test_negatives_are_drawn_from_the_items_that_are_known(tmp_path: Path) -> None:
    """A stock numbers them in the order in which they were known, whatever rows they have: of each
    moment the first ones are those that were known by then, and none is one that has left.
    """
    stream = stream_of(500, days=30, seed=3)
    state = DerivedState.empty(deployment_in(tmp_path, FORGETS))
    for part in days_of(stream):
        state.begin(part.events, None)
        part.fold_into(state)
    stock = Stock.after(state, state.item_clicks)
    alive = {int(stream.events.items[n]) for n in _near(stream)}
    numbers = np.arange(len(alive))
    keys = stock.keys_of(numbers)

    assert set(keys.tolist()) == alive
    assert state.catalogue.rows_of(keys).tolist() != sorted(state.catalogue.rows_of(keys))
    assert stock.rows_of(keys).tolist() == numbers.tolist()
    gone = np.array(sorted({*stream.events.items.tolist()} - alive), np.uint64)
    assert (stock.rows_of(gone) == UNKNOWN).all()
    assert (np.diff(stock.known_since_ms) >= 0).all()
    assert stock.clicks is not None
    counts = dict(zip(keys.tolist(), stock.clicks.tolist(), strict=True))
    of_table = keys_of(state.catalogue_table(AS_OF)["item_id"]).tolist()
    assert counts == dict(zip(of_table, state.arrays()["state.clicks.so_far"], strict=True))
