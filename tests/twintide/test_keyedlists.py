"""Lists by key are a dict of lists; saved and opened they go on as if they had not been."""

from pathlib import Path

import numpy as np
import pytest

from twintide.arrays import Files
from twintide.errors import Corrupt
from twintide.keyedlists import KeyedLists, as_arrays, has_lists, whole
from twintide.rowstore import Parts
from twintide.storefile import StoreEntry, open_store, write_touched, write_whole

LONGEST = 5
NAME = "state.history"


def changed(lists: KeyedLists, plain: dict[int, list[int]], rng: np.random.Generator) -> None:
    """Some keys click more, a few for the first time; the oldest of a long list leave."""
    keys = np.unique(rng.zipf(1.3, 40) % 500 + 1).astype(np.uint64)
    for key in keys.tolist():
        plain[key] = [*plain.get(key, []), *rng.integers(1, 99, rng.integers(1, 4)).tolist()]
        plain[key] = plain[key][-LONGEST:]
    new = [plain[key] for key in keys.tolist()]
    offsets = np.concatenate(([0], np.cumsum([len(one) for one in new]))).astype(np.int64)
    lists.replace(keys, offsets, {"items": np.concatenate(new).astype(np.uint64)})


def arrays_of(plain: dict[int, list[int]]) -> dict[str, list[int]]:
    own = sorted(plain.items())
    offsets = np.concatenate(([0], np.cumsum([len(one) for _, one in own])))
    items = [item for _, one in own for item in one]
    return {"users": [key for key, _ in own], "offsets": offsets.tolist(), "items": items}


def found_in(lists: KeyedLists) -> dict[str, list[int]]:
    return {name: array.tolist() for name, array in as_arrays(lists).items()}


@pytest.mark.promise("T2")
@pytest.mark.promise("T12")
def test_lists_that_are_saved_and_opened_go_on_in_the_same_cells(tmp_path: Path) -> None:
    """Whole at first, then what was touched, each time opened anew: the same lists and the same
    stores as those that were never closed; and what a few clicks write follows them.
    """
    rng = np.random.default_rng(1)
    lists, plain = KeyedLists.empty({"items": np.uint64}, longest=LONGEST), dict[int, list[int]]()
    for _ in range(50):
        changed(lists, plain, rng)
    entries, files = dict[str, StoreEntry](), Files()
    opened = lists
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        parts = opened.parts(prefix=NAME)
        before, behind, touched = entries, files, 0
        entries, files = {}, {}
        for name, store in parts.stores.items():
            if name in before and store.is_saved:
                touched += len(store.touched())
                parent = (tmp_path / str(number - 1), behind)
                made = write_touched(
                    folder, name, store, before=before[name], parent=parent, number=number
                )
            else:
                made = write_whole(folder, name, store)
            entries[name] = made[0]
            files |= made[1]
        assert touched <= 40 * (2 * LONGEST + 6)
        stores = {name: open_store(folder, name, each, files) for name, each in entries.items()}
        saved = Parts(stores, parts.arrays)
        opened = KeyedLists.from_parts(saved, prefix=NAME, longest=LONGEST)
        assert has_lists(saved, prefix=NAME)
        same = {name.removeprefix(f"{NAME}."): each.tolist() for name, each in whole(saved).items()}
        assert same == found_in(opened) == found_in(lists) == arrays_of(plain)
        for name, store in lists.parts(prefix=NAME).stores.items():
            store.saved()
            for column, values in store.columns().items():
                np.testing.assert_array_equal(stores[name].columns()[column], values)

        state = rng.bit_generator.state
        changed(opened, dict(plain), rng)
        rng.bit_generator.state = state
        changed(lists, plain, rng)


def test_lists_without_their_cells_are_refused() -> None:
    """A store that is missing is named, and nothing is made up in its place."""
    parts = KeyedLists.empty({"items": np.uint64}, longest=LONGEST).parts(prefix=NAME)
    less = {name: store for name, store in parts.stores.items() if not name.endswith("cells")}

    with pytest.raises(Corrupt, match=r"state\.history\.cells"):
        KeyedLists.from_parts(Parts(less, parts.arrays), prefix=NAME, longest=LONGEST)
