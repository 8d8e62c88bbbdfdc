"""`shards:`, how clicks are cut into shards."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt

from twintide.config.section import Config


def _divides_an_hour(minutes: int) -> int:
    if 60 % minutes:
        raise ValueError(f"{minutes} does not divide an hour: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20 …")
    return minutes


class ShardsConfig(Config):
    """How clicks are cut into shards."""

    minutes: Annotated[int, Field(ge=1, le=60), AfterValidator(_divides_an_hour)] = 1
    """Length of the window that one shard covers, in minutes of broker time."""

    max_rows: PositiveInt = 500_000
    """Rows after which a shard is cut early, so that memory stays bounded."""

    max_bytes: PositiveInt = 256 * 1024 * 1024
    """What all open shards may hold together; above it the largest is cut early. Ingest takes no
    more than this and 96 MiB beside what it takes to read nothing.
    """

    allowed_lateness_seconds: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """How long after its minute is over (by the wall clock) an idle partition's shard stays open.
    """

    max_rejected_ratio: float = Field(default=0.05, gt=0, le=1)
    """Share of bad messages, over the last 10,000 of a partition, above which the daemon stops."""

    accept_gap: bool = False
    """Go on where Kafka's retention has deleted messages that were never read; the gap is recorded.
    """
