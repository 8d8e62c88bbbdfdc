"""Unpack record batches of format 2, a few megabytes at a time.

A producer's kilobytes may expand to gigabytes. What is held of a batch is its compressed bytes, a
chunk of what they expand to, and the messages of that chunk. One that is too long to be held comes
cut off, and says so at its end: so it is set aside, and those behind it come.
"""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import lz4.frame
import numpy as np
import snappy
import zstandard
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch

from streaming.messages import Int64s, Messages, messages_of

CHUNK_BYTES = 4 * 1024 * 1024
"""What is unpacked at a time."""

MOST_BYTES = 32 * 1024 * 1024
"""Longer messages are cut off. What brokers take at once is a megabyte, by default."""

_KEPT_BYTES = 1000
_HEADER_BYTES = 64
_LENGTH_BYTES = 10
_MOST_OF_SNAPPY = 64
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_BYTES = 16
_GZIP = 31
_ONE = np.uint64(1)
_ONE_BYTE = 127
_TWO_BYTES = 2**14 - 1
_LONGEST_VARINT = 70
"""Bits in the ten bytes that hold 64."""


@dataclass
class _Records:
    """Some records of a batch."""

    values: list[bytes | None]
    offset_deltas: list[int]
    """Zigzags still: numpy undoes them all at once."""

    time_deltas: list[int]
    bytes: int

    def __len__(self) -> int:
        return len(self.values)


def pieces_of(batch: Any) -> Iterator[Messages]:
    """All messages of a batch, in order; the last piece ends where the batch does.

    Raises CorruptRecordError, or what its codec raises, where the rest is not what it should be.
    """
    left, last = batch.records_count, batch.base_offset - 1
    for records in _records_of(batch):
        left -= len(records)
        offsets = _offsets(batch.base_offset, records.offset_deltas)
        if not last < offsets[0] <= offsets[-1] < batch.next_offset:
            raise CorruptRecordError("its offsets do not grow, or reach beyond its end")
        last = int(offsets[-1])
        if batch.timestamp_type == DefaultRecordBatch.LOG_APPEND_TIME:
            times_ms = np.full(len(records), batch.max_timestamp, np.int64)
        else:
            times_ms = _signed(records.time_deltas) + batch.first_timestamp
        end = last + 1 if left else batch.next_offset
        yield messages_of(offsets, end, times_ms, records.values, size=records.bytes)
    if batch.records_count == 0:
        nothing = np.zeros(0, np.int64)
        yield messages_of(nothing, batch.next_offset, nothing, [])


def _records_of(batch: Any) -> Iterator[_Records]:
    left, rest = batch.records_count, b""
    chunks: Iterator[tuple[bytes, bool]] = _with_last(_chunks(batch))
    is_last = False
    while not is_last:
        chunk, is_last = next(chunks)
        buffer = rest + chunk if rest else chunk
        safe = len(buffer) if is_last else len(buffer) - _LENGTH_BYTES
        try:
            records, end = _unpacked(buffer, left, safe=safe)
        except IndexError as error:
            raise _early(batch) from error
        rest = buffer[end:]
        del buffer, chunk
        if len(records) < left and _is_too_long(rest):
            _add_cut_off(records, rest)
            behind = _skipped(rest, chunks, is_last=is_last)
            chunks, rest, is_last = chain([behind], chunks), b"", False
        left -= len(records)
        if records:
            yield records
            del records
        if rest and not left:
            raise CorruptRecordError(f"record batch at {batch.base_offset} has bytes left over")
    if left:
        raise _early(batch)


def _early(batch: Any) -> CorruptRecordError:
    return CorruptRecordError(f"record batch at {batch.base_offset} ends early")


# Messages that are too long.


def _is_too_long(rest: bytes) -> bool:
    """Whether the record that begins here is, as far as it is there to be told from."""
    return len(rest) > _KEPT_BYTES + _HEADER_BYTES and _varint(rest, 0)[0] >> 1 > MOST_BYTES


