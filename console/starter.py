"""The configuration that `twintide config new` writes: what was guessed of a sample, and why."""

import json
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from twintide.features.decayed_history import FADING_CLICK
from twintide.guess import Guess, Guesses
from twintide.traffic import SLOW_WINDOWS_MINUTES, Traffic

_WIDTH = 100


LOCAL = "127.0.0.1:9092"


def text_of(
    found: Guesses,
    *,
    source: str,
    separator: str,
    data_dir: str,
    topic: str,
    bootstrap: str = LOCAL,
) -> str:
    """A commented YAML file; `source` is what was looked at."""
    lines = (
        *_head(found, source, data_dir, topic=topic, bootstrap=bootstrap),
        *_sections(found, separator),
    )
    return "\n".join(lines) + "\n"


def _head(
    found: Guesses, source: str, data_dir: str, *, topic: str, bootstrap: str
) -> Iterator[str]:
    yield f"# Guessed from {found.rows:,} events, {source}: read it, change what"
    yield "# is wrong, and check it:  twintide config check -c FILE --sample EVENTS"
    yield ""
    yield f"data_dir: {_said(data_dir)}"
    yield ""
    yield "kafka:"
    yield f"  bootstrap_servers: [{json.dumps(bootstrap)}]"
    yield f"  topic: {_said(topic)}"


def _sections(found: Guesses, separator: str) -> Iterator[str]:
    yield ""
    yield from _events(found)
    if separator not in {",", "\t"}:
        yield "data_file:"
        yield f"  separator: {_said(separator)}"
        yield ""
    slow = found.traffic if found.traffic and found.traffic.is_slow else None
    yield "model:"
    if slow:
        yield from _of_slow(slow)
    yield "  query:                          # what the user is, and the moment"
    yield from _entries(_own(found.user, "user"), found.query)
    yield f"    - {_flow(_HISTORY)}"
    if slow:
        yield f"    - {_flow(_DECAYED)}"
    else:
        yield "    # what was clicked last; after 12 minutes half of it is left"
        yield f"    - {_flow(_LAST)}"
    yield "  candidate:                      # what the item is"
    yield from _entries(_own(found.item, "item"), found.candidate)
    statistics = {"kind": "item_statistics", "name": "statistics"}
    windows = list(SLOW_WINDOWS_MINUTES if slow else _WINDOWS_MINUTES)
    yield f"    - {_flow(statistics | {'windows_minutes': windows})}"
    for why in dict.fromkeys(one.why for one in found.left_out):
        names = ", ".join(one.column for one in found.left_out if one.why == why)
        yield from _folded(f"left out, since each {why}: {names}")
    if not slow:
        yield from _of_what_is_over()
    yield ""
    yield from _training(found)


def _of_what_is_over() -> Iterator[str]:
    """Where things come and go, both say it; where they stay, they cost little. What is slow has
    negatives of its own.
    """
    yield "  popularity_layer: 16            # how soon an item is over, from its statistics"
    yield "  # items that nobody clicks any more are negatives too, not those of the batch alone"
    yield "  negatives: [{kind: in_batch}, {kind: uniform, count: 256}]"


def _events(found: Guesses) -> Iterator[str]:
    yield "events:                           # one Kafka message is a JSON object with these fields"
    yield "  columns:"
    for column in found.columns:
        yield f"    {_said(column.name)}: {column.kind}"
    nested = [column for column in found.columns if column.path is not None]
    if nested:
        yield "  paths:                          # where in a message these lie"
        for column in nested:
            yield f"    {_said(column.name)}: {_said(column.path)}"
    yield f"  user: {_said(found.user)}"
    yield f"  item: {_said(found.item)}"
    yield f"  time: {_said(found.time)}"
    unit = found.column(found.time).unit
    if unit not in {None, "ms"}:
        yield f"  times: {unit}                      # the unit of times that are numbers"
    if found.positive:
        name, value = found.positive
        yield f"  positive: {_flow({'column': name, 'equals': value})}"
        yield "  # other events are shown, not clicked: never learnt, and never a negative"
    else:
        yield "  # every event is a click; else `positive: {column: …, equals: …}` tells clicks"
    yield ""


_HISTORY = {"kind": "history", "name": "history", "table": "item", "length": 20}
_WINDOWS_MINUTES = (10, 60, 180, 1440, 10080)
_LAST = {"kind": "decayed_history", "name": "last", "table": "item", **FADING_CLICK}
_DECAYED = {
    "kind": "decayed_history",
    "name": "decayed",
    "table": "item",
    "length": 50,
    "half_life_items": 10,
}


def _of_slow(traffic: Traffic) -> Iterator[str]:
    """What fits few clicks, and why."""
    yield from _folded(
        f"Chosen for about {round(traffic.clicks_a_day, -2):,.0f} clicks a day, which are few: "
        "what was clicked last, as it is, and the item's row, as it is, meet in the product, since "
        "layers learn too little of a night; a row says less beside popularity, since it has seen "
        "few clicks; statistics look back as far as there are clicks enough to tell. With many "
        "times as many clicks leave these keys out."
    )
    yield f"  temperature: {traffic.temperature}"
    if traffic.needs_pool:
        yield "  # a night's batches are of one hour each, in which few items are others' negatives"
        yield "  negatives: [{kind: in_batch}, {kind: pool, count: 256, clicks: 65536}]"
    for side, name in (("query", "decayed"), ("candidate", "item")):
        yield f"  {side}_tower: {_flow({'kind': 'dnn', 'hidden': [128, 64], 'residual': name})}"


def _own(column: str, table: str) -> dict[str, Any]:
    return {"kind": "sparse", "name": table, "column": column, "table": table}


def _entries(own: dict[str, Any], guesses: tuple[Guess, ...]) -> Iterator[str]:
    yield f"    - {_flow(own)}"
    for one in guesses:
        yield f"    # {one.column} {one.why}"
        yield f"    - {_flow(one.entry or {})}"


def _training(found: Guesses) -> Iterator[str]:
    yield "training:"
    if found.quiet_hour is None:
        yield '  day_starts_at: "04:00"          # your users\' quiet hour; the sample is too short'
    else:
        yield f'  day_starts_at: "{found.quiet_hour % 24:02}:00"          # in the quietest hours'
    yield "  time_zone: UTC                  # of the hour above; better where your users live"
    if found.traffic and found.traffic.is_slow:
        yield "  # a batch is a step, and a night needs some; one click of few moves a row less"
        for line in ("hourly", "nightly"):
            yield f"  {line}: {_flow(_steps(found.traffic))}"


def _steps(traffic: Traffic) -> dict[str, Any]:
    return {"batch_rows": traffic.batch_rows, "row_learning_rate": traffic.row_learning_rate}


def _folded(text: str) -> Iterator[str]:
    return iter(wrap(text, _WIDTH, initial_indent="  # ", subsequent_indent="  #   "))


def _flow(entry: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_said(value)}" for key, value in entry.items()) + "}"


def _said(value: Any) -> str:
    """As YAML takes it: JSON, but plain where plain text is the same."""
    if isinstance(value, str) and value.replace("_", "a").replace("-", "a").isalnum():
        plain = value.isascii() and value[0].isalpha() and value not in _WORDS
        return value if plain else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


_WORDS = {"true", "false", "null", "True", "False", "Null", "TRUE", "FALSE", "NULL"}
