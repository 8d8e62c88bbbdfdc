"""The newest clicks that no version in question has learnt: all that a gate may measure on."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from twintide.features.columns import column_name
from twintide.leftout import LeftOut, without
from twintide.modelspec import ModelSpec
from twintide.positions import combined
from twintide.records import Position
from twintide.slices import IS_CLICK, ITEM_KEY, Slice, read_tail


def unlearnt_slices(chain: Sequence[Slice], positions: Sequence[Position]) -> list[Slice]:
    """The slices of which none of the positions has learnt all."""
    return [one for one in chain if not any(one.is_covered_by(position) for position in positions)]


def newest_clicks(
    root: Path,
    *,
    positions: Sequence[Position],
    specs: Sequence[ModelSpec],
    limit: int,
    left_out: Sequence[LeftOut] = (),
) -> pa.Table | None:
    """Up to `limit` or a few more of the newest unlearnt clicks, newest last, with all columns
    that the models' queries need; None where there are none. Slices made for other features are
    left out, and so is what training was told to leave out. Raises Corrupt.
    """
    needed = [column_name("query", f.name) for spec in specs for f in spec.query]
    columns = list(dict.fromkeys([*needed, ITEM_KEY]))
    tables: list[pa.Table] = []
    newest = combined(positions, max)
    for one in reversed(unlearnt_slices(read_tail(root, newest).slices, positions)):
        if sum(map(len, tables)) >= limit:
            break
        rows = without(one.read(after=newest), left_out)
        if set(columns) <= set(rows.column_names):
            tables.insert(0, rows.filter(rows[IS_CLICK]).select(columns))
    return pa.concat_tables(tables) if tables else None
