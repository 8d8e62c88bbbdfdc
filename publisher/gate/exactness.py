"""Whether the index finds what an exact search finds."""

import numpy as np

from publisher.build import Draft
from publisher.gate.finding import Finding
from publisher.index.searched import Vectors
from twintide.config import GateConfig

QUERIES = 200
_AT_ONCE = 20
"""Queries whose products with all items are in memory."""

_NEARLY = 1e-5
"""Of the largest product: of two items this near, either is right."""


def exactness(draft: Draft, queries: Vectors, config: GateConfig) -> Finding:
    """Recall of the index on query vectors [Q, O · (D + 1)] against all products."""
    found = index_recall(draft, queries[:QUERIES], k=config.k)
    figures = {"index_recall": found}
    if found >= config.min_index_recall:
        return Finding(figures=figures)
    reason = (
        f"the index {draft.index.kind} finds {found:.3f} of the {config.k} best items; "
        f"{config.min_index_recall:.3f} is the least allowed: raise publishing.index_recall, "
        "or publishing.nprobe where it is a number, or set publishing.index: flat"
    )
    return Finding([reason], figures=figures)


def index_recall(draft: Draft, queries: Vectors, *, k: int) -> float:
    """Share of the k best items that the index finds; one as good as the last of them counts."""
    k = min(k, draft.index.items)
    _, positions = draft.index.search(queries, k)
    shares = []
    for first in range(0, len(queries), _AT_ONCE):
        products = queries[first : first + _AT_ONCE] @ draft.vectors.T
        least = np.partition(products, -k, axis=1)[:, -k]
        slack = _NEARLY * np.maximum(1.0, np.abs(products).max(axis=1))
        places = positions[first : first + _AT_ONCE]
        reached = np.take_along_axis(products, np.maximum(places, 0), axis=1)
        is_right = (reached >= (least - slack)[:, None]) & (places >= 0)
        shares.append(is_right.mean(axis=1))
    return float(np.concatenate(shares).mean())
