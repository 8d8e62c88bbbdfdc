"""Whole record batches out of kafka-python, four times as fast as a ConsumerRecord per message.

Most of `poll()` goes into building an object per message. This module replaces the one private
method that unpacks fetched batches and hands out one `Messages` per Kafka batch instead; the
client keeps its group protocol, CRC check, decompression, read_committed filter and bookkeeping of
offsets. It is the only module that touches private parts of kafka-python; `is_available` checks at
start that they are there, and without them the source polls plainly.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch

from streaming.messages import Messages, messages_of

_SEAM = ("self", "tp", "records", "key_deserializer", "value_deserializer")
_USED_OF_PARTITION_RECORDS = (
    "_consume_aborted_transactions_up_to",
    "_is_batch_aborted",
    "_contains_abort_marker",
    "drain",
)
_USED_OF_BATCHES = ("_maybe_uncompress", "_buffer", "_pos", "validate_crc", "timestamp_type")


def is_available() -> bool:
    """Whether this kafka-python has the parts that the block path builds on."""
    records = getattr(Fetcher, "PartitionRecords", None)
    unpack = getattr(records, "_unpack_records", None)
    return (
        unpack is not None
        and tuple(inspect.signature(unpack).parameters) == _SEAM
        and all(hasattr(records, name) for name in _USED_OF_PARTITION_RECORDS)
        and all(hasattr(DefaultRecordBatch, name) for name in _USED_OF_BATCHES)
    )


def install(consumer: Any) -> bool:
    """Let `consumer.poll()` return lists of `Messages`; False, and no change, where it cannot."""
    fetcher = getattr(consumer, "_fetcher", None)
    if not is_available() or not isinstance(fetcher, Fetcher):
        return False
    fetcher.PartitionRecords = _BlockRecords  # found on the instance before the class
    return True


class _BlockRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka has no types
    """Partition records that yield one `Messages` per record batch."""

    def _unpack_records(
        self, tp: Any, records: Any, key_deserializer: Any, value_deserializer: Any
    ) -> Iterator[Messages]:
        del tp, key_deserializer, value_deserializer
        while (batch := records.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(
                    f"record batch of {self.topic_partition} at offset {batch.base_offset} "
                    "failed its CRC check"
                )
            if batch.magic == 2:  # noqa: PLR2004  the message format since Kafka 0.11
                self.leader_epoch = batch.leader_epoch
                if self._holds_no_messages(batch):
                    self.next_fetch_offset = batch.next_offset
                    continue
                messages = _decoded(batch)
            else:
                messages = _of_legacy(batch)
            messages = self._from_fetch_offset(messages)
            self.next_fetch_offset = messages.next
            self.records_read += len(messages)
            self.bytes_read += messages.bytes
            if len(messages):
                yield messages
        self.drain()

    def _holds_no_messages(self, batch: Any) -> bool:
        """Control batches, and under read_committed those of aborted transactions."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)

    def _from_fetch_offset(self, messages: Messages) -> Messages:
        """A fetch from the middle of a batch returns all of it: leave out what came before."""
        skipped = int(np.searchsorted(messages.offsets, self.fetch_offset))
        if skipped == 0:
            return messages
        if skipped == len(messages):
            return messages_of(messages.offsets[:0], messages.next, messages.times_ms[:0], [])
        return messages.split(skipped)[1]

    def _maybe_skip_record(self, record: Messages) -> bool:
        del record
        return False


def _of_legacy(batch: Any) -> Messages:
    """Message formats 0 and 1, one record at a time: nobody writes them any more."""
    records = list(batch)
    offsets = np.array([record.offset for record in records], np.int64)
    times_ms = np.array([record.timestamp or -1 for record in records], np.int64)
    next_offset = int(offsets[-1]) + 1 if records else batch.base_offset + 1
    return messages_of(offsets, next_offset, times_ms, [record.value for record in records])


def _decoded(batch: Any) -> Messages:
    """All records of a batch of format 2. Raises CorruptRecordError where its framing is wrong."""
    batch._maybe_uncompress()  # noqa: SLF001  part of the seam, see is_available
    buffer, start, count = bytes(batch._buffer), batch._pos, batch.records_count  # noqa: SLF001
    try:
        values, offset_deltas, time_deltas, end = _unpacked(buffer, start, count)
    except IndexError as error:
        raise CorruptRecordError(f"record batch at {batch.base_offset} ends early") from error
    if end != len(buffer):
        raise CorruptRecordError(f"record batch at {batch.base_offset} has bytes left over")
    if batch.timestamp_type == DefaultRecordBatch.LOG_APPEND_TIME:
        times_ms = np.full(count, batch.max_timestamp, np.int64)
    else:
        times_ms = np.array(time_deltas, np.int64) + batch.first_timestamp
    offsets = np.array(offset_deltas, np.int64) + batch.base_offset
    return messages_of(offsets, batch.next_offset, times_ms, values, size=end - start)


def _unpacked(  # noqa: PLR0915  one tight loop: every call in it would cost as much as it
    buffer: bytes, pos: int, count: int
) -> tuple[list[bytes | None], list[int], list[int], int]:
    """Values, offset deltas and time deltas of `count` records, and where they end.

    A record is varints (zigzag, seven bits a byte, low first): length, attributes (one byte), time
    delta, offset delta, key length, key, value length, value, header count, headers.
    """
    values: list[bytes | None] = []
    offset_deltas: list[int] = []
    time_deltas: list[int] = []
    for _ in range(count):
        byte = buffer[pos]
        pos += 1
        raw, shift = byte & 127, 7
        while byte & 128:
            byte = buffer[pos]
            pos += 1
            raw |= (byte & 127) << shift
            shift += 7
        end = pos + (raw >> 1)
        pos += 1  # attributes: none are in use

        byte = buffer[pos]
        pos += 1
        raw, shift = byte & 127, 7
        while byte & 128:
            byte = buffer[pos]
            pos += 1
            raw |= (byte & 127) << shift
            shift += 7
        time_deltas.append((raw >> 1) ^ -(raw & 1))

        byte = buffer[pos]
        pos += 1
        raw, shift = byte & 127, 7
        while byte & 128:
            byte = buffer[pos]
            pos += 1
            raw |= (byte & 127) << shift
            shift += 7
        offset_deltas.append(raw >> 1)

        byte = buffer[pos]
        pos += 1
        raw, shift = byte & 127, 7
        while byte & 128:
            byte = buffer[pos]
            pos += 1
            raw |= (byte & 127) << shift
            shift += 7
        if not raw & 1:  # odd is -1: no key
            pos += raw >> 1

        byte = buffer[pos]
        pos += 1
        raw, shift = byte & 127, 7
        while byte & 128:
            byte = buffer[pos]
            pos += 1
            raw |= (byte & 127) << shift
            shift += 7
        if raw & 1:
            values.append(None)
        else:
            stop = pos + (raw >> 1)
            if stop > end:
                raise IndexError(stop)
            values.append(buffer[pos:stop])
        pos = end  # headers are left out
    return values, offset_deltas, time_deltas, pos
