"""Commit a cut, typed by `streaming.content`, as the next shard of its partition.

The quarantine file is written before the shard and named in its footer, so the shard's claim
commits both; the file of an attempt that a crash ended is a harmless orphan.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from streaming.content import Content
from streaming.cutter import Cut
from twintide.files import remove_file
from twintide.shards import Ledger, ShardFooter, Stamp

QUARANTINE_SUFFIX = ".quarantine.arrow"


def publish(
    ledger: Ledger,
    cut: Cut,
    content: Content,
    *,
    partitions: int,
    fingerprint: str,
    topic_id: str | None = None,
    leader_epoch: int | None = None,
) -> ShardFooter:
    """Commit a cut as the next shard of its partition.

    Raises FileExistsError where a rival has committed a shard from the same position: then nothing
    of this cut counts, and the partition goes on behind the newest shard.
    """
    footer = ShardFooter(
        topic=ledger.topic,
        partition=cut.partition,
        first=cut.first,
        next=cut.next,
        minute_at=cut.minute_at,
        rows=content.rows.count,
        rejected=content.rejected_count,
        filtered=content.filtered,
        clock_ahead=cut.clock_ahead,
        clock_nonsense=cut.clock_nonsense,
        gap_before=cut.gap_before,
        topic_id=topic_id,
        leader_epoch=leader_epoch,
        partitions=partitions,
        fingerprint=fingerprint,
    )
    with _quarantined(ledger, footer, content, after=cut.after) as named:
        return ledger.commit(named, content.rows, after=cut.after)


@contextmanager
def _quarantined(
    ledger: Ledger, footer: ShardFooter, content: Content, *, after: int | None
) -> Iterator[ShardFooter]:
    """The footer with its quarantine file, which is written before the shard that names it."""
    if content.rejected_count == 0:
        yield footer
        return
    # Unique to this attempt: that of a rival, for the same offsets, may be what counts.
    name = f"{footer.partition:05d}-{footer.first:020d}-{uuid4().hex[:12]}{QUARANTINE_SUFFIX}"
    data = content.quarantine_file()
    stamp = {"quarantine": name, "quarantine_stamp": Stamp.of(data)}
    named = footer.model_copy(update=stamp)
    path = ledger.set_aside(named, data)
    try:
        yield named  # crash here: an orphan that nobody names
    except Exception:
        # It is tried again, for hours: a full disk must not fill up with what nobody names.
        if not ledger.has_claimed(named, after=after):
            remove_file(path)
        raise
