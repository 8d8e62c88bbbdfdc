"""Whether the rows of a draft's tables are still those of the ids that they were.

Training moves rows, and seldom far: the row of an id stays nearer to what it was in the live
version than another id's. Where tables were shuffled, or are of another training, it does not. Of
this recall need see nothing, where what is new makes up for what is broken.
"""

import numpy as np

from publisher.build import Draft
from publisher.index.searched import Vectors
from publisher.reader import LoadedVersion
from twintide.checkpoints import CheckpointManifest
from twintide.versions import VersionManifest

LEAST_ROWS = 50
AT_MOST = 2_000
"""Rows of a table that are looked at."""

LEAST_NEARER = 0.75
"""Share of the rows that must be nearer to their own than to another; by lot it is one half."""


def estranged(draft: Draft, live: LoadedVersion) -> list[str]:
    """Which tables, that both have, have rows of other ids; of a common descent only."""
    if not _are_kin(draft.checkpoint, live.manifest):
        return []
    reasons = []
    both = set(draft.query.spec.learning_tables(("query",)))
    for name in live.model.spec.learning_tables(("query",)):
        if name not in both:
            continue
        now, before = _common_rows(draft, live, name)
        if len(now) < LEAST_ROWS or not _can_be_told_apart(now, before):
            continue
        nearer = float((_cosine(now, before) > _cosine(now, np.roll(before, 1, axis=0))).mean())
        if nearer < LEAST_NEARER:
            reasons.append(
                f"the rows of table {name} are not those of the live version's ids: {nearer:.0%} "
                f"are nearer to their own than to another one's; by lot 50% are"
            )
    return reasons


def _are_kin(draft: CheckpointManifest, live: VersionManifest) -> bool:
    """Whether one nightly stands behind both, or one made the other, and nothing began anew."""
    return not draft.anew and bool(
        {draft.name, draft.parent, draft.base} & {live.checkpoint, live.base} - {None}
    )


def _can_be_told_apart(now: Vectors, before: Vectors) -> bool:
    """Rows of one number have two directions only, and those of another width none in common."""
    return bool(now.shape[1] == before.shape[1] > 1)


def _common_rows(draft: Draft, live: LoadedVersion, name: str) -> tuple[Vectors, Vectors]:
    """[N, width] of each: rows of ids that both know, some of these. What has become zero is near
    nothing.
    """
    of_draft, of_live = draft.query.looked_up(name), live.model.looked_up(name)
    known = of_live.known
    keys = known[:: max(1, len(known) // AT_MOST)][:AT_MOST]
    rows, rows_before = of_draft.rows_of(keys), of_live.rows_of(keys)
    are_both = (rows != 0) & (rows_before != 0)
    now, before = of_draft.take(rows[are_both]), of_live.take(rows_before[are_both])
    had_length = np.abs(before).sum(axis=1) > 0
    return now[had_length], before[had_length]


def _cosine(one: Vectors, other: Vectors) -> Vectors:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Vectors = np.einsum("nd,nd->n", one, other) / np.maximum(lengths, 1e-30)
    return found
