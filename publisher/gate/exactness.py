"""Whether the index finds what an exact search finds."""

from publisher.build import Draft
from publisher.gate.finding import Finding
from publisher.index.searched import Vectors
from publisher.tuning import Best
from twintide.config import GateConfig

QUERIES = 100


def exactness(draft: Draft, queries: Vectors, config: GateConfig) -> Finding:
    """Recall of the index on query vectors [Q, O · (D + 1)] against all products."""
    found = Best.of(draft.vectors, queries[:QUERIES], k=config.k).found_by(draft.index)
    figures = {"index_recall": found}
    if found >= config.min_index_recall:
        return Finding(figures=figures)
    reason = (
        f"the index {draft.index.kind} finds {found:.3f} of the {config.k} best items; "
        f"{config.min_index_recall:.3f} is the least allowed: raise publishing.index_recall, "
        "or publishing.nprobe where it is a number, or set publishing.index: flat"
    )
    return Finding([reason], figures=figures)
