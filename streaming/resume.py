"""Where a partition is read on, and when that is for an operator to decide.

The newest shard says where ingest stands; Kafka's log says what is still there. Between the two
nothing may be skipped silently.
"""

from twintide.errors import Refused
from twintide.shards import ShardFooter


def resume_point(
    topic: str,
    partition: int,
    before: ShardFooter | None,
    *,
    begin: int,
    end: int,
    accept_gap: bool,
) -> int:
    """The offset to read from, where the log holds [begin, end).

    Raises Refused where messages that no shard holds are gone, and where the log is not the one
    that the shards were cut from.
    """
    if before is None:
        return begin
    if before.next > end:
        raise Refused(
            f"the shards of {topic}, partition {partition}, reach offset {before.next}, but its "
            f"log ends at {end}: it is not the log that they were cut from",
            hint="was the topic made anew? choose another kafka.topic, or another data_dir",
        )
    if before.next >= begin:
        return before.next
    if accept_gap:
        return begin
    raise Refused(
        f"offsets {before.next} to {begin - 1} of {topic}, partition {partition}, were never read "
        "and Kafka's retention has deleted them",
        hint="shards.accept_gap: true goes on without them, and records the gap",
    )
