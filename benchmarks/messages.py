"""What it costs to type a message, flat or nested, without Kafka and without a disk.

    python -m benchmarks.messages [--messages 20000] [--rounds 25]

The same events are written flat, and nested with a path for each column that lies in an object or
in a list of objects; 0.1 % of a third list are cut off. Rounds take them in turns; the figures are
microseconds of processor time for a message.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

from twintide.events import EventSchema
from twintide.jsonrows import parse

NOON_MS = 1_700_049_600_000
FLAT = EventSchema.model_validate(
    {
        "columns": {
            "event_id": "int64",
            "user_id": "int64",
            "region": "int64",
            "item_id": "int64",
            "category": "int64",
            "event_at": "timestamp_ms",
            "clicked": "bool",
            "seconds": "float64",
            "topics": "list<int64>",
            "shares": "list<float64>",
        },
        "user": "user_id",
        "item": "item_id",
        "time": "event_at",
    }
)
PATHS = {
    "user_id": "user.id",
    "region": "user.region",
    "item_id": "item.id",
    "category": "item.category",
    "topics": "topics[].id",
    "shares": "topics[].share",
}
NESTED = FLAT.model_copy(update={"paths": PATHS})


def flat(number: int) -> dict[str, Any]:
    """One event."""
    return {
        "event_id": number,
        "user_id": number * 7919 % 1_000_003,
        "region": number % 17,
        "item_id": number * 104_729 % 99_991,
        "category": number % 40,
        "event_at": NOON_MS + number,
        "clicked": True,
        "seconds": number % 977 / 7,
        "topics": [number % 9, number % 31],
        "shares": [number % 9 / 10, number % 31 / 100],
        "agent": "m" * 60,
    }


def nested(number: int) -> dict[str, Any]:
    """The same with objects."""
    fields = flat(number)
    topics = zip(fields.pop("topics"), fields.pop("shares"), strict=True)
    return fields | {
        "user": {"id": fields.pop("user_id"), "region": fields.pop("region")},
        "item": {"id": fields.pop("item_id"), "category": fields.pop("category")},
        "topics": [{"id": topic, "share": share} for topic, share in topics],
    }


def microseconds(messages: Sequence[bytes], schema: EventSchema) -> float:
    """Of processor time for one of them."""
    began = time.process_time()
    parse(messages, schema)
    return (time.process_time() - began) / len(messages) * 1e6


def main() -> None:
    """Print the median and the least of each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=25)
    chosen = options.parse_args()
    numbers = range(chosen.messages)
    as_flat, as_nested = (
        [json.dumps(made(each), separators=(",", ":")).encode() for each in numbers]
        for made in (flat, nested)
    )
    cut = [each[: -40 if at % 1000 == 0 else None] for at, each in enumerate(as_nested)]
    if parse(as_flat, FLAT).events != parse(as_nested, NESTED).events:
        raise SystemExit("flat and nested messages do not mean the same")
    runs = {"flat": (as_flat, FLAT), "nested": (as_nested, NESTED), "0.1 % cut": (cut, NESTED)}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(chosen.rounds):
        for name in sorted(runs, reverse=number % 2 == 1):
            taken[name].append(microseconds(*runs[name]))
    for name, (messages, _) in runs.items():
        size = sum(map(len, messages)) // len(messages)
        print(
            f"{name:10} {size} bytes, median {statistics.median(taken[name]):.2f}, "
            f"least {min(taken[name]):.2f} µs"
        )


if __name__ == "__main__":
    main()
