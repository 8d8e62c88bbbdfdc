"""What items are, as far as requests may filter by it: the keys of each item in index order.

A version carries them as its candidate tower is told them, so that a filter and the model mean the
same item by a category.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.errors import Corrupt
from twintide.features.kind import Kind
from twintide.keys import Keys
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Ids, as_ids

ATTRIBUTES, ATTRIBUTES_NEWER = "attributes.parquet", "attributes.newer.parquet"
"""A column for each event column that may be filtered by, in index order: of all items, or those of
an earlier version; and then what differs, by `row`.
"""

Positions = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Attribute:
    """The keys of every item, of one event column."""

    ids: Ids
    """[items]"""

    def prepare(self) -> None:
        """Make what `having` looks into, which takes as long as hundreds of searches."""
        _ = self._by_key

    def having(self, keys: Keys) -> Bools:
        """[items]: which items have one of these keys."""
        ascending, items = self._by_key
        found = np.zeros(len(self.ids), np.bool_)
        begins, ends = ascending.searchsorted(keys), ascending.searchsorted(keys, "right")
        for begin, end in zip(begins, ends, strict=True):
            found[items[begin:end]] = True
        return found

    @cached_property
    def _by_key(self) -> tuple[Keys, Positions]:
        """Every key in ascending order, and its item."""
        order = np.argsort(self.ids.keys, kind="stable")
        return self.ids.keys[order], self.ids.row_of_key()[order]


Attributes = Mapping[str, Attribute]
"""By event column."""


def features_of(model: ModelSpec, columns: Sequence[str]) -> dict[str, Kind]:
    """By column, the feature of the candidate that says it: of ids, and reads nothing else; one
    that is told all of its values, where there are several.
    """
    saying: dict[str, Kind] = {}
    for each in sorted(model.lookups("candidate"), key=lambda each: not each.reads_all):
        if each.derived_from is None and len(each.reads()) == 1 and each.is_filterable:
            saying.setdefault(each.reads()[0], each)
    return {name: saying[name] for name in columns if name in saying}


def attribute_table(encoded: Encoded, model: ModelSpec, columns: Sequence[str]) -> pa.Table:
    """As a version carries it, of those columns that its candidate tower is told."""
    return pa.table(
        {
            name: feature.to_arrow(encoded[feature.name])
            for name, feature in features_of(model, columns).items()
        }
    )


def attributes_said(
    events: pa.Table, model: ModelSpec, columns: Sequence[str], *, time: str
) -> Attributes:
    """Of items, each with the one event that says what it is."""
    return {
        name: Attribute(as_ids(feature.encode(events, time_column=time)))
        for name, feature in features_of(model, columns).items()
    }


def attributes_in(table: pa.Table, model: ModelSpec, *, items: int) -> Attributes:
    """What `attribute_table` gave. Raises Corrupt where it does not fit the model and the index."""
    features = features_of(model, table.column_names)
    if set(features) != set(table.column_names) or len(table) != items:
        raise Corrupt(f"{ATTRIBUTES} does not hold a row of what the model is told for each item")
    found = {}
    for name, feature in features.items():
        column = table[name].combine_chunks()
        if column.type != feature.to_arrow(feature.no_rows()).type or column.null_count:
            raise Corrupt(f"{ATTRIBUTES}: {name} is {column.type}")
        found[name] = Attribute(as_ids(feature.from_arrow(column)))
    return found
