"""A compacted topic of items, read to its end: what each key was said to be last.

The key of a message is the item's id, its value a JSON object with the item's attributes, and a
message without a value delists the item. A message that cannot be read changes nothing of its item;
where many cannot, the topic is refused.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from kafka import TopicPartition

from streaming import bounded
from streaming.topics import look_at
from twintide import listings
from twintide.clock import Clock
from twintide.config import Deployment, KafkaConfig
from twintide.errors import Refused
from twintide.itemfile import ITEM_ID, Aside, ItemRows, Wanted
from twintide.keys import keys_of
from twintide.listed import Listing
from twintide.notation import Notation
from twintide.reasons import why
from twintide.telemetry import get_log
from twintide.values import integer_of_json, typed, typed_objects

MOST_UNREAD = 0.05
"""Share of items whose newest message may be bad: with more, the topic is not what was declared."""

SILENT_SECONDS = 30.0
"""So long without a message before the end, and the reading is given up."""

log = get_log("items")


@dataclass(frozen=True)
class Said:
    """The newest message of a key."""

    time_ms: int
    partition: int
    offset: int
    value: bytes | None


def refresh(deployment: Deployment, *, clock: Clock) -> Listing | None:
    """Read the declared topic of items to its end, and keep what it says; None without one.

    Raises Refused or Retryable where it cannot be read and never could.
    """
    topic = deployment.items.topic
    if topic is None:
        return None
    kafka = deployment.kafka.model_copy(update={"topic": topic})
    return listings.taken(
        deployment.items_dir,
        lambda before: _read(deployment, kafka, before),
        deployment.items,
        deployment.events,
        clock=clock,
    )


def _read(deployment: Deployment, kafka: KafkaConfig, before: Listing | None) -> ItemRows | None:
    """None where the topic is as it was when `before` was made."""
    wanted = Wanted.of(deployment.items, deployment.events, deployment.model)
    _check_keeps(kafka)
    with bounded.consumer(kafka) as reader:
        ends = reader.end_offsets(bounded.places_of(reader, kafka.topic))
        offsets = sorted((each.partition, end) for each, end in ends.items())
        parts = [offsets, wanted.columns(), deployment.items.complete, kafka.topic]
        sha256 = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        if before is not None and before.ref.source_sha256 == sha256:
            return None
        newest = _newest(reader, ends)
    events = deployment.events
    notation = Notation(times=events.times, time_zone=events.time_zone)
    return _rows_of(newest, wanted, notation, sha256, topic=kafka.topic)


def _check_keeps(kafka: KafkaConfig) -> None:
    """Raises Refused where there is no such topic, or where its items would go by their age."""
    topic = look_at(kafka, hint="`items.topic` names one that your catalogue is sent to")
    policy = topic.settings.get("cleanup.policy", "delete")
    for_ever = {topic.settings.get(key, "-1") for key in ("retention.ms", "retention.bytes")}
    if "delete" in policy and for_ever != {"-1"}:
        raise Refused(
            f"the topic {kafka.topic} deletes what is old, so that items would be gone unsaid",
            hint=f"set its cleanup.policy to compact (it is {policy})",
        )


def _newest(reader: Any, ends: Mapping[TopicPartition, int]) -> dict[bytes | None, Said]:
    """Key -> its newest message before the ends. Raises Retryable where nothing comes any more."""
    reader.assign(list(ends))
    reader.seek_to_beginning(*ends)
    newest: dict[bytes | None, Said] = {}
    for each in bounded.messages_until(reader, ends, silent_seconds=SILENT_SECONDS):
        said = Said(each.timestamp, each.partition, each.offset, each.value)
        before = newest.get(each.key)
        if before is None or before.partition == said.partition or _is_later(said, before):
            newest[each.key] = said
    return newest


def _is_later(one: Said, other: Said) -> bool:
    """Of two messages of one key in different partitions, which have no order but their time."""
    return (one.time_ms, one.partition) >= (other.time_ms, other.partition)


@dataclass
class _Judged:
    """Messages, and why some cannot be read."""

    places: list[str]
    reasons: dict[int, str]

    def refuse(self, index: int, reason: str) -> None:
        self.reasons.setdefault(index, f"{self.places[index]}: {reason}")


def _rows_of(
    newest: Mapping[bytes | None, Said],
    wanted: Wanted,
    notation: Notation,
    sha256: str,
    *,
    topic: str,
) -> ItemRows:
    said = list(newest.values())
    judged = _Judged([f"partition {each.partition}, offset {each.offset}" for each in said], {})
    ids = _ids(list(newest), wanted, notation, judged)
    objects = list(_objects(said, judged))
    columns = {}
    for name, own_name, kind in wanted.columns()[1:]:
        raw = [each.get(name) for each in objects]
        column = typed_objects(raw, kind, notation)
        for index in np.flatnonzero(column.is_bad).tolist():
            judged.refuse(index, f"{name}: {why(raw[index], kind, notation)}")
        columns[own_name] = column.values
    has_value = np.array([each.value is not None for each in said], np.bool_)
    is_bad = np.isin(np.arange(len(said)), list(judged.reasons))
    _check_readable(judged, int(has_value.sum()), topic)
    table = pa.table({ITEM_ID: ids} | columns).filter(pa.array(has_value & ~is_bad))
    if not len(table):
        raise Refused(
            f"topic {topic} holds no item",
            hint="a message for each item: its id as the key, a JSON object as the value",
        )
    delisted = _known(ids, ~has_value)
    unread = _known(ids, is_bad)
    for index, reason in list(judged.reasons.items())[:10]:
        log.warning("item_not_read", topic=topic, why=reason, key=str(list(newest)[index])[:80])
    return ItemRows(_last_of_each(table), sha256, Aside(delisted, unread, len(judged.reasons)))


def _known(ids: pa.Array, which: npt.NDArray[np.bool_]) -> pa.Array:
    return ids.filter(pa.array(which & np.asarray(ids.is_valid())))


def _last_of_each(table: pa.Table) -> pa.Table:
    """Keys that are written in two ways (7, 07) are one item: the later of them counts."""
    keys = keys_of(table[ITEM_ID])
    last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
    return table.take(pa.array(np.sort(last)))


def _ids(keys: list[bytes | None], wanted: Wanted, notation: Notation, judged: _Judged) -> pa.Array:
    texts = []
    for index, key in enumerate(keys):
        try:
            texts.append(None if key is None else key.decode())
        except UnicodeDecodeError:
            texts.append(None)
            judged.refuse(index, "its key is no UTF-8")
    found = typed(pa.array(texts, pa.string()), wanted.ids[1], notation)
    for index in np.flatnonzero(np.asarray(found.values.is_null())).tolist():
        judged.refuse(index, f"its key {str(texts[index])[:80]!r} is no item id ({wanted.ids[1]})")
    return found.values


def _objects(said: list[Said], judged: _Judged) -> Iterator[dict[str, Any]]:
    """The fields of each value; none where it has no value, or one that is no object."""
    for index, each in enumerate(said):
        fields: Any = {}
        if each.value is not None:
            try:
                fields = json.loads(each.value, parse_int=integer_of_json)
            except (ValueError, RecursionError):
                fields = None
            if not isinstance(fields, dict):
                judged.refuse(index, "its value is no JSON object")
                fields = {}
        yield fields


def _check_readable(judged: _Judged, count: int, topic: str) -> None:
    if len(judged.reasons) > MOST_UNREAD * max(count, 1):
        first = next(iter(judged.reasons.values()))
        raise Refused(
            f"{len(judged.reasons)} of {count} items of topic {topic} cannot be read; {first}",
            hint="keys are item ids, values JSON objects whose fields are called and typed as the "
            "event columns",
        )