def _add_cut_off(records: _Records, rest: bytes) -> None:
    size, pos = _varint(rest, 0)
    time_delta, pos = _varint(rest, pos + 1)
    offset_delta, pos = _varint(rest, pos)
    key_size, pos = _varint(rest, pos)
    value: bytes | None = b""
    with suppress(IndexError):  # a key so long that the value is beyond what is there
        value_size, pos = _varint(rest, pos if key_size & 1 else pos + (key_size >> 1))
        value = None if value_size & 1 else rest[pos : pos + min(value_size >> 1, _KEPT_BYTES)]
    if value is not None:  # no JSON ends like this, whatever it begins with
        value += f" (cut off: {size >> 1} bytes, of at most {MOST_BYTES})".encode()
    records.values.append(value)
    records.offset_deltas.append(offset_delta)
    records.time_deltas.append(time_delta)
    records.bytes += len(value or b"")


def _skipped(
    rest: bytes, chunks: Iterator[tuple[bytes, bool]], *, is_last: bool
) -> tuple[bytes, bool]:
    """What follows on the record that begins here, and whether nothing more comes."""
    size, pos = _varint(rest, 0)
    missing = pos + (size >> 1) - len(rest)
    while missing > 0:
        if is_last:
            raise CorruptRecordError("its last record ends early")
        rest, is_last = next(chunks)
        missing -= len(rest)
    return rest[len(rest) + missing :], is_last


def _varint(buffer: bytes, pos: int) -> tuple[int, int]:
    """A zigzag, and where it ends."""
    raw = buffer[pos]
    if raw <= _ONE_BYTE:
        return raw, pos + 1
    raw += (buffer[pos + 1] - 1) << 7
    return (raw, pos + 2) if raw <= _TWO_BYTES else _longer(buffer, pos + 2, raw)


# Codecs.


