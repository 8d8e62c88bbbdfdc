"""The gate: what a version must show before it may be promoted.

First the mechanics, which need no clicks: sound vectors, an index that says what the towers say,
enough items, no step back in time. Then recall, draft beside live, on the newest clicks that
neither of them has learnt. What could not be judged is said, never guessed.
"""

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher import samples
from publisher.build import Draft
from publisher.index import directions
from publisher.reader import LoadedVersion
from twintide.config import GateConfig
from twintide.features.columns import from_columns
from twintide.keys import Keys
from twintide.ragged import Ids
from twintide.slices import ITEM_KEY
from twintide.versions import GateReport, VersionManifest

MIN_DISTINCT_RATIO = 0.5
"""Share of items that must have a vector of their own."""

MIN_SPREAD = 1e-4
"""1 minus the length of the items' mean vector, in lengths of an item: 0 where they all point the
same way.
"""

CHANCE_Z = 2.0
"""Differences of fewer standard errors than this may be chance."""


@dataclass(frozen=True)
class Recall:
    """How two versions found the same clicks."""

    events: int
    draft: float
    live: float
    z: float
    """How many standard errors the draft lies below the live version; paired by click."""


def judge(
    draft: Draft,
    live: LoadedVersion | None,
    clicks: pa.Table | None,
    config: GateConfig,
    *,
    latest: datetime | None = None,
    rewound_to: str | None = None,
) -> GateReport:
    """Judge a draft. `clicks` are rows of slices that neither the draft nor `live` has learnt,
    newest last; None where there are none. With `rewound_to`, an operator went back to that
    checkpoint on purpose. A newest click later than `latest` says nothing of how new anything is.
    """
    reasons = mechanics(draft)
    clicks, notes = _to_be_had(draft, clicks)
    if live:
        for found, said in (
            _knows_fewer(draft, live.manifest, config, rewound_to=rewound_to),
            _is_older(draft, live.manifest, latest=latest, rewound_to=rewound_to),
        ):
            reasons += found
            notes += said
        reasons += _leaves_fewer(draft, live.manifest, config)
    if live is None:
        notes.append("recall was not compared: no version is live")
    if clicks is None or len(clicks) < config.min_events:
        seen = 0 if clicks is None else len(clicks)
        notes.append(
            f"recall was not judged: {seen} clicks that neither has learnt, "
            f"of {config.min_events} needed"
        )
        return _report(reasons, notes, live)
    if reasons:
        notes.append("recall was not judged: the mechanics failed")
        return _report(reasons, notes, live)
    newest = clicks.slice(max(0, len(clicks) - config.max_events))
    recall = compare(draft, live, newest, k=config.k)
    reasons += recall_reasons(recall, config) if live else []
    return _report(reasons, notes, live, recall=recall, k=config.k)


def _to_be_had(draft: Draft, clicks: pa.Table | None) -> tuple[pa.Table | None, list[str]]:
    """Clicks on items that are not to be had any more say nothing of a version without these."""
    if clicks is None or draft.listing is None:
        return clicks, []
    to_be_had = draft.listing.may_be_answered(clicks[ITEM_KEY].to_numpy())
    left_out = len(clicks) - int(to_be_had.sum())
    if not left_out:
        return clicks, []
    note = f"{left_out} clicks on items that are not to be had any more were left out"
    return clicks.filter(pa.array(to_be_had)), [note]


def mechanics(draft: Draft) -> list[str]:
    """Why the draft cannot be right, whatever users click; [] where nothing was found."""
    return _unsound_tables(draft) + _unsound_vectors(draft) or _disparities(draft)


def compare(draft: Draft, live: LoadedVersion | None, clicks: pa.Table, *, k: int) -> Recall:
    """Recall@k of both on the same clicks, each with the history as of the click."""
    items = clicks[ITEM_KEY].to_numpy()
    draft_hits = hits(draft, clicks, items, k=k)
    live_hits = draft_hits if live is None else hits(live, clicks, items, k=k)
    return Recall(
        events=len(clicks),
        draft=float(draft_hits.mean()),
        live=float(live_hits.mean()),
        z=paired_z(draft_hits, live_hits),
    )


