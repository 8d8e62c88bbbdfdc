"""What items are, as it lies in the folder of a version: all of it, or what differs from an earlier
version's, which is there by a link.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from publisher.attributes import ATTRIBUTES, ATTRIBUTES_NEWER
from twintide.arrays import Contents, Files, parse_table, read_verified, write_table
from twintide.errors import Corrupt, Refused
from twintide.files import share_file
from twintide.versions import read_version_manifest

ROW = "row"
"""Of which item, by its place in the index."""

_MOST_NEWER = 0.5
"""Share of the items from which on all are written."""

Bools = npt.NDArray[np.bool_]


def attribute_files(folder: Path, told: pa.Table, *, earlier: Path | None) -> Files:
    """Write what `attributes_kept` reads. `earlier` is the folder of a version that has most of it;
    one that gc took away has nothing.
    """
    if earlier is not None:
        with suppress(Refused, Corrupt):
            if (found := _written_beside(earlier, folder, told)) is not None:
                return found
    return write_table(folder, ATTRIBUTES, told)


def attributes_kept(contents: Contents, *, items: int) -> pa.Table | None:
    """A row for each item; None where none are declared. Raises Corrupt."""
    if ATTRIBUTES not in contents:
        return None
    base = parse_table(contents, ATTRIBUTES)
    if ATTRIBUTES_NEWER not in contents:
        return base
    newer = parse_table(contents, ATTRIBUTES_NEWER)
    if newer.schema.names != [ROW, *base.schema.names] or newer.schema.field(0).type != pa.int64():
        raise Corrupt(f"{ATTRIBUTES_NEWER} has other columns than {ATTRIBUTES}")
    rows, told = newer[ROW], newer.drop_columns([ROW])
    if rows.null_count or told.schema != base.schema:
        raise Corrupt(f"{ATTRIBUTES_NEWER} has other columns than {ATTRIBUTES}")
    return pa.concat_tables([base, told]).take(_places(len(base), rows.to_numpy(), items))


def _places(base: int, newer: npt.NDArray[np.int64], items: int) -> pa.Array:
    """Of each item where it stands, in the one or behind it in the other."""
    found = np.full(items, -1)
    found[: min(base, items)] = np.arange(min(base, items))
    if len(newer) and not 0 <= newer.min() <= newer.max() < items:
        raise Corrupt(f"{ATTRIBUTES_NEWER} tells of an item that there is not")
    found[newer] = base + np.arange(len(newer))
    if (found < 0).any():
        raise Corrupt(f"{ATTRIBUTES_NEWER} does not tell of all items that are new")
    return pa.array(found)


def _written_beside(earlier: Path, folder: Path, told: pa.Table) -> Files | None:
    """None where the earlier version has another one's too, other columns, or too little."""
    listed = read_version_manifest(earlier.parent, earlier.name).files
    own = {name: listed[name] for name in (ATTRIBUTES, ATTRIBUTES_NEWER) if name in listed}
    if list(own) != [ATTRIBUTES]:
        return None
    before = parse_table(read_verified(earlier, own), ATTRIBUTES)
    if before.schema != told.schema or len(before) > len(told):
        return None
    differs = np.ones(len(told), np.bool_)
    differs[: len(before)] = differing(before, told.slice(0, len(before)))
    rows = np.flatnonzero(differs)
    if len(rows) > _MOST_NEWER * len(told):
        return None
    share_file(earlier / ATTRIBUTES, folder / ATTRIBUTES)
    if not len(rows):
        return own
    newer = told.take(pa.array(rows)).add_column(0, ROW, pa.array(rows))
    return own | write_table(folder, ATTRIBUTES_NEWER, newer)


def differing(before: pa.Table, now: pa.Table) -> Bools:
    """[rows]: which are not the same in all columns, of numbers or of lists of them."""
    found = np.zeros(len(now), np.bool_)
    for name in now.column_names:
        found |= _differ(before[name].combine_chunks(), now[name].combine_chunks())
    return found


def _differ(before: pa.Array, now: pa.Array) -> Bools:
    if not pa.types.is_list(now.type) and not pa.types.is_large_list(now.type):
        return np.asarray(pc.not_equal(before, now))
    lengths, others = (pc.list_value_length(each).to_numpy() for each in (now, before))
    found: Bools = lengths != others
    same = np.flatnonzero(~found)
    one, other = (each.take(pa.array(same)).flatten().to_numpy() for each in (now, before))
    found[np.repeat(same, lengths[same])[one != other]] = True
    return found
