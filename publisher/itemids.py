"""The ids of a version's items, in index order, as they lie in its folder.

New items stand behind the others, so a version whose index goes on from an earlier one has the ids
of that by a link, and writes those behind them.
"""

from pathlib import Path

import pyarrow as pa

from twintide.arrays import Contents, Files, parse_table, read_verified, write_table
from twintide.errors import Corrupt
from twintide.files import share_file
from twintide.versions import ITEM_IDS, ITEM_IDS_NEWER, read_version_manifest

ITEM_COLUMN = "item_id"


def item_ids_of(root: Path, name: str) -> pa.Array:
    """Of a version, and nothing else of it. Raises Refused where there is no such version, Corrupt
    where it is damaged.
    """
    listed = read_version_manifest(root, name).files
    own = {each: listed[each] for each in (ITEM_IDS, ITEM_IDS_NEWER) if each in listed}
    return item_ids_in(read_verified(root / name, own))


def item_ids_in(contents: Contents) -> pa.Array:
    """The id of each item, in index order. Raises Corrupt."""
    parts = [_ids(contents, name) for name in (ITEM_IDS, ITEM_IDS_NEWER) if name in contents]
    if ITEM_IDS not in contents or len({each.type for each in parts}) != 1:
        raise Corrupt(f"there is no file {ITEM_IDS}, or {ITEM_IDS_NEWER} has ids of another type")
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def write_ids(folder: Path, ids: pa.Array) -> Files:
    """All of them."""
    return write_table(folder, ITEM_IDS, pa.table({ITEM_COLUMN: ids}))


def write_ids_behind(earlier: Path, folder: Path, ids: pa.Array) -> Files:
    """The same, by those of the version in the folder `earlier` where they stand before all others.
    Raises Refused or Corrupt where that cannot be read.
    """
    listed = read_version_manifest(earlier.parent, earlier.name).files
    own = {name: listed[name] for name in (ITEM_IDS, ITEM_IDS_NEWER) if name in listed}
    before = item_ids_in(read_verified(earlier, own))
    if len(own) > 1 or not ids.slice(0, len(before)).equals(before):
        return write_ids(folder, ids)
    share_file(earlier / ITEM_IDS, folder / ITEM_IDS)
    behind = ids.slice(len(before))
    if not len(behind):
        return own
    return own | write_table(folder, ITEM_IDS_NEWER, pa.table({ITEM_COLUMN: behind}))


def _ids(contents: Contents, name: str) -> pa.Array:
    table = parse_table(contents, name)
    if table.column_names != [ITEM_COLUMN] or table[ITEM_COLUMN].null_count:
        raise Corrupt(f"{name} must have one column {ITEM_COLUMN} without nulls")
    combined = table[ITEM_COLUMN].combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
