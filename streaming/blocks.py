"""Whole record batches out of kafka-python, four times as fast as a ConsumerRecord per message.

Most of `poll()` goes into building an object per message, and where one partition's data is damaged
`poll()` raises for all, without a word which it was, and never ends when it is called again. This
module replaces the private methods that unpack what was fetched: `poll()` hands out one `Block` per
record batch, and whatever is wrong with a batch is said by its block. The client keeps its group
protocol, CRC check, read_committed filter and bookkeeping of offsets. Beside `streaming.ask` it is
the only module that touches private parts of kafka-python; `install` checks that they are there.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch

from streaming.messages import Messages, messages_of
from streaming.unpack import pieces_of
from twintide.errors import Refused, Retryable

_SEAM = ("self", "tp", "records", "key_deserializer", "value_deserializer")
_USED_OF_PARTITION_RECORDS = (
    "_consume_aborted_transactions_up_to",
    "_is_batch_aborted",
    "_contains_abort_marker",
    "drain",
)
_USED_OF_BATCHES = ("_buffer", "_pos", "compression_type", "validate_crc", "timestamp_type")
_ANY_OFFSET = 2**63 - 1


class Damaged(Retryable):
    """A record batch that cannot be read: another copy of it may be sound, so it is tried again,
    and it is never skipped.
    """

    offset: int = -1
    """Where it begins."""


class Strayed(Retryable):
    """The log does not hold the position that was to be read from."""


@dataclass(frozen=True)
class Block:
    """One record batch as it was fetched. It is unpacked piece by piece while it is asked for its
    messages: batches may expand from kilobytes to gigabytes.
    """

    topic: str
    partition: int
    offset: int
    """Where it was to be read from."""

    unpack: Callable[[], Iterator[Messages]]
    leader_epoch: int | None = None
    """Of the leader that wrote it; None where that is not known."""

    def messages(self) -> Iterator[Messages]:
        """Runs of some megabytes. None of them where the batch holds none: then only their `next`
        says something.

        Raises Damaged, Strayed, or whatever else is wrong with this partition and no other; what
        came before that is sound.
        """
        try:
            yield from self.unpack()
        except (MemoryError, Refused):
            raise
        except kafka_errors.OffsetOutOfRangeError as error:
            raise Strayed(f"{self._place} is not in the log") from error
        except kafka_errors.AuthorizationError as error:
            raise Refused(
                f"Kafka refuses {self._place}: {error}", hint="let the user of `kafka` read it"
            ) from error
        except Exception as error:  # codecs raise what they please
            damaged = Damaged(
                f"the record batch at {self._place} cannot be read: {_in_words(error)}",
                hint="if it stays so, let another replica lead the partition; where no copy is "
                "sound, delete the records up to behind it (kafka-delete-records) and set "
                "shards.accept_gap: true, which records the gap",
            )
            damaged.offset = self.offset
            raise damaged from error

    @property
    def _place(self) -> str:
        return f"offset {self.offset} of {self.topic}, partition {self.partition}"


def is_available() -> bool:
    """Whether this kafka-python has the parts that the block path builds on."""
    records = getattr(Fetcher, "PartitionRecords", None)
    unpack = getattr(records, "_unpack_records", None)
    return (
        unpack is not None
        and tuple(inspect.signature(unpack).parameters) == _SEAM
        and hasattr(Fetcher, "_parse_fetched_data")
        and all(hasattr(records, name) for name in _USED_OF_PARTITION_RECORDS)
        and all(hasattr(DefaultRecordBatch, name) for name in _USED_OF_BATCHES)
    )


def install(consumer: Any) -> None:
    """Let `consumer.poll()` return lists of `Block`. Raises Refused where it cannot."""
    fetcher = getattr(consumer, "_fetcher", None)
    if not is_available() or not isinstance(fetcher, Fetcher):
        raise Refused(
            "this kafka-python is not one that ingest can read with",
            hint="install the release that constraints.txt names",
        )
    parse = fetcher._parse_fetched_data  # noqa: SLF001  part of the seam, see is_available

    def parsed(fetched: Any) -> Any:
        try:
            records = parse(fetched)
        except Exception as error:  # noqa: BLE001  it belongs to this partition, and poll goes on
            return _failed(fetched.topic_partition, fetched.fetched_offset, error)
        if records is not None:
            records.limit = fetched.partition_data.high_watermark
        return records

    # Found on the instance before the class.
    fetcher._parse_fetched_data = parsed  # noqa: SLF001
    fetcher.PartitionRecords = _BlockRecords


class _BlockRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka has no types
    """Partition records that yield one `Block` per record batch."""

    limit = _ANY_OFFSET
    """No message that a consumer is given lies at or beyond this offset."""

    next_fetch_offset: int
    """Where the next batch is to be read from."""

    def _unpack_records(
        self, tp: Any, records: Any, key_deserializer: Any, value_deserializer: Any
    ) -> Iterator[Block]:
        del key_deserializer, value_deserializer
        last: Block | None = None
        try:
            while (batch := records.next_batch()) is not None:
                last = self._block(tp, batch)
                if last is not None:
                    yield last
        except Exception as error:  # noqa: BLE001  it belongs to this partition, and poll goes on
            last = _broken(tp, self.next_fetch_offset, error)
            yield last
        if last is None and self.next_fetch_offset > self.fetch_offset:
            # Nothing but markers and what was aborted: the position behind them is all there is.
            yield _empty(tp, self.next_fetch_offset)
        self.drain()

    def _block(self, tp: Any, batch: Any) -> Block | None:
        """What a batch holds; None where it holds no message for anybody."""
        offset = self.next_fetch_offset
        if self.check_crcs and not batch.validate_crc():
            raise CorruptRecordError("its CRC does not fit")
        if batch.magic != 2:  # noqa: PLR2004  the message format since Kafka 0.11
            messages = _from(offset, _of_legacy(batch))
            self.next_fetch_offset = messages.next
            return Block(tp.topic, tp.partition, offset, lambda: iter([messages]))
        end, epoch = batch.next_offset, batch.leader_epoch
        if not offset < end <= self.limit:  # no CRC covers where a batch begins
            raise CorruptRecordError(f"it says that it ends at {end}")
        self.leader_epoch = epoch
        self.next_fetch_offset = end
        if self._holds_no_messages(batch):
            return None
        self.records_read += batch.records_count
        self.bytes_read += batch.size_in_bytes
        return Block(
            tp.topic,
            tp.partition,
            offset,
            lambda: (_from(offset, piece) for piece in pieces_of(batch)),
            leader_epoch=epoch if epoch >= 0 else None,
        )

    def _holds_no_messages(self, batch: Any) -> bool:
        """Control batches, and under read_committed those of aborted transactions."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)

    def _maybe_skip_record(self, record: Block) -> bool:
        del record
        return False


