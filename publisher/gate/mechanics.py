"""The mechanics of a draft, which need no clicks: sound vectors, and an index that says what the
towers say.
"""

import numpy as np

from publisher import samples
from publisher.build import Draft
from publisher.index.searched import Bools, Vectors, directions
from twintide.keys import NO_KEYS, Keys
from twintide.ragged import Ids

MIN_DISTINCT_RATIO = 0.5
"""Share of items that must have a vector of their own."""

AT_MOST = 20_000
"""Items, evenly taken, whose vectors are compared with each other."""

MIN_SPREAD = 1e-4
"""1 minus the length of the items' mean vector, in lengths of an item: 0 where they all point the
same way.
"""


def mechanics(draft: Draft) -> list[str]:
    """Why the draft cannot be right, whatever users click; [] where nothing was found."""
    has_row = _has_row(draft)
    return _unsound_tables(draft) + _unsound_vectors(draft, has_row) or _disparities(draft, has_row)


def _unsound_tables(draft: Draft) -> list[str]:
    reasons = []
    for name, table in draft.model.tables.items():
        weights = table.weights.numpy()
        if not _are_finite(weights):
            rows = np.flatnonzero(~np.isfinite(weights).all(axis=1))
            reasons.append(
                f"table {name} has {len(rows)} rows that are not finite, first {rows[0]}"
            )
        elif len(weights) > 2 and _are_all_the_same(weights[1:]):  # noqa: PLR2004  two ids
            reasons.append(f"every row of table {name} is the same")
    return reasons


def _are_finite(numbers: Vectors) -> bool:
    """A sum takes a tenth of looking at each number; one that overflows proves nothing."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(numbers.sum()) or np.isfinite(numbers).all())


def _are_all_the_same(rows: Vectors) -> bool:
    """Two that differ say it of all."""
    return bool((rows[0] == rows[-1]).all() and (rows == rows[0]).all())


def _unsound_vectors(draft: Draft, has_row: Bools) -> list[str]:
    """Items without a row, as nobody clicked them or by the table's rule, may have one vector where
    they are of the same content.
    """
    vectors = draft.vectors
    if not _are_finite(vectors):
        broken = int((~np.isfinite(vectors).all(axis=1)).sum())
        return [f"{broken} of {len(vectors)} item vectors are not finite"]
    looked_at = np.flatnonzero(has_row | (not has_row.any()))
    vectors = vectors[looked_at[:: max(1, len(looked_at) // AT_MOST)]]
    if len(vectors) <= 1:
        return []
    distinct = len(np.unique(vectors.round(6), axis=0))
    if distinct < MIN_DISTINCT_RATIO * len(vectors):
        return [f"the {len(vectors)} items have only {distinct} different vectors"]
    pointing = directions(vectors, output_width=draft.model.spec.output_width)
    lengths = np.linalg.norm(pointing, axis=1)
    spread = 1 - float(np.linalg.norm(pointing.mean(axis=0)) / max(lengths.mean(), 1e-9))
    if spread < MIN_SPREAD or not lengths.any():
        return [f"all item vectors point the same way (spread {spread:.1e})"]
    return []


def _disparities(draft: Draft, has_row: Bools) -> list[str]:
    """Whether index, item ids and towers are of one model."""
    events = draft.checkpoint.events
    if not np.array_equal(draft.item_keys, _keys_encoded(draft)):
        return ["the catalogue's item ids are not those of the items that were encoded"]
    if lacking := _lacking_rows(draft, has_row):
        return lacking
    if draft.index.items != len(draft.item_keys):
        return [f"the index has {draft.index.items} items, the catalogue {len(draft.item_keys)}"]
    encoded = samples.queries(draft.model, events, draft.memories)
    queries = draft.model.query_vectors(encoded)
    if not np.isfinite(queries).all():
        return ["the sample queries have vectors that are not finite"]
    scores, positions = draft.index.search(queries, min(samples.K, draft.index.items))
    found = draft.vectors[positions]
    products = np.einsum("qd,qkd->qk", queries, found)
    gap = float(np.abs(np.where(positions >= 0, scores - products, 0.0)).max())
    lengths = np.linalg.norm(queries, axis=1).max() * np.linalg.norm(found, axis=2).max()
    if not gap <= _parity_tolerance(draft.index.kind) * max(1.0, float(lengths)):
        return [f"index scores differ from the towers' products by up to {gap:.4f}"]
    return []


def _has_row(draft: Draft) -> Bools:
    """[clicked items]: whether the item table knows each. It may know more ids than there are
    items, since other features may read it.
    """
    table = draft.checkpoint.model.item_feature(draft.checkpoint.events).table
    clicked = draft.item_keys[: draft.items.clicked]
    found: Bools = draft.model.looked_up(table).rows_of(clicked) != 0
    return found


def _lacking_rows(draft: Draft, has_row: Bools) -> list[str]:
    """Whether clicked items lack a row which they ought to have. Who waits to be admitted, was
    evicted, found the table full, or was clicked only in what is left out, has none by right; nor
    has what came since the checkpoint.
    """
    own = draft.checkpoint
    table = own.model.item_feature(own.events).table
    is_nightly = own.kind == "nightly"
    learns = own.model.learning_tables() if is_nightly else own.model.hourly_tables(own.events)
    if table not in learns or has_row.all():
        return []
    if not has_row.any():
        return [f"none of the {len(has_row)} items of the catalogue has a row in table {table}"]
    rule = own.model.table_rule(table)
    is_full = rule.max_rows is not None and len(draft.model.tables[table].known) >= rule.max_rows
    if rule.is_rule() or is_full or own.left_out or draft.counted:
        return []
    return [f"{(~has_row).sum()} items of the catalogue have no row in table {table}"]


def _keys_encoded(draft: Draft) -> Keys:
    """The item key in each row that the candidate tower was given."""
    checkpoint = draft.checkpoint
    encoded = draft.items.encoded[checkpoint.model.item_feature(checkpoint.events).name]
    return encoded.keys if isinstance(encoded, Ids) else NO_KEYS


def _parity_tolerance(kind: str) -> float:
    """For vectors of length 1. An inverted file keeps half-precision vectors, of 11 bits."""
    return samples.TOLERANCE if kind == "flat" else 5e-3