def hits(
    version: Draft | LoadedVersion, clicks: pa.Table, items: Keys, *, k: int
) -> npt.NDArray[np.bool_]:
    """Bool [clicks]: whether the clicked item is among the k best."""
    spec = version.model.spec
    encoded = from_columns(clicks, spec.query, "query")
    _, positions = version.search(encoded, min(k, version.index.items))
    found: npt.NDArray[np.bool_] = (
        samples.keys_at(version.item_keys, positions) == items[:, None]
    ).any(axis=1)
    return found


def paired_z(draft: npt.NDArray[np.bool_], live: npt.NDArray[np.bool_]) -> float:
    """McNemar's z: clicks that only the live version found against those that only the draft
    found. Clicks that both or neither found say nothing about which is better.
    """
    lost, won = int((live & ~draft).sum()), int((draft & ~live).sum())
    return (lost - won) / math.sqrt(lost + won) if lost + won else 0.0


def recall_reasons(recall: Recall, config: GateConfig) -> list[str]:
    """A drop must be both larger than allowed and beyond chance."""
    least = recall.live * (1 - config.max_recall_drop_ratio)
    if recall.draft >= least or recall.z <= CHANCE_Z:
        return []
    fall = f"recall@{config.k} falls from {recall.live:.4f} to {recall.draft:.4f}"
    seen = f"{recall.events} clicks (z = {recall.z:.1f})"
    return [f"{fall} on {seen}; {least:.4f} is the least allowed"]


def _unsound_tables(draft: Draft) -> list[str]:
    reasons = []
    for name, table in draft.model.tables.items():
        weights = table.weights.numpy()
        if not np.isfinite(weights).all():
            rows = np.flatnonzero(~np.isfinite(weights).all(axis=1))
            reasons.append(
                f"table {name} has {len(rows)} rows that are not finite, first {rows[0]}"
            )
        elif len(weights) > 2 and (weights[1:] == weights[1]).all():  # noqa: PLR2004  two ids
            reasons.append(f"every row of table {name} is the same")
    return reasons


def _unsound_vectors(draft: Draft) -> list[str]:
    """Items without a row, as nobody clicked them or by the table's rule, may have one vector where
    they are of the same content.
    """
    vectors = draft.vectors
    if not np.isfinite(vectors).all():
        broken = int((~np.isfinite(vectors).all(axis=1)).sum())
        return [f"{broken} of {len(vectors)} item vectors are not finite"]
    has_row = _has_row(draft)
    vectors = vectors[: draft.items.clicked][has_row | (not has_row.any())]
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


def _disparities(draft: Draft) -> list[str]:
    """Whether index, item ids and towers are of one model."""
    events = draft.checkpoint.events
    if not np.array_equal(draft.item_keys, _keys_encoded(draft)):
        return ["the catalogue's item ids are not those of the items that were encoded"]
    if lacking := _lacking_rows(draft):
        return lacking
    if draft.index.items != len(draft.item_keys):
        return [f"the index has {draft.index.items} items, the catalogue {len(draft.item_keys)}"]
    encoded = samples.queries(draft.model, events, draft.memories)
    queries = draft.model.query_vectors(encoded)
    if not np.isfinite(queries).all():
        return ["the sample queries have vectors that are not finite"]
    scores, positions = draft.index.search(queries, min(samples.K, draft.index.items))
    products = np.einsum("qd,qkd->qk", queries, draft.vectors[positions])
    gap = float(np.abs(np.where(positions >= 0, scores - products, 0.0)).max())
    lengths = np.linalg.norm(queries, axis=1).max() * np.linalg.norm(draft.vectors, axis=1).max()
    if not gap <= _parity_tolerance(draft.index.kind) * max(1.0, float(lengths)):
        return [f"index scores differ from the towers' products by up to {gap:.4f}"]
    return []


def _has_row(draft: Draft) -> npt.NDArray[np.bool_]:
    """[clicked items]: whether the item table knows each. It may know more ids than there are
    items, since other features may read it.
    """
    table = draft.checkpoint.model.item_feature(draft.checkpoint.events).table
    clicked = draft.item_keys[: draft.items.clicked]
    found: npt.NDArray[np.bool_] = draft.model.looked_up(table).rows_of(clicked) != 0
    return found


