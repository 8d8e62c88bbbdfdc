"""What a collection tells of an item beside its vector, so that a search may be limited by it.

A column of which no item has more than one value is a number; others are lists, which Milvus can
index less well, and milvus-lite reads one by one.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from publisher.attributes import Attributes
from publisher.index.searched import Positions
from twintide.errors import Refused
from twintide.keys import NO_KEY, Keys
from twintide.ragged import Ids
from twintide.versions import IndexAt

MOST_KEYS = 4_096
"""Of one item in one column: what an array of Milvus holds."""

Value = int | list[int]
"""Of one item in one column: its key, NO_KEY where it has none; or all of its keys."""


def single_in(attributes: Attributes) -> tuple[str, ...]:
    """Those of which no item has more than one value."""
    return tuple(name for name, each in attributes.items() if _most(each.ids) <= 1)


def field(at: IndexAt, name: str) -> str:
    """What the collection calls a column."""
    return f"attribute_{at.columns.index(name)}"


def values_of(
    at: IndexAt, attributes: Attributes, positions: Positions
) -> dict[str, list[int] | list[list[int]]]:
    """By field, what a row of each item at these positions has of it. Raises Refused where an item
    has more values than Milvus holds.
    """
    return {
        field(at, name): _one_each(ids) if name in at.single else _lists(ids)
        for name, ids in ((name, attributes[name].ids.take(positions)) for name in at.columns)
    }


def having(at: IndexAt, wanted: Mapping[str, Keys]) -> list[str]:
    """What rows must be, in the words of Milvus; what is soon told comes first."""
    by_number = [name for name in wanted if name in at.single]
    by_list = [name for name in wanted if name not in at.single]
    return [f"{field(at, name)} in {numbers(wanted[name])}" for name in by_number] + [
        f"array_contains_any({field(at, name)}, {numbers(wanted[name])})" for name in by_list
    ]


def numbers(keys: Keys) -> list[int]:
    """Keys as Milvus has them."""
    found: list[int] = keys.view(np.int64).tolist()
    return found


def _one_each(ids: Ids) -> list[int]:
    keys = np.full(len(ids), NO_KEY)
    keys[ids.row_of_key()] = ids.keys
    return numbers(keys)


def _lists(ids: Ids) -> list[list[int]]:
    if _most(ids) > MOST_KEYS:
        raise Refused(
            f"an item has {_most(ids):,} values of a column of publishing.filters; Milvus holds "
            f"{MOST_KEYS:,} of one",
            hint="leave the column out of publishing.filters, or publishing.milvus",
        )
    found, offsets = numbers(ids.keys), ids.offsets.tolist()
    return [found[begin:end] for begin, end in pairwise(offsets)]


def _most(ids: Ids) -> int:
    return int(np.diff(ids.offsets).max(initial=0))
