"""Where a partition is read on, and when that is for an operator to decide.

The newest shard says where ingest stands, or, where there is none, the watermark of a partition
that was watched; Kafka's log says what is still there. Between the two nothing may be skipped
silently, and a log that is not the one that was read is never read on.
"""

from dataclasses import dataclass
from typing import Self

from twintide.errors import Refused
from twintide.shards import ShardFooter, Watermark


@dataclass(frozen=True)
class Stand:
    """How far a partition has come, and of which log."""

    next: int
    seen: int
    """Behind the last offset that is known to hold nothing that is not in a shard."""

    topic_id: str | None = None
    leader_epoch: int | None = None

    @classmethod
    def of(cls, before: ShardFooter | None, watched: Watermark | None) -> Self | None:
        """By the newest shard; else as it was watched; None where nobody has seen it yet."""
        if before is None:
            return cls(watched.next, watched.next, watched.topic_id) if watched else None
        seen = max(before.next, watched.next if watched else 0)
        return cls(before.next, seen, before.topic_id, before.leader_epoch)


def resume_point(
    topic: str,
    partition: int,
    stand: Stand | None,
    *,
    begin: int,
    end: int,
    topic_id: str | None,
    agrees_until: int | None,
    accept_gap: bool,
) -> int:
    """The offset to read from, where the log holds [begin, end).

    `topic_id` is the topic's, `agrees_until` where messages of the stand's leader epoch end in the
    log; None or negative where nobody knows. Raises Refused where messages that no shard holds are
    gone, and where the log is not the one that the shards were cut from.
    """
    if stand is None:
        return begin
    name = f"{topic}, partition {partition}"
    if None not in {stand.topic_id, topic_id} and stand.topic_id != topic_id:
        raise Refused(
            f"topic {topic} was made anew: the shards of partition {partition} are of the one with "
            f"id {stand.topic_id}, and it is {topic_id} now",
            hint=_ANOTHER_PLACE,
        )
    if stand.seen > end:
        raise Refused(
            f"the shards of {name}, reach offset {stand.seen}, but its log ends at {end}: it is "
            "not the log that they were cut from",
            hint=f"was the topic made anew, or a broker's disk lost? {_ANOTHER_PLACE}",
        )
    if agrees_until is not None and 0 <= agrees_until < stand.next:
        raise Refused(
            f"the log of {name}, was cut short at offset {agrees_until} and filled again: "
            f"offsets {agrees_until} to {stand.next - 1} in the shards are other messages than "
            "the log's",
            hint="did a broker that lagged behind become leader (an unclean election)? "
            + _ANOTHER_PLACE,
        )
    if stand.next >= begin:
        return stand.next
    if accept_gap or stand.seen >= begin:
        return begin
    raise Refused(
        f"offsets {stand.next} to {begin - 1} of {name}, were never read and Kafka's retention has "
        "deleted them",
        hint="shards.accept_gap: true goes on without them, and records the gap",
    )


_ANOTHER_PLACE = (
    "another data_dir reads the topic as it is now from its beginning; another kafka.topic may "
    "share this one"
)