def _with_last(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each with whether it is the last; one of nothing where there is none."""
    before = next(chunks, b"")
    for chunk in chunks:
        yield before, False
        before = chunk
    yield before, True


def _chunks(batch: Any) -> Iterator[bytes]:
    """The records' bytes, about CHUNK_BYTES at a time."""
    packed = memoryview(batch._buffer)[batch._pos :]  # noqa: SLF001  part of the seam, see is_available
    unpack = {
        DefaultRecordBatch.CODEC_NONE: _stored,
        DefaultRecordBatch.CODEC_GZIP: _gunzipped,
        DefaultRecordBatch.CODEC_SNAPPY: _unsnapped,
        DefaultRecordBatch.CODEC_LZ4: _of_lz4,
        DefaultRecordBatch.CODEC_ZSTD: _of_zstd,
    }.get(batch.compression_type)
    if unpack is None:
        raise CorruptRecordError(f"nobody knows its codec, {batch.compression_type}")
    return unpack(packed)


def _stored(packed: memoryview) -> Iterator[bytes]:
    for start in range(0, len(packed), CHUNK_BYTES):
        yield bytes(packed[start : start + CHUNK_BYTES])


def _gunzipped(packed: memoryview) -> Iterator[bytes]:
    left: memoryview | bytes = packed
    while left:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            chunk = member.decompress(left, CHUNK_BYTES)
            if not chunk and not member.eof:
                raise CorruptRecordError("its gzip stream ends early")
            left = member.unconsumed_tail
            yield chunk
        left = member.unused_data


def _of_lz4(packed: memoryview) -> Iterator[bytes]:
    frame = lz4.frame.LZ4FrameDecompressor()
    left = bytes(packed)
    while not frame.eof:
        chunk = frame.decompress(left, max_length=CHUNK_BYTES)
        if not chunk and not frame.eof:
            raise CorruptRecordError("its lz4 frame ends early")
        left = b""  # it keeps what it has not come to
        yield chunk


def _of_zstd(packed: memoryview) -> Iterator[bytes]:
    frames = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    while chunk := frames.read(CHUNK_BYTES):
        yield chunk


def _unsnapped(packed: memoryview) -> Iterator[bytes]:
    """As one block, or in the frames of Java's library."""
    if bytes(packed[: len(_XERIAL)]) != _XERIAL:
        yield _of_snappy(bytes(packed))
        return
    pos, blocks, held_bytes = _XERIAL_BYTES, list[bytes](), 0
    while pos < len(packed):
        size = int.from_bytes(packed[pos : pos + 4], "big")
        blocks.append(_of_snappy(bytes(packed[pos + 4 : pos + 4 + size])))
        held_bytes += len(blocks[-1])
        pos += 4 + size
        if held_bytes >= CHUNK_BYTES:  # they are of 32 KB each
            yield b"".join(blocks)
            blocks, held_bytes = [], 0
    yield b"".join(blocks)


def _of_snappy(block: bytes) -> bytes:
    """It begins with its size, which is believed before anything is read."""
    size = shift = 0
    for byte in block[:_LENGTH_BYTES]:
        size |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            break
    if size > _MOST_OF_SNAPPY * len(block):
        raise CorruptRecordError(f"its {len(block)} bytes do not expand to {size}")
    unpacked: bytes = snappy.decompress(block)
    return unpacked


def _unpacked(  # noqa: C901, PLR0912, PLR0915  one tight loop: every call in it would cost as much as it
    buffer: bytes, count: int, *, safe: int
) -> tuple[_Records, int]:
    """The records that are there whole, `count` at most, and where they end; none that begins at
    `safe` or later.

    A record is varints (zigzag, seven bits a byte, low first): length, attributes (one byte), time
    delta, offset delta, key length, key, value length, value, header count, headers.
    """
    values: list[bytes | None] = []
    pos, size = 0, len(buffer)
    offset_deltas: list[int] = []
    time_deltas: list[int] = []
    for _ in range(count):
        if pos >= safe:
            break
        begin = pos
        raw = buffer[pos]
        pos += 1
        if raw > _ONE_BYTE:
            raw += (buffer[pos] - 1) << 7
            pos += 1
            if raw > _TWO_BYTES:
                raw, pos = _longer(buffer, pos, raw)
        end = pos + (raw >> 1)
        if end > size:
            pos = begin
            break

        raw = buffer[pos + 1]  # behind the attributes: none are in use
        pos += 2
        if raw > _ONE_BYTE:
            raw += (buffer[pos] - 1) << 7
            pos += 1
            if raw > _TWO_BYTES:
                raw, pos = _longer(buffer, pos, raw)
        time_deltas.append(raw)

        raw = buffer[pos]
        pos += 1
        if raw > _ONE_BYTE:
            raw += (buffer[pos] - 1) << 7
            pos += 1
            if raw > _TWO_BYTES:
                raw, pos = _longer(buffer, pos, raw)
        offset_deltas.append(raw)

        raw = buffer[pos]
        pos += 1
        if raw > _ONE_BYTE:
            raw += (buffer[pos] - 1) << 7
            pos += 1
            if raw > _TWO_BYTES:
                raw, pos = _longer(buffer, pos, raw)
        if not raw & 1:  # odd is -1: no key
            pos += raw >> 1

        raw = buffer[pos]
        pos += 1
        if raw > _ONE_BYTE:
            raw += (buffer[pos] - 1) << 7
            pos += 1
            if raw > _TWO_BYTES:
                raw, pos = _longer(buffer, pos, raw)
        if raw & 1:
            values.append(None)
        else:
            stop = pos + (raw >> 1)
            if stop > end:
                raise IndexError(stop)
            values.append(buffer[pos:stop])
        pos = end  # headers are left out
    return _Records(values, offset_deltas, time_deltas, pos), pos


def _longer(buffer: bytes, pos: int, raw: int) -> tuple[int, int]:
    """A varint of three bytes or more, of which `raw` holds the first two; and where it ends."""
    raw -= 1 << 14  # the second byte's own sign that another follows
    shift = 14
    while shift < _LONGEST_VARINT:
        byte = buffer[pos]
        pos += 1
        raw |= (byte & 127) << shift
        if byte <= _ONE_BYTE:
            return raw, pos
        shift += 7
    raise IndexError(pos)


def _signed(zigzags: list[int]) -> Int64s:
    """0, 1, 2, 3 for 0, -1, 1, -2."""
    raw = np.array(zigzags, np.uint64)
    halves = (raw >> _ONE).view(np.int64)
    is_negative = raw & _ONE
    return halves ^ -is_negative.view(np.int64) if is_negative.any() else halves


def _offsets(base: int, zigzags: list[int]) -> Int64s:
    """Mostly each follows on the one before."""
    count = len(zigzags)
    if zigzags == list(range(0, 2 * count, 2)):
        return np.arange(base, base + count)
    offsets = _signed(zigzags) + base
    if (offsets[1:] <= offsets[:-1]).any():
        raise CorruptRecordError("its offsets do not grow")
    return offsets
