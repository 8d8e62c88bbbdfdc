"""The ids of a version's items, in index order, as they lie in its folder."""

import pyarrow as pa

from twintide.arrays import Contents, parse_table
from twintide.errors import Corrupt
from twintide.versions import ITEM_IDS

ITEM_COLUMN = "item_id"


def item_ids_in(contents: Contents) -> pa.Array:
    """The id of each item, in index order. Raises Corrupt."""
    table = parse_table(contents, ITEM_IDS)
    if table.column_names != [ITEM_COLUMN] or table[ITEM_COLUMN].null_count:
        raise Corrupt(f"{ITEM_IDS} must have one column {ITEM_COLUMN} without nulls")
    combined = table[ITEM_COLUMN].combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