def _failed(tp: Any, offset: int, error: Exception) -> _BlockRecords:
    """Partition records that say nothing but what went wrong."""
    records = _BlockRecords(offset, tp, [])

    def said() -> Iterator[Block]:
        yield _broken(tp, offset, error)
        records.drain()

    records.record_iterator = said()
    return records


def _broken(tp: Any, offset: int, error: Exception) -> Block:
    def unpack() -> Iterator[Messages]:
        raise error

    return Block(tp.topic, tp.partition, offset, unpack)


def _empty(tp: Any, next_offset: int) -> Block:
    nothing = np.zeros(0, np.int64)
    messages = messages_of(nothing, next_offset, nothing, [])
    return Block(tp.topic, tp.partition, next_offset, lambda: iter([messages]))


def _in_words(error: Exception) -> str:
    """Some codecs raise without a word."""
    return str(error) or type(error).__name__


def _from(offset: int, messages: Messages) -> Messages:
    """A fetch from the middle of a batch returns all of it: leave out what came before."""
    if len(messages) == 0 or messages.offsets[0] >= offset:  # nearly always
        return messages
    skipped = int(np.searchsorted(messages.offsets, offset))
    if skipped == len(messages):
        return messages_of(messages.offsets[:0], messages.next, messages.times_ms[:0], [])
    return messages.split(skipped)[1]


def _of_legacy(batch: Any) -> Messages:
    """Message formats 0 and 1, one record at a time: nobody writes them any more."""
    records = list(batch)
    offsets = np.array([record.offset for record in records], np.int64)
    times_ms = np.array([record.timestamp or -1 for record in records], np.int64)
    next_offset = int(offsets[-1]) + 1 if records else batch.base_offset + 1
    return messages_of(offsets, next_offset, times_ms, [record.value for record in records])
