"""Features of many rows: encoded from events, and as the columns of slices and catalogues."""

from collections.abc import Sequence

import pyarrow as pa

from twintide.features.kind import Kind, Side
from twintide.ragged import Encoded


def encode(events: pa.Table, features: Sequence[Kind], *, time_column: str) -> Encoded:
    """The features that an event's own columns give; derived ones are left out."""
    return {
        feature.name: feature.encode(events, time_column=time_column)
        for feature in features
        if feature.derived_from is None
    }


def column_name(side: Side, feature_name: str) -> str:
    """How a feature's column is called in slices and catalogues."""
    return f"{side}.{feature_name}"


def to_columns(encoded: Encoded, features: Sequence[Kind], side: Side) -> dict[str, pa.Array]:
    """Encoded features as Arrow columns."""
    return {
        column_name(side, feature.name): feature.to_arrow(encoded[feature.name])
        for feature in features
    }


def from_columns(table: pa.Table, features: Sequence[Kind], side: Side) -> Encoded:
    """What `to_columns` wrote."""
    return {
        feature.name: feature.from_arrow(_in_one_piece(table[column_name(side, feature.name)]))
        for feature in features
    }


def _in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        return array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array
