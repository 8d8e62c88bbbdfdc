"""Recall@k of draft and live version, side by side on the same clicks."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher import samples
from publisher.build import Draft
from publisher.reader import LoadedVersion
from twintide.config import GateConfig
from twintide.features.columns import from_columns
from twintide.keys import Keys
from twintide.slices import ITEM_KEY

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
