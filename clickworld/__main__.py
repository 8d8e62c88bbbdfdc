"""Hours of a simulated world as one Parquet file.

`python -m clickworld news.parquet --world news --hours 384`; then `twintide replay` puts them into
Kafka, and `twintide evaluate` goes through them without.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clickworld import ClickWorld, WorldConfig
from clickworld.news import NewsConfig, NewsWorld
from twintide.files import publish_file

START_AT = datetime(2026, 1, 5, 4, tzinfo=UTC)
"""A Monday, at the hour in which the quickstart's days begin."""

Hours = Callable[[datetime, int], Iterator[pa.Table]]
WORLDS: dict[str, Callable[[int], Hours]] = {
    "feed": lambda seed: ClickWorld(WorldConfig(seed=seed)).hours,
    "news": lambda seed: NewsWorld(NewsConfig(seed=seed)).hours,
}


def main(given: Sequence[str] | None = None) -> None:
    """Write the file and say what it holds."""
    arguments = argparse.ArgumentParser(prog="python -m clickworld", description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--world", choices=WORLDS, default="feed")
    arguments.add_argument("--hours", type=int, default=96)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args(given)
    hours = WORLDS[asked.world](asked.seed)
    events = pa.concat_tables(hours(START_AT, asked.hours)).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(events, sink, compression="zstd")
    publish_file(asked.file, sink.getvalue().to_pybytes())
    sys.stdout.write(f"{asked.file}: {len(events):,} events of {asked.hours} hours\n")


if __name__ == "__main__":
    main()