def _lacking_rows(draft: Draft) -> list[str]:
    """Whether clicked items lack a row which they ought to have. Who waits to be admitted, was
    evicted, found the table full, or was clicked only in what is left out, has none by right.
    """
    own = draft.checkpoint
    table = own.model.item_feature(own.events).table
    is_nightly = own.kind == "nightly"
    learns = own.model.learning_tables() if is_nightly else own.model.hourly_tables(own.events)
    has_row = _has_row(draft)
    if table not in learns or has_row.all():
        return []
    if not has_row.any():
        return [f"none of the {len(has_row)} items of the catalogue has a row in table {table}"]
    rule = own.model.table_rule(table)
    is_full = rule.max_rows is not None and len(draft.model.tables[table].known) >= rule.max_rows
    if rule.is_rule() or is_full or own.left_out:
        return []
    return [f"{(~has_row).sum()} items of the catalogue have no row in table {table}"]


def _keys_encoded(draft: Draft) -> Keys:
    """The item key in each row that the candidate tower was given."""
    checkpoint = draft.checkpoint
    encoded = draft.items.encoded[checkpoint.model.item_feature(checkpoint.events).name]
    return encoded.keys if isinstance(encoded, Ids) else np.zeros(0, np.uint64)


def _parity_tolerance(kind: str) -> float:
    """For vectors of length 1. An inverted file keeps half-precision vectors, of 11 bits."""
    return samples.TOLERANCE if kind == "flat" else 5e-3


def _knows_fewer(
    draft: Draft, live: VersionManifest, config: GateConfig, *, rewound_to: str | None
) -> tuple[list[str], list[str]]:
    """Why it knows far fewer clicked items than the live version does, and what of that was meant:
    of what is rewound the items go too, and those that a new rule forgets.
    """
    known, live_known = draft.catalogue_items, live.catalogue_items or live.items
    least = math.ceil(config.min_items_ratio * live_known)
    if known >= least:
        return [], []
    found = f"it has {known} items, the live version {live_known}"
    if rewound_to is not None:
        return [], [f"{found}: training was rewound to {rewound_to}"]
    days = draft.checkpoint.model.state.forget_items_after_days
    if days != live.model.state.forget_items_after_days:
        return [], [f"{found}: items are forgotten after {days} days now"]
    return [f"{found}; {least} is the least allowed"], []


def _leaves_fewer(draft: Draft, live: VersionManifest, config: GateConfig) -> list[str]:
    """Whether the source of items lets far fewer be answered, where both know what it says."""
    least = math.ceil(config.min_items_ratio * live.items)
    if not draft.listing or not live.listing or draft.index.items >= least:
        return []
    found = (
        f"the source of items leaves {draft.index.items} items, the live version has "
        f"{live.items}; {least} is the least allowed: is "
        f"{draft.listing.ref.name} whole? `twintide publish --no-gate` says that it is"
    )
    return [found]


def _is_older(
    draft: Draft, live: VersionManifest, *, latest: datetime | None, rewound_to: str | None
) -> tuple[list[str], list[str]]:
    """Why the draft's clicks are too old, and what could not be judged or was meant."""
    newest, live_newest = draft.checkpoint.newest_event_at, live.newest_event_at
    if live_newest is None or (newest is not None and newest >= live_newest):
        return [], []
    found = f"its newest click is of {newest}, that of the live version of {live_newest}"
    if latest is not None and live_newest > latest:
        return [], [f"{found}, which lies in the future: the two were not compared"]
    if rewound_to is not None:
        return [], [f"{found}: training was rewound to {rewound_to}"]
    return [found], []


def _report(
    reasons: list[str],
    notes: list[str],
    live: LoadedVersion | None,
    *,
    recall: Recall | None = None,
    k: int = 0,
) -> GateReport:
    return GateReport(
        passed=not reasons,
        reasons=tuple(reasons),
        notes=tuple(notes),
        events=recall.events if recall else 0,
        k=k,
        recall=recall.draft if recall else None,
        live_recall=recall.live if recall and live else None,
        live=live.name if live else None,
    )
